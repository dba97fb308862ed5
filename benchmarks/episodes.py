"""Episodes a second, as ratios of one run: ``python -m benchmarks.episodes [--episodes 200]``.

Many episodes in flight over continuously batching engines against one after another over the same engines, and
the reward actor's rate against the rollouts'. Nothing is trained.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from conf.schema.config import Config
from launch.compose import compose
from rewards.reward import Scored
from rollout.data.source import make_source
from rollout.jobs import Job
from rollout.records import Problem
from trainer.cluster.ray_cluster import ray_session
from trainer.cluster.roles import RunningRoles, running_roles
from trainer.workers.pipeline import Pipeline


@asynccontextmanager
async def running(
    config: Config, console: Console, collect: bool = True, roles: Sequence[str] = ("solver", "rollout", "reward")
) -> AsyncIterator[tuple[Pipeline, RunningRoles]]:
    """Start the actors of a configuration in these roles, and end them. Without ``collect`` what the workers finish is
    left for the caller to collect."""
    logs = Path(tempfile.mkdtemp(prefix="benchmark-"))
    console.print(f"starting the actors (logs in {logs}) …", highlight=False)
    with ray_session(config):
        async with running_roles(config, logs, roles) as started:
            pipeline = started.pipeline(config)
            if collect:
                pipeline.start()
            yield pipeline, started
            await pipeline.stop()


@asynccontextmanager
async def kept_in_flight(config: Config, pipeline: Pipeline, roles: RunningRoles, count: int) -> AsyncIterator[None]:
    """Keep so many episodes in flight for the block: one that is finished is followed by another."""
    jobs = (
        Job(index, problem, "daslam", seed=index) for index, problem in enumerate(make_source(config.data).train(99))
    )

    async def keep() -> None:
        while True:
            await pipeline.submit([next(jobs) for _ in await pipeline.next()])

    await pipeline.submit([next(jobs) for _ in range(count)])
    while not (await roles.workers[0].stats.remote())["in_flight"]:
        await asyncio.sleep(0.05)
    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()


def training_problems(config: Config, count: int) -> list[Problem]:
    """Problems of the configured data, of an epoch that no run reaches."""
    return list(itertools.islice(make_source(config.data).train(99), count))


async def rate(pipeline: Pipeline, problems: list[Problem], first_id: int) -> tuple[float, list[Scored]]:
    """Episodes a second with all in flight at once, and the episodes."""
    jobs = [Job(first_id + index, problem, "daslam", seed=index) for index, problem in enumerate(problems)]
    started = time.perf_counter()
    scored = await pipeline.run(jobs)
    return len(jobs) / (time.perf_counter() - started), scored


async def measure(config: Config, episodes: int, alone: int, console: Console) -> None:
    """Time the actors of the configuration."""
    problems = training_problems(config, 2 * episodes + alone)
    async with running(config, console) as (pipeline, roles):
        await rate(pipeline, problems[:episodes], 0)  # warm
        together, scored = await rate(pipeline, problems[episodes : 2 * episodes], episodes)
        started = time.perf_counter()
        for index, problem in enumerate(problems[2 * episodes :], 2 * episodes):
            await pipeline.run([Job(index, problem, "daslam", seed=index)])
        single = alone / (time.perf_counter() - started)
        records = [item.episode for item in scored]
        started = time.perf_counter()
        for start in range(0, episodes, 32):
            await roles.rewarders[0].score.remote(records[start : start + 32])
        rewards = episodes / (time.perf_counter() - started)
    table = Table("", "episodes/s", "ratio")
    table.add_row("one after another", f"{single:.1f}", "1")
    table.add_row("many in flight", f"{together:.1f}", f"{together / single:.1f} × one after another")
    table.add_row("reward actor alone, texts seen", f"{rewards:.0f}", f"{rewards / together:.1f} × the rollouts")
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--alone", type=int, default=20)
    options = parser.parse_args()
    asyncio.run(measure(compose([]), options.episodes, options.alone, Console()))
