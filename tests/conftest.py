"""Shared by all tests: how they are shared out, a tiny random model to load, and no network."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

import launch.compose
from launch.options import SEARCHED

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
# Else the actors of a run give way to whatever test is beside it, and Ray starts processes that no actor can use.
os.environ |= {"RAY_worker_niceness": "0", "RAY_prestart_worker_first_driver": "0"}
# Three test processes share two cores: a second thread of one would wait for a core, spinning.
os.environ["OMP_NUM_THREADS"] = "1"
# What starts the tests may have these ignored, as nohup has; what is tested is what they do.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


RUNS = Path("tests/end_to_end")
# Next to them, whose files take minutes each: one that comes last keeps a process busy while the others are done.
LEARNER = Path("tests/trainer/learner")
RUN_FILES = sorted((Path(__file__).parent / "end_to_end").glob("test_*.py"))


def _runs_the_job(nodeid: str) -> bool:
    return Path(nodeid.partition("::")[0]).parent == RUNS


class Shares(LoadScopeScheduling):
    """What one process runs: a file, whose tests share what is dear to make, or every second file of the runs of the
    whole job. So two such runs at a time fill what each leaves idle, and three never need the memory at once."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        if not _runs_the_job(nodeid):
            return str(file)
        return f"runs {[path.name for path in RUN_FILES].index(file.name) % 2}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest. A run of the whole job may take longer than other tests before it counts as
    hanging."""

    def place(item: pytest.Item) -> tuple[bool, bool]:
        return not _runs_the_job(item.nodeid), Path(item.nodeid.partition("::")[0]).parent != LEARNER

    items.sort(key=place)
    for item in items:
        if _runs_the_job(item.nodeid):
            item.add_marker(pytest.mark.timeout(1800))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Shares:
    """How xdist shares the tests out."""
    return Shares(config, log)


@pytest.fixture(scope="session", autouse=True)
def composed_once() -> Iterator[None]:
    """Have Hydra compose the same overrides once: at a quarter of a second each, that was a tenth of all tests' time.
    Folders of one's own are composed anew."""
    real, known = launch.compose._composed, {}

    def composed(overrides: list[str]) -> dict[str, Any]:
        if any(text.startswith(SEARCHED) for text in overrides):
            return real(overrides)
        key = (os.environ.get("DATA_ROOT"), *overrides)
        if key not in known:
            known[key] = real(overrides)
        return copy.deepcopy(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch.compose, "_composed", composed)
        yield


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


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the pictures that are saved."""
    from matplotlib.figure import Figure

    found = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: found.extend(figure.axes))
    return found
