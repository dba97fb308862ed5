"""Every strategy on the same held-out problems, its accuracy beside its cost: ``python -m benchmarks.strategies``.

Give the decomposer as an override, ``start_from=RUN_DIR/checkpoints/ppo``. Self-consistency is run with five draws, and
again with the solver tokens that ``daslam`` took an episode. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from statistics import fmean
from typing import Any

import ray
from rich.console import Console

from benchmarks.episodes import running
from conf.schema.config import Config
from conf.schema.strategy import UNTRAINED
from launch.compose import compose
from rewards.reward import Scored
from rollout.data.source import make_source
from rollout.records import Problem
from rollout.strategies import STRATEGIES
from rollout.worker import RolloutWorker
from trainer.cluster.roles import RunningRoles, wait_ready
from trainer.stages.evaluation import evaluate
from trainer.workers.pipeline import Pipeline

HEADER = """\
| strategy | accuracy | 95 % interval | unanswered | solver wrote | solver read | policy wrote | s |
|---|---|---|---|---|---|---|---|"""
START_S = 600


@asynccontextmanager
async def worker_of(config: Config, roles: RunningRoles, index: int) -> AsyncIterator[Any]:
    """Have a rollout worker of this configuration for the block; other actors are shared."""
    worker = RolloutWorker.options(num_cpus=0, max_concurrency=1_000).remote(  # type: ignore[attr-defined]
        config, index, str(roles.log_folder)
    )
    await wait_ready([worker], f"rollout-{index}", roles.log_folder, START_S, roles.solvers)
    try:
        yield worker
    finally:
        ray.kill(worker)


@asynccontextmanager
async def workers_of(config: Config, roles: RunningRoles, index: int) -> AsyncIterator[Pipeline]:
    """Yield a pipeline over a rollout worker of this configuration, which ends with it; other actors are shared."""
    async with worker_of(config, roles, index) as worker:
        pipeline = replace(roles, workers=[worker], learner=None).pipeline(config)
        pipeline.start()
        try:
            yield pipeline
        finally:
            await pipeline.stop()


def row(name: str, result: dict[str, float], scored: Sequence[Scored], seconds: float) -> str:
    """Return a line of the table; tokens are means an episode."""
    unanswered = sum(item.episode.outcome != "ok" for item in scored)
    means = [
        fmean(getattr(item.episode, field) for item in scored)
        for field in ("solver_tokens", "solver_prompt_tokens", "policy_tokens")
    ]
    cells = [
        f"`{name}`" if name in STRATEGIES else name,
        f"{result['mean']:.3f}",
        f"{result['low']:.3f} – {result['high']:.3f}",
        str(unanswered),
        *(f"{mean:.0f}" for mean in means),
        f"{seconds:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


async def measure(overrides: list[str], count: int, console: Console) -> list[str]:
    """Run every strategy; returns the table's lines."""
    base = compose([*overrides, "stages=[evaluate]"])
    problems: list[Problem] = make_source(base.data).held_out(count)
    lines: list[str] = []
    budget = 0

    async def line(name: str, extra: Sequence[str], index: int) -> float:
        strategy = name.partition(" ")[0].strip("`")
        config = compose([*overrides, "stages=[evaluate]", f"strategy={strategy}", *extra])
        kind = strategy if strategy in UNTRAINED else "policy"
        async with workers_of(config, roles, index) as pipeline:
            # The engine's first step takes seconds that are nobody's; another problem, so that nothing is cached.
            await evaluate(pipeline, make_source(config.data).held_out(count + 1)[count:], kind, strategy)
            started = time.perf_counter()
            result, scored = await evaluate(pipeline, problems, kind, strategy)
            seconds = time.perf_counter() - started
        lines.append(row(name, result, scored, seconds))
        console.print(lines[-1], highlight=False, soft_wrap=True, markup=False)
        return float(result["solver_tokens"])

    async with running(base, console, collect=False) as (_, roles):
        console.print(HEADER, highlight=False, soft_wrap=True)
        for index, name in enumerate(STRATEGIES, 1):
            tokens = await line(name, [], index)
            if name == "daslam":
                budget = round(tokens)
        await line(
            f"`self_consistency` with the {budget} tokens of `daslam`",
            ["strategy.samples=null", f"strategy.token_budget={budget}"],
            len(STRATEGIES) + 1,
        )
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. start_from=RUN_DIR/checkpoints/ppo")
    chosen = parser.parse_args()
    asyncio.run(measure(chosen.overrides, chosen.problems, Console()))
