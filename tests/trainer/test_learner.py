"""The learner with real DeepSpeed on the CPU: one rank and two, full and LoRA."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

import pytest
import torch

from launch.compose import compose
from trainer.experience import Experience, shards
from trainer.learner import Learner, NonFiniteLoss, lr_factor

PORT = 29_611


def make_batch(count: int = 12, seed: int = 0) -> list[Experience]:
    rng = random.Random(seed)
    batch = []
    for index in range(count):
        length = rng.randint(3, 12)
        tokens = [rng.randint(1, 500) for _ in range(length)]
        rewards = [0.0] * (length - 1) + [rng.random()]
        logprobs = [-6.0 + 0.3 * rng.random() for _ in tokens]
        prompt = [rng.randint(1, 500) for _ in range(rng.randint(4, 40))]
        batch.append(Experience(f"p{index}", prompt, tokens, logprobs, [0] * length, rewards))
    return batch


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    linear = [lr_factor(step, 1, 4, "linear") for step in range(5)]
    assert linear == [0.5, 0.75, 0.5, 0.25, 0.0]
    assert [lr_factor(step, 1, 4, "constant") for step in range(5)] == [0.5, 1.0, 1.0, 1.0, 1.0]


def configure(model: Path, *overrides: str):
    return compose(
        [f"model.path={model}", "learner.warmup_steps=0", "learner.lr=1e-3", "algorithm.kl=loss", *overrides]
    )


def run_rank(rank: int, port: int, config, results, batch=None) -> None:
    learner = Learner(config, rank)
    learner.connect("127.0.0.1", port)
    learner.setup(config.model.path, "ppo")
    whole = batch or make_batch()
    metrics = learner.train_step(shards(whole, config.learner.ranks)[rank])
    weights = {name: tensor.numpy() for name, tensor in learner.weights()}
    if rank == 0:
        results.put((metrics, weights))


def train(port: int, config):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    ranks = [context.Process(target=run_rank, args=(r, port, config, results)) for r in range(config.learner.ranks)]
    for process in ranks:
        process.start()
    found = results.get(timeout=240)
    for process in ranks:
        process.join(60)
    return found


@pytest.fixture(scope="module")
def one_rank(tiny_model: Path):
    return train(PORT, configure(tiny_model, "algorithm.minibatches=1"))


@pytest.mark.parametrize(
    ("place", "overrides"),
    [
        (1, ["learner.ranks=2"]),
        (2, ["learner.max_tokens_per_microbatch=64"]),
        (3, ["learner.ranks=2", "learner.zero_stage=3", "learner.max_tokens_per_microbatch=100"]),
    ],
)
def test_one_step_is_the_same_however_the_batch_is_cut(tiny_model, one_rank, place, overrides):
    metrics, weights = train(PORT + place, configure(tiny_model, "algorithm.minibatches=1", *overrides))
    alone_metrics, alone = one_rank
    assert metrics["policy/grad_norm"] == pytest.approx(alone_metrics["policy/grad_norm"], rel=1e-4)
    assert metrics["value/loss"] == pytest.approx(alone_metrics["value/loss"], rel=1e-4)
    assert weights.keys() == alone.keys()
    # AdamW's first step is lr * sign(gradient): where a gradient is about 0 its sign is noise, so compare most.
    different = sum(int((abs(weights[name] - alone[name]) > 1e-5).sum()) for name in alone)
    assert different / sum(array.size for array in alone.values()) < 1e-3


def test_weights_moved_and_tied_ones_are_named_once(tiny_model, one_rank):
    from transformers import AutoModelForCausalLM

    _, weights = one_rank
    before = dict(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).named_parameters())
    assert weights.keys() == before.keys()
    assert all((abs(weights[name] - before[name].detach().numpy())).max() > 1e-5 for name in before if "proj" in name)


def lora_rank(config, folder: str, results) -> None:
    learner = Learner(config, 0)
    learner.connect("127.0.0.1", PORT + 9)
    learner.setup(config.model.path, "ppo")
    batch = make_batch()
    first = learner._take_up(batch)
    learner.train_step(batch)
    second = learner._take_up(batch)
    learner.save(folder)
    rows, expected = learner.probe(batch)
    try:
        bad = [Experience("bad", [1], [2], [float("nan")], [0], [1.0])]
        learner.train_step(bad)
        raised = ""
    except NonFiniteLoss as error:
        raised = str(error)
    results.put(
        {
            "same_reference": torch.allclose(first["reference"], second["reference"], atol=1e-6),
            "moved": float((first["proximal"] - second["proximal"]).abs().max()),
            "start_is_reference": torch.allclose(first["reference"], first["proximal"], atol=1e-5),
            "probe": (rows, expected),
            "raised": raised,
        }
    )


def test_lora_trains_against_the_switched_off_adapter_and_saves_merged(tiny_model, tmp_path):
    from transformers import AutoModelForCausalLM

    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    config = configure(tiny_model, "+model.lora={rank: 4, alpha: 8}", "learner.lr=1e-2")
    process = context.Process(target=lora_rank, args=(config, str(tmp_path / "saved"), results))
    process.start()
    found = results.get(timeout=240)
    process.join(60)
    assert found["same_reference"]
    assert found["start_is_reference"]
    assert found["moved"] > 1e-3
    assert "version" in found["raised"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    rows, expected = found["probe"]
    for (prompt, completion), want in zip(rows, expected, strict=True):
        with torch.no_grad():
            logprobs = model(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
        have = [logprobs[len(prompt) - 1 + i, token].item() for i, token in enumerate(completion)]
        assert have == pytest.approx(want, abs=1e-4)
