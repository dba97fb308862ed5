"""Push: for how long generation pauses for new weights, by transport, beside one copy of the same bytes on the device.

The learner rank, the rollout worker and what is between them are the real ones, with episodes in flight. Nothing is
trained: the same weights are pushed again and again.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import torch
from rich.console import Console

from benchmarks.episodes import kept_in_flight, running
from benchmarks.gpu.machine import device, gpus
from benchmarks.gpu.random_models import random_model
from benchmarks.gpu.task import Task
from benchmarks.timing import timed
from conf.schema.config import Config
from conf.schema.override_text import override
from conf.schema.role_sizes import ROLES
from launch.compose import compose

IN_FLIGHT = 32
# Long completions, so that there is always something to pause; a solver that is a program leaves the GPUs to the rest.
COMMON = ("solver=program", "strategy.max_tokens=128", f"rollout.concurrency={IN_FLIGHT}")
ON_GPUS = ("learner=gpu", "learner.ranks=1", "rollout=gpu", "rollout.max_model_len=1024")
ON_ONE_GPU = ("cluster.beside=[rollout]", "learner.gpus_per_rank=0.5", "rollout.gpus=0.5",
              "rollout.gpu_memory_utilization=0.4")  # fmt: skip


def measure(task: Task) -> None:
    """Measure the transports that the machine allows."""
    count = len(gpus())
    repeats = 7 if count else 3
    task.case("object store", run_case, "object_store", task.scratch, repeats)
    if count >= 2:
        task.case("NCCL", run_case, "nccl", task.scratch, repeats)
    else:
        task.add("NCCL", {"skipped": f"needs two GPUs, {count} here"})
    if count == 1:
        task.case("IPC", run_case, "ipc", task.scratch, repeats)


def overrides(transport: str, count: int) -> list[str]:
    """Return the configuration for a transport on so many GPUs."""
    places = [*(ON_GPUS if count else ()), *(ON_ONE_GPU if count == 1 else ())]
    return [*COMMON, *places, f"rollout.weights.transport={transport}"]


def run_case(transport: str, scratch: str, repeats: int) -> dict[str, Any]:
    """Return the medians of pushes by one transport."""
    count = len(gpus())
    model = [override("model.path", random_model("0.3b", scratch))] if count else []
    rows = asyncio.run(pushes(compose([*overrides(transport, count), *model]), repeats))
    middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    # Once the actors are gone, which would be in its way.
    copy_s = copy_seconds(int(middle["MiB"] * 2**20))
    ms = {name: 1e3 * middle[name] for name in ("pause", "gather", "push")}
    pause = {"pause/copy": middle["pause"] / copy_s}
    return {
        "MiB": middle["MiB"],
        **{f"{name} ms": value for name, value in ms.items()},
        "copy ms": 1e3 * copy_s,
        **pause,
    }


async def pushes(config: Config, repeats: int) -> list[dict[str, float]]:
    """Push so many times, and once before that is not counted; return what each took, in seconds."""
    rows: list[dict[str, float]] = []
    async with running(config, Console(), roles=ROLES) as (pipeline, roles):
        assert roles.learner is not None
        await roles.learner.setup(config.model.path, "ppo")
        async with kept_in_flight(config, pipeline, roles, IN_FLIGHT):
            for _ in range(1 + repeats):
                while not (before := await roles.workers[0].stats.remote())["in_flight"]:
                    await asyncio.sleep(0.05)
                started = time.perf_counter()
                update, _, _ = await roles.learner.weights()
                gathered = time.perf_counter()
                await pipeline.publish(update)
                ended = time.perf_counter()
                after = await roles.workers[0].stats.remote()
                rows.append(
                    {
                        "pause": after["pause_s"] - before["pause_s"],
                        "gather": gathered - started,
                        "push": ended - started,
                        "MiB": update.nbytes / 2**20,
                    }
                )
    return rows[1:]


def copy_seconds(nbytes: int) -> float:
    """Return the median seconds of a copy of so many bytes on the device."""
    source = torch.zeros(nbytes, dtype=torch.uint8, device=device())
    target = torch.empty_like(source)
    target.copy_(source)
    return statistics.median(timed(lambda: target.copy_(source))[0] for _ in range(9))
