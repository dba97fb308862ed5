"""Log-probabilities: the engine's beside the learner's in bfloat16 and float32, and the labels of weight versions.

Both sides have the same random weights. For the labels, new weights are loaded while completions are being written, and
every token's log-probability is computed again with the weights of the version that it is labelled with, from the keys
and values that older versions made, as the engine has it. As a contrast: with the version next to it.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from itertools import groupby, pairwise
from statistics import fmean
from typing import Any

import torch

from benchmarks.gpu.machine import device, gpus
from benchmarks.gpu.random_models import SHAPES, random_model, random_rows
from benchmarks.gpu.task import Task
from conf.schema.engine import InferenceEngine
from rollout.engine.sampling import Sampling
from rollout.engine.vllm_arguments import EngineSettings
from rollout.engine.vllm_engine import Engine, Generation
from trainer.algorithm.experience import pad
from trainer.learner.actor_critic import ActorCritic
from trainer.learner.learner import DTYPES

# Versions that are loaded after the first, and the engine's steps between two loads.
PUSHES, STEPS = 2, 16
# How far weights move from one version to the next, in their own standard deviations.
MOVE = 0.3


def measure(task: Task) -> None:
    """Measure in both types, in an engine each."""
    size, completions, tokens = ("0.3b", 32, 128) if gpus() else ("tiny", 8, 64)
    for dtype in ("bfloat16", "float32"):
        task.case(dtype, run_case, size, task.scratch, dtype, completions, tokens)


def run_case(size: str, scratch: str, dtype: str, completions: int, tokens: int) -> dict[str, Any]:
    """Return the gaps in nats between an engine's log-probabilities and the learner's, and what the labels show."""
    path = random_model(size, scratch)
    sizes = InferenceEngine.model_validate(
        {"gpus": len(gpus()[:1]), "max_model_len": 512, "max_num_seqs": completions, "gpu_memory_utilization": 0.4}
    )
    engine = Engine(EngineSettings(path, sizes, dtype))
    engine.start()
    models = versions(path, DTYPES[dtype])
    prompts = [prompt for prompt, _ in random_rows(completions, 64, 2, min(500, SHAPES[size].vocabulary))]
    try:
        before, across, after = asyncio.run(_generate(engine, models, prompts, tokens))
    finally:
        engine.stop()
    exact = learner_logprobs(ActorCritic(path, torch.float32, None, critic="none"), before)
    ours, engines = learner_logprobs(models[0], before), [one.logprobs for one in before]
    return {
        "engine to learner": gap(engines, ours),
        "engine to float32": gap(engines, exact),
        "learner to float32": gap(ours, exact),
        "engine to learner after loads": gap([one.logprobs for one in after], learner_logprobs(models[-1], after)),
        "labels": label_figures(across, models),
    }


def versions(path: str, dtype: torch.dtype) -> list[ActorCritic]:
    """Return the learner's model as it is, and moved once and twice."""
    models = [ActorCritic(path, dtype, None, critic="none").to(device()).eval() for _ in range(1 + PUSHES)]
    torch.manual_seed(1)
    with torch.no_grad():
        for before, after in pairwise(models):
            for old, new in zip(before.lm.parameters(), after.lm.parameters(), strict=True):
                spread = old.float().std() if old.dim() > 1 else old.new_zeros((), dtype=torch.float32)
                new.copy_(old + MOVE * spread * torch.randn_like(old, dtype=torch.float32))
    return models


async def _generate(
    engine: Engine, models: Sequence[ActorCritic], prompts: Sequence[list[int]], tokens: int
) -> tuple[list[Generation], list[Generation], list[Generation]]:
    """Return completions of the first version, others across all loads, and others of the last."""

    async def complete(seed: int, length: int) -> list[Generation]:
        asked = (engine.generate(prompt, Sampling(length, 1.0, seed=seed + i)) for i, prompt in enumerate(prompts))
        return list(await asyncio.gather(*asked))

    before = await complete(0, tokens // 2)
    running = asyncio.create_task(complete(1000, 3 * tokens))
    for version, model in enumerate(models[1:], 1):
        steps = engine.stats.steps
        while engine.stats.steps < steps + STEPS and not running.done():
            await asyncio.sleep(0.001)
        await engine.load_weights(model.weights(), version)
    return before, await running, await complete(2000, tokens // 2)


@torch.no_grad()
def learner_logprobs(model: ActorCritic, generations: Sequence[Generation]) -> list[list[float]]:
    """Return the log-probabilities of completions as the learner computes them."""
    place = device()
    model = model.to(place).eval()
    found = model(pad([(one.prompt_ids, one.token_ids) for one in generations], place)).logprobs
    return [row[: len(one.token_ids)].tolist() for row, one in zip(found, generations, strict=True)]


def label_figures(generations: Sequence[Generation], models: Sequence[ActorCritic]) -> dict[str, Any]:
    """Return how far tokens are from the version that they are labelled with, and from the one next to it."""
    labels = [one.versions for one in generations]
    found = [one.logprobs for one in generations]
    replays = [replayed(one, models) for one in generations]
    return {
        "versions seen": len({version for row in labels for version in row}),
        "completions of several": sum(len(set(row)) > 1 for row in labels),
        "in order": all(a <= b for row in labels for a, b in pairwise(row)),
        "gap to the label's": gap(found, [own for own, _ in replays]),
        "gap to the next one's": gap(found, [other for _, other in replays]),
    }


@torch.no_grad()
def replayed(one: Generation, models: Sequence[ActorCritic]) -> tuple[list[float], list[float]]:
    """Return the log-probabilities of a completion's tokens by the versions of their labels, and by those next to
    these, both from the keys and values that the versions of the labels made."""
    from transformers import DynamicCache

    ids, cache = [*one.prompt_ids, *one.token_ids], DynamicCache()
    own: list[float] = []
    other: list[float] = []
    read, start = 0, len(one.prompt_ids)
    for version, group in groupby(one.versions):
        end = start + len(list(group))
        # What a token is drawn from was computed with its version, from the token before it.
        given, chosen = ids[read : end - 1], ids[start:end]
        near = version + 1 if version + 1 < len(models) else version - 1
        other += _read(models[near], given, chosen, copy.deepcopy(cache))
        own += _read(models[version], given, chosen, cache)
        read, start = end - 1, end
    return own, other


def _read(model: ActorCritic, given: list[int], chosen: list[int], cache: Any) -> list[float]:
    """Read tokens on from a cache; return the log-probabilities of those that come after the last of them."""
    place = device()
    logits = model.lm(torch.tensor([given], device=place), past_key_values=cache, use_cache=True).logits[0]
    table = logits[-len(chosen) :].float().log_softmax(-1)
    found: list[float] = table.gather(-1, torch.tensor(chosen, device=place)[:, None])[:, 0].tolist()
    return found


def gap(found: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return the mean and the largest difference of log-probabilities, in nats."""
    apart = [abs(a - b) for row, other in zip(found, wanted, strict=True) for a, b in zip(row, other, strict=True)]
    return {"mean": fmean(apart), "max": max(apart)}
