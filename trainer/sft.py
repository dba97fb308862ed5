"""Stage 1: supervised fine-tuning of the decomposer on imperfect decompositions.

The recipe: take training problems, let the frozen solver make its initial attempt (the decomposer always reads
one), and write each problem a plan as an automatic teacher would: gold sub-questions of which some are missing,
some out of order, some needless. One pass of cross-entropy on the plan's tokens, linear decay.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rollout.data.source import Source
from rollout.prompts import Prompts
from rollout.records import Problem, RecordError
from rollout.worker import Job
from trainer.config import Config
from trainer.group import LearnerGroup
from trainer.pipeline import Pipeline


def teacher_rows(
    problems: Sequence[Problem], attempts: Sequence[str], source: Source, prompts: Prompts, config: Config
) -> list[tuple[str, str]]:
    """(prompt, completion) texts: what the decomposer reads and the imperfect plan it is to write."""
    recipe = config.sft
    rng = random.Random(f"teacher {config.seed}")
    rows = []
    for problem, attempt in zip(problems, attempts, strict=True):
        plan = source.imperfect_plan(problem, rng, recipe.drop, recipe.swap, recipe.redundant)
        if plan:
            rows.append((prompts.decompose(problem, attempt), "\n".join(plan)))
    return rows


async def run_sft(
    config: Config,
    problems: Iterator[Problem],
    source: Source,
    prompts: Prompts,
    pipeline: Pipeline,
    learner: LearnerGroup,
    progress: Callable[[int, int, dict[str, float]], Any],
) -> int:
    """Fine-tune the learner's present model; the number of optimiser steps taken.

    ``progress(step, steps, metrics)`` is called after every step.
    """
    recipe = config.sft
    chosen = list(itertools.islice(problems, recipe.problems))
    progress(0, 0, {})
    direct = [Job(index, problem, "direct", 0) for index, problem in enumerate(chosen)]
    attempts = [scored.episode.final.text for scored in await pipeline.run(direct)]
    rows = teacher_rows(chosen, attempts, source, prompts, config)
    if not rows:
        raise RecordError(f"none of {len(chosen)} training problems has sub-questions; stage sft needs some that have")
    size = min(recipe.batch_size, len(rows))
    per_epoch = len(rows) // size
    steps = per_epoch * recipe.epochs
    rng = random.Random(f"sft order {config.seed}")
    step = 0
    for _ in range(recipe.epochs):
        rng.shuffle(rows)
        for start in range(0, per_epoch * size, size):
            metrics = await learner.sft_step(rows[start : start + size], 1.0 - step / steps)
            step += 1
            progress(step, steps, metrics)
            await asyncio.sleep(0)
    return step
