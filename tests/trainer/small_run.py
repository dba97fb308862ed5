"""A whole run of a few steps over stand-ins for its actors."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from launch.compose import compose
from rollout.solvers.base import Usage
from tests.trainer.fakes import Actor, Group, Rewarder, Worker, write_checkpoint
from trainer.run import Run
from trainer.run_folder.files import read_json
from trainer.workers.pipeline import Pipeline


class Solvers:
    async def usage(self) -> Usage:
        return Usage(requests=5, retries=1, prompt_tokens=900, completion_tokens=100, cost=1.25)


class Learner(Group):
    def __init__(self, error: Exception | None = None, on_version: Any = lambda version: None) -> None:
        super().__init__()
        self.on_version = on_version
        self.saved: list[str] = []
        self.error = error
        self.restarts = 0

    async def sft_step(self, rows: list[Any], decay: float) -> dict[str, float]:
        self.on_version(self.version)
        await asyncio.sleep(self.delay)
        self.version += 1
        return {"sft/loss": 1.0, "sft/tokens": 2.0}

    async def train_step(self, batch: list[Any]) -> dict[str, float]:
        self.on_version(self.version)
        if self.error is not None and self.version == 2:
            raise self.error
        return await super().train_step(batch)

    async def restart(self) -> None:
        self.restarts += 1
        self.version = 0

    async def setup(self, path: str, stage: str) -> None:
        pass

    async def restore(self, folder: str) -> None:
        self.version = int(read_json(Path(folder) / "state.json")["version"])

    async def checkpoint(self, folder: str) -> None:
        write_checkpoint(folder)
        self.saved.append(folder.rpartition("/")[2].removesuffix(".partial"))


def run(
    monkeypatch, tmp_path, budget, error=None, stopping=lambda: None, on_version=lambda version: None, more=(),
    worker=None, solvers=None, rewarder=None,
):  # fmt: skip
    """A run over stand-ins, four steps of eight between evaluations on four problems: its status, summary, metrics,
    screen and learner. ``error`` is raised in the third step, each time that it comes; ``stopping`` is called when Ray
    is stopped, ``on_version`` before each step. ``more`` are further overrides."""
    learner, folder = Learner(error, on_version), tmp_path / "run"

    async def start(self, view, logs):
        actors = (worker or Worker(budget=budget), solvers or Solvers(), rewarder or Rewarder())
        pools = [[Actor(each)] for each in actors]
        pipeline = Pipeline(*pools, logs, 600.0, 3, solver_name="m at http://there/v1", outage_s=0.2)
        pipeline.on_restart = view.say
        pipeline.start()
        return pipeline, learner

    monkeypatch.setattr(Run, "_start", start)
    monkeypatch.setattr("trainer.run.stop_ray", lambda config: stopping())
    monkeypatch.setattr("trainer.run.note_processes", lambda config: None)
    config = compose(
        [
            "stages=[ppo,evaluate]", "algorithm.steps=4", "algorithm.batch_size=8", "evaluation.problems=4",
            "tracking.wandb=disabled", f"run_dir={folder}", *more,
        ]
    )  # fmt: skip
    screen = io.StringIO()
    status = Run(config, folder, Console(file=screen, width=500), list(more)).execute()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return status, json.loads((folder / "summary.json").read_text()), rows, screen.getvalue(), learner
