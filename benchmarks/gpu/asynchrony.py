"""Asynchrony: seconds a step of the default job's PPO, synchronous and with the default bound on staleness.

Real roles and the real controller in the documented layout, both modes by turns over the same actors
(``benchmarks.overlap``); weights begin anew with every turn.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from benchmarks.gpu.machine import gpus, layout
from benchmarks.gpu.task import Task
from benchmarks.overlap import SKIPPED, Step, compare, mean
from launch.compose import compose

# The learning rates are low, since only speed is looked at.
COMMON = ("learner.lr=1e-6", "learner.critic_lr=1e-6", "evaluation.every=0", "tracking.wandb=disabled")
ON_A_CPU = ("algorithm.batch_size=16", "solver=program")


def measure(task: Task) -> None:
    """Measure both modes in the documented layout for the GPUs that are here."""
    for name, figures in both_modes(len(gpus())).items():
        task.add(name, figures)


def both_modes(count: int) -> dict[str, Any]:
    """Return the figures of both modes on so many GPUs, and what asynchrony gains."""
    steps, rounds = (SKIPPED + 5, 2) if count else (SKIPPED + 3, 1)
    base = [*layout(count), *COMMON, *(() if count else ON_A_CPU), f"algorithm.steps={steps}"]
    default = compose(base)
    modes = {"synchronous": compose([*base, "controller.max_staleness=0"]), "asynchronous": default}
    found = asyncio.run(compare(modes, rounds, [], Console()))
    figures: dict[str, Any] = {name: mode_figures(rows) for name, rows in found.items()}
    gain = figures["synchronous"]["step_s"] / figures["asynchronous"]["step_s"]
    return {"max_staleness": default.controller.max_staleness, "times as fast": gain, **figures}


def mode_figures(steps: Sequence[Step]) -> dict[str, Any]:
    """Return seconds a step (median), and the shares of it in which each side waited."""
    wall = mean(steps, "wall")
    return {
        "steps": len(steps),
        "step_s": statistics.median(step.wall for step in steps),
        "learner waits": mean(steps, "learner_idle") / wall,
        "rollouts wait": mean(steps, "rollouts_idle") / wall,
    }
