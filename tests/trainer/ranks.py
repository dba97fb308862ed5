"""Learners, and what they are given, for the tests that run them in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Sequence
from pathlib import Path

import torch

from launch.compose import compose
from rollout.engine.weight_update import bucket_tensors
from rollout.records import PolicyCall
from trainer.algorithm.experience import Experience
from trainer.algorithm.rows import Row, make_rows
from trainer.learner.actor_critic import ExportedTensor
from trainer.learner.learner import Learner


def learner_processes() -> multiprocessing.context.ForkServerContext:
    """Processes that begin with the learner's modules imported, which takes ten seconds where each does it anew."""
    os.environ["DS_ACCELERATOR"] = "cpu"  # as a rank without a GPU has it, before DeepSpeed is imported
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainer.learner.learner", "deepspeed", "transformers.models.llama.modeling_llama"])
    return context


def make_batch(count: int = 13, seed: int = 0) -> list[Experience]:
    """Sequences of many lengths, in groups of three and a rest of one that are not neighbours."""
    rng = random.Random(seed)
    batch = []
    for index in range(count):
        length = rng.randint(3, 12)
        tokens = [rng.randint(1, 500) for _ in range(length)]
        rewards = [0.0] * (length - 1) + [rng.random()]
        logprobs = [-8.0 + 1.5 * rng.random() for _ in tokens]
        prompt = [rng.randint(1, 500) for _ in range(rng.randint(4, 40))]
        group = index % (count // 3) if index < count // 3 * 3 else count // 3
        batch.append(Experience(f"p{index}", [Row(prompt, tokens, logprobs, [0] * length, rewards)], group))
    return batch


def make_calls_batch(count: int = 13, seed: int = 0, *, merged: bool = True) -> list[Experience]:
    """Episodes of one to six policy calls, grouped as ``make_batch`` groups. Some calls go on from the one before, with
    or without new tokens in between; unless ``merged``, each is a row of its own all the same."""
    rng = random.Random(seed)

    def tokens(low: int, high: int) -> list[int]:
        return [rng.randint(1, 500) for _ in range(rng.randint(low, high))]

    batch = []
    for index in range(count):
        calls: list[PolicyCall] = []
        for _ in range(1 + index % 6):
            goes_on = bool(calls) and rng.random() < 0.6
            prompt = [*calls[-1].prompt_ids, *calls[-1].token_ids, *tokens(0, 3)] if goes_on else tokens(4, 12)
            completion = tokens(1, 5)
            logprobs = [-8.0 + 1.5 * rng.random() for _ in completion]
            # Of the learner's weights, or of those before.
            versions = [rng.choice([0, -1])] * len(completion)
            calls.append(PolicyCall("next", prompt, completion, logprobs, versions))
        rewards = [[0.0] * (len(call.token_ids) - 1) + [rng.random()] for call in calls]
        rows = [make_rows([call], [paid])[0] for call, paid in zip(calls, rewards, strict=True)]
        group = index % (count // 3) if index < count // 3 * 3 else count // 3
        batch.append(Experience(f"p{index}", make_rows(calls, rewards) if merged else rows, group))
    return batch


def configure(model: Path, *overrides: str):
    return compose(
        [f"model.path={model}", "learner.warmup_steps=0", "learner.lr=1e-3", "algorithm.kl=loss", *overrides]
    )


def gathered(learner: Learner, sources: Sequence[ExportedTensor] | None = None) -> dict[str, torch.Tensor]:
    """What an engine would be sent, on the first rank; to be called on every rank."""
    buckets = learner.buckets(learner.model.exported() if sources is None else sources)
    return {name: value.clone() for bucket in buckets for name, value in bucket_tensors(bucket)}


def parameters(learner: Learner) -> dict[str, torch.Tensor]:
    """Everything that is trained, whole and copied."""
    import deepspeed

    named = [(name, value) for name, value in learner.model.named_parameters() if value.requires_grad]
    with deepspeed.zero.GatheredParameters(
        [value for _, value in named], enabled=learner.config.learner.zero_stage == 3
    ):
        return {name: value.detach().clone() for name, value in named}
