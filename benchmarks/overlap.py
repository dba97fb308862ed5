"""What asynchrony gains: wall time a step with ``max_staleness`` 0 and 1: ``python -m benchmarks.overlap``.

The embedded default's real parts and controller, with the rollout roles (workers, solver, reward actor) held to one
core and the learner to another, which the driver and Ray's own processes share with it; the same in both modes. Both
modes take turns within one run. ``algorithm.epochs`` is chosen so that both sides have about as much to do, from one
synchronous run first: with r seconds of rollouts and l of learning a step, overlap can gain (r + l) / max(r, l), 2 at
most. Nothing but speed is looked at: weights begin anew with every turn.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.episodes import running
from benchmarks.processes import Machine
from conf.schema.config import Config
from conf.schema.role_sizes import ROLES
from launch.compose import compose
from rewards.reward import Sample
from rollout.data.source import make_source
from trainer.learner.learner_group import LearnerGroup
from trainer.stages.ppo import Controller
from trainer.workers.pipeline import Pipeline

ROLLOUTS = ("ray::RolloutWorker", "ray::SolverActor", "ray::RewardActor")
# The first steps fill the pipeline, the last one waits for its push.
SKIPPED = 2


@dataclass(frozen=True)
class Step:
    """Seconds of one step: of wall time, and of it waited by the learner and by the rollouts; of CPU by the sides."""

    wall: float
    learner_idle: float
    rollouts_idle: float
    rollouts: float
    learner: float
    driver: float


def hold(processes: Sequence[psutil.Process], cores: set[int]) -> None:
    """Let all threads of these processes run on these cores alone; what they start inherits that."""
    for process in processes:
        for thread in process.threads():
            with suppress(ProcessLookupError):  # it has ended since
                os.sched_setaffinity(thread.id, cores)


class Cores:
    """The run's processes by side, each side held to one of two cores."""

    def __init__(self, first: int, second: int) -> None:
        self.driver = [psutil.Process()]
        self.rollouts: list[psutil.Process] = []
        self.learner: list[psutil.Process] = []
        others = []
        for process in psutil.Process().children(recursive=True):
            name = process.cmdline()[0] if process.cmdline() else ""
            if name.startswith(ROLLOUTS) or any(process in above.children(recursive=True) for above in self.rollouts):
                self.rollouts.append(process)
            elif name.startswith("ray::Learner"):
                self.learner.append(process)
            else:
                others.append(process)
        hold(self.rollouts, {first})
        hold([*self.learner, *self.driver, *others], {second})

    def seconds(self) -> list[float]:
        """CPU time so far of rollouts, learner and driver."""
        return [sum(sum(p.cpu_times()[:2]) for p in side) for side in (self.rollouts, self.learner, self.driver)]


async def train(config: Config, pipeline: Pipeline, learner: LearnerGroup, cores: Cores | None) -> list[Step]:
    """Run from the start; return the steps without the first few and the last. CPU seconds are 0 without ``cores``."""

    def seconds() -> list[float]:
        return [0.0] * 3 if cores is None else cores.seconds()

    await pipeline.reset()  # what is left of the turn before
    await learner.setup(config.model.path, "ppo")
    weights, _, _ = await learner.weights()
    await pipeline.publish(weights)
    steps: list[Step] = []
    before = seconds()

    async def on_step(step: int, metrics: dict[str, float], batch: Sequence[Sample]) -> None:
        nonlocal before
        now = seconds()
        wall = len(batch) / metrics["throughput/episodes_s"]
        used = [later - earlier for later, earlier in zip(now, before, strict=True)]
        steps.append(Step(wall, metrics["time/rollout_wait"], metrics["time/learner_wait"], *used))
        before = now

    await Controller(config, pipeline, learner, make_source(config.data).train(99), on_step).run()
    return steps[SKIPPED:-1]


def mean(steps: Sequence[Step], name: str) -> float:
    """Of one of the figures."""
    return statistics.fmean(getattr(step, name) for step in steps)


def balanced_epochs(steps: Sequence[Step]) -> int:
    """Return the epochs with which the learner's core, which is the driver's too, has as much to do as that of the
    rollouts, from synchronous steps of one epoch.

    Take-up costs about two forward passes, an epoch three: forward, and backward at twice its cost.
    """
    passes = (mean(steps, "rollouts") - mean(steps, "driver")) / (mean(steps, "learner") / 5)
    return max(1, round((passes - 2) / 3))


async def measure(config: Config, cores: Sequence[int], console: Console) -> list[Step]:
    """Return synchronous steps, to balance the sides by."""
    async with running(config, console, roles=ROLES) as (pipeline, roles):
        assert roles.learner is not None
        return await train(config, pipeline, roles.learner, Cores(*cores[:2]))


async def compare(
    configs: dict[str, Config], rounds: int, cores: Sequence[int], console: Console
) -> dict[str, list[Step]]:
    """Run the modes in turn, over the same actors; return the steps of each. Without ``cores`` no process is held to
    some."""
    found: dict[str, list[Step]] = {name: [] for name in configs}
    async with running(next(iter(configs.values())), console, roles=ROLES) as (pipeline, roles):
        assert roles.learner is not None
        held = Cores(*cores[:2]) if cores else None
        for number in range(rounds):
            for name, config in configs.items():
                started = time.perf_counter()
                found[name] += await train(config, pipeline, roles.learner, held)
                wall = statistics.median(step.wall for step in found[name])
                console.print(
                    f"round {number + 1}, {name}: {wall:.2f} s a step so far ({time.perf_counter() - started:.0f} s)",
                    highlight=False,
                )
    return found


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="instead of measuring how many balance the sides")
    parser.add_argument("--staleness", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="of the configuration")
    options = parser.parse_args()
    console = Console()
    cores = psutil.Process().cpu_affinity()
    if len(cores) < 2:
        parser.error("two cores are needed")
    base = [*options.overrides, f"algorithm.steps={options.steps}", "learner.lr=1e-6", "learner.critic_lr=1e-6"]
    epochs = options.epochs
    if epochs is None:
        probe = compose([*base, "algorithm.epochs=1", "controller.max_staleness=0", f"algorithm.steps={SKIPPED + 4}"])
        epochs = balanced_epochs(asyncio.run(measure(probe, cores, console)))
        hold([psutil.Process()], set(cores))
    configs = {
        f"η = {staleness}": compose([*base, f"algorithm.epochs={epochs}", f"controller.max_staleness={staleness}"])
        for staleness in (0, options.staleness)
    }
    machine = Machine()
    found = asyncio.run(compare(configs, options.rounds, cores, console))
    columns = ["", "wall", "rollouts", "learner", "driver", "rollouts idle", "learner idle"]
    table = Table(*columns, title="seconds a step: wall time (median), CPU time, share of waiting")
    for name, steps in found.items():
        wall = mean(steps, "wall")
        table.add_row(
            name,
            f"{statistics.median(step.wall for step in steps):.2f}",
            *(f"{mean(steps, side):.2f}" for side in ("rollouts", "learner", "driver")),
            *(f"{mean(steps, side) / wall:.0%}" for side in ("rollouts_idle", "learner_idle")),
        )
    console.print(table)
    synchronous, asynchronous = (statistics.median(step.wall for step in steps) for steps in found.values())
    busy = [mean(next(iter(found.values())), side) for side in ("rollouts", "learner")]
    console.print(
        f"{synchronous / asynchronous:.2f} times as fast with epochs {epochs}; these two sides can gain "
        f"{sum(busy) / max(busy):.2f}\n{machine.line()}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
