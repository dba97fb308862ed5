"""Do the work of ``launch.tiny_models`` in its processes. They import it by its name, as they cannot import a command's
own ``__main__``; each loads what it needs, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch.tiny_models.names import NAMES


def train_model(kind: str, data: str, seed: int, steps: int, folder: Path, reports: Any) -> None:
    """Train a model of a task, and report (kind, step, mean loss)."""
    from launch.tiny_models.make import make, total_steps

    recent: list[float] = []

    def report(step: int, loss: float, exact: float) -> None:
        recent.append(loss)
        if step % 10 == 0 or step == total_steps(steps, kind, data):
            reports.put((kind, step, sum(recent) / len(recent)))
            recent.clear()

    make(kind, seed, steps, folder, report, data)


def cut_model(kind: str, data: str, seed: int, steps: int | None, folder: Path, reports: Any) -> None:
    """Cut a task's second solver from the first."""
    from conf.schema.model import shipped
    from launch.tiny_models.prune import cut_down

    cut_down(shipped(f"{NAMES[data]}_solver"), folder, seed, data)


def measure_model(kind: str, data: str, folder: Path, skills: Any) -> None:
    """Measure the skill of a task's model, and hand on (kind, its text for the card)."""
    from launch.tiny_models.curriculum import INDEPENDENT
    from launch.tiny_models.measure import measure
    from launch.tiny_models.measure_roles import measure_monolith, measure_verifier
    from launch.tiny_models.texts import reworded
    from rollout.actor_log import actor_log

    actor_log("runs/tiny_models", f"measuring_{kind}")
    if kind == "verifier":
        skill = measure_verifier(folder)
    elif kind == "monolith":
        skill = measure_monolith(folder, data)
    else:
        skill = measure(folder, data, worded=reworded if kind == INDEPENDENT else str)
    skills.put((kind, skill))
