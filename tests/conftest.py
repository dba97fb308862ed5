"""Shared by all tests: how they are shared out, a tiny random model to load, and no network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
# Else the actors of a run give way to whatever test is beside it.
os.environ |= {"RAY_worker_niceness": "0"}


RUNS = Path("tests/end_to_end")
RUN_FILES = sorted((Path(__file__).parent / "end_to_end").glob("test_*.py"))


class Shares(LoadScopeScheduling):
    """What one process runs: a file, whose tests share what is dear to make, or every second file of the runs of the
    whole job. So two such runs at a time fill what each leaves idle, and three never need the memory at once."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        if file.parent != RUNS:
            return str(file)
        return f"runs {[path.name for path in RUN_FILES].index(file.name) % 2}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the runs of the whole job, which take longest."""
    items.sort(key=lambda item: Path(item.nodeid.partition("::")[0]).parent != RUNS)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Shares:
    """How xdist shares the tests out."""
    return Shares(config, log)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random 2-layer model over the shipped tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from conf.schema.model import shipped

    tokenizer = AutoTokenizer.from_pretrained(shipped("tiny_decomposer"))
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
