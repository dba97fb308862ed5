"""A model that is trained by PPO draws nothing at random: before the first step every ratio is 1."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from conf.schema.base import ConfigError
from conf.schema.model import Lora, shipped
from tests.ports import free_port
from tests.trainer.learner.test_learner import in_a_process, learner_for
from tests.trainer.ranks import configure, make_batch
from trainer.algorithm.experience import pad
from trainer.learner.actor_critic import ActorCritic, check_repeats

SIZES = {"vocab_size": 600, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256}  # fmt: skip
MODELS = {
    "gpt2": transformers.GPT2Config(vocab_size=600, n_positions=256, n_embd=32, n_layer=2, n_head=2),
    "llama": transformers.LlamaConfig(**SIZES, attention_dropout=0.1),
    "opt": transformers.OPTConfig(
        vocab_size=600, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2, word_embed_proj_dim=32,
        max_position_embeddings=256, dropout=0.2, attention_dropout=0.1, layerdrop=0.3,
    ),
    "gpt_neox": transformers.GPTNeoXConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=256, hidden_dropout=0.2, attention_dropout=0.1,
    ),
    "mixtral": transformers.MixtralConfig(
        **SIZES, num_local_experts=4, num_experts_per_tok=2, attention_dropout=0.1, router_jitter_noise=0.3
    ),
    "phi": transformers.PhiConfig(**SIZES, resid_pdrop=0.2, embd_pdrop=0.1, attention_dropout=0.1),
}  # fmt: skip


def make(name, folder):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MODELS[name], dtype=torch.float32)
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.normal_(0, 0.1)
    model.save_pretrained(folder / name)
    AutoTokenizer.from_pretrained(shipped("tiny_decomposer")).save_pretrained(folder / name)
    return folder / name


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: make(name, folder) for name in MODELS}


def first_steps(configs):
    """Of each model the largest ratio of a first step on its own samples, and whether it was trained in train mode."""
    port, found = free_port(), {}
    for name, config in configs.items():
        learner = learner_for(config, port)
        batch = make_batch(12)
        own = learner.prepare_batch(batch, 5).proximal
        for index, item in enumerate(batch):
            logprobs = own[index, : len(item.rows[0].token_ids)].tolist()
            batch[index] = replace(item, rows=[replace(item.rows[0], logprobs=logprobs)])
        metrics = learner.train_step(batch)
        expected = learner.probe(batch)[1]
        again = learner.probe(batch)[1]
        learner.save(f"{config.model.path}-saved")
        found[name] = (
            metrics["policy/ratio_max"], metrics["policy/clip_fraction"], metrics["policy/engine_logprob_gap"],
            learner.model.training, expected == again,
        )  # fmt: skip
    return found


def test_the_first_ratio_is_exactly_one_whatever_dropout_a_model_comes_with(models):
    overrides: dict[str, list[str]] = {name: [] for name in ("gpt2", "opt", "mixtral")}
    overrides["llama checkpointed"] = ["learner.gradient_checkpointing=true"]
    configs = {
        name: configure(models[name.split()[0]], "algorithm.minibatches=1", *extra) for name, extra in overrides.items()
    }
    found = in_a_process(first_steps, configs)
    assert found == dict.fromkeys(overrides, (1.0, 0.0, 0.0, True, True))
    # What is written keeps the model's own settings, for whoever trains it further.
    for path in (models["gpt2"], models["opt"], models["mixtral"]):
        saved, own = (AutoConfig.from_pretrained(folder).to_dict() for folder in (f"{path}-saved", path))
        names = [name for name in own if "drop" in name]
        assert [saved[name] for name in names] == [own[name] for name in names]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lora", [None, Lora(rank=2, targets="all-linear")])
def test_two_passes_in_train_mode_are_the_same(models, name, lora):
    if name == "mixtral" and lora:
        pytest.skip("its experts are no linear layers")
    model = ActorCritic(str(models[name]), torch.float32, lora, critic="separate")
    batch = pad([([5, 6, 7], [8, 9]), ([3], [4, 5, 6])])
    model.eval()
    with torch.no_grad():
        still = model(batch)
        model.train()
        assert all(torch.equal(a, b) for a, b in zip(model(batch), still, strict=True))


def test_stage_1_keeps_a_models_own_dropout(models):
    model = ActorCritic(str(models["gpt2"]), torch.float32, None, critic="none", dropout=True).train()
    batch = pad([([5, 6, 7], [8, 9])])
    assert not torch.equal(model(batch).logprobs, model(batch).logprobs)


def test_a_model_that_still_draws_at_random_is_refused(models):
    model = ActorCritic(str(models["llama"]), torch.float32, None, critic="none")

    class Engine:
        device = "cpu"

        def __call__(self, *given, **named):
            return model(*given, **named)

    check_repeats(model, Engine())
    assert model.training

    class Noise(torch.nn.Module):
        def forward(self, values):
            return values + torch.randn_like(values) if self.training else values

    model.lm.model.norm = torch.nn.Sequential(model.lm.model.norm, Noise())
    with pytest.raises(ConfigError, match=r"model\.path: .*draws at random while it is trained"):
        check_repeats(model, Engine())
