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
from pathlib import Path

from rich.console import Console
from rich.table import Table

from launch.compose import compose
from rollout.worker import Job
from trainer.config import Config
from trainer.roles import ray_processes, start_ray, start_roles, stop_ray, wait_ready
from trainer.run import make_source


async def measure(config: Config, episodes: int, alone: int, console: Console) -> None:
    """Start the actors of the default configuration and time them."""
    logs = Path(tempfile.mkdtemp(prefix="benchmark-"))
    console.print(f"starting the actors (logs in {logs}) …", highlight=False)
    start_ray(config, Path(__file__).resolve().parent.parent)
    roles = start_roles(config, logs)
    for actors, name in ((roles.solvers, "solver"), (roles.workers, "rollout"), (roles.rewarders, "reward")):
        await wait_ready(actors, name, logs, 600, *([roles.solvers] if name == "rollout" else []))
    pipeline = roles.pipeline(config)
    pipeline.start()
    problems = list(itertools.islice(make_source(config).train(99), 2 * episodes + alone))
    jobs = [Job(index, problem, "daslam", seed=index) for index, problem in enumerate(problems)]
    await pipeline.run(jobs[:episodes])  # warm
    started = time.perf_counter()
    scored = await pipeline.run(jobs[episodes : 2 * episodes])
    together = episodes / (time.perf_counter() - started)
    started = time.perf_counter()
    for job in jobs[2 * episodes :]:
        await pipeline.run([job])
    single = alone / (time.perf_counter() - started)
    records = [item.episode for item in scored]
    started = time.perf_counter()
    for start in range(0, episodes, 32):
        await roles.rewarders[0].score.remote(records[start : start + 32])
    rewards = episodes / (time.perf_counter() - started)
    await pipeline.stop()
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
    settings = compose([])
    try:
        asyncio.run(measure(settings, options.episodes, options.alone, Console()))
    finally:
        stop_ray(settings, ray_processes(settings))
