from __future__ import annotations

import io
import json

import pytest
from ray.exceptions import OutOfMemoryError, RayTaskError
from rich.console import Console

from launch.compose import compose
from rollout.solvers.base import Usage
from tests.trainer.fakes import Actor, Group, Rewarder, Worker
from trainer.learner import NonFiniteLoss
from trainer.metrics import CATALOGUE
from trainer.pipeline import Pipeline
from trainer.run import Run, reason


def test_an_error_in_an_actor_is_said_by_its_cause():
    error = RayTaskError("train_step", "Traceback ...\n  File ...", NonFiniteLoss("loss is nan at version 3"))
    assert reason(error) == "NonFiniteLoss: loss is nan at version 3"


def test_what_ray_says_at_length_is_kept_to_its_first_line():
    assert reason(OutOfMemoryError("Memory on the node was low.\nRefer to ...\nCheck the logs.")) == (
        "OutOfMemoryError: Memory on the node was low."
    )


def test_other_errors_are_said_whole():
    assert reason(ValueError("wrong")) == "ValueError: wrong"


class Solvers:
    async def usage(self) -> Usage:
        return Usage(requests=5, retries=1, prompt_tokens=900, completion_tokens=100, cost=1.25)


class Learner(Group):
    def __init__(self) -> None:
        super().__init__()
        self.saved: list[str] = []

    async def setup(self, path: str, stage: str) -> None:
        pass

    async def save(self, folder: str) -> None:
        self.saved.append(folder.rpartition("/")[2])


def run(monkeypatch, tmp_path, budget):
    """A run over stand-ins, four steps of eight between evaluations on four problems: its status, summary, metrics,
    screen and learner."""
    learner = Learner()

    async def start(self, view, logs):
        pipeline = Pipeline([Actor(Worker(budget=budget))], [Actor(Solvers())], [Actor(Rewarder())], logs, 5.0, 3)
        pipeline.start()
        return pipeline, learner

    monkeypatch.setattr(Run, "_start", start)
    monkeypatch.setattr("trainer.run.stop_ray", lambda config, known: None)
    config = compose(
        [
            "stages=[ppo,evaluate]", "algorithm.steps=4", "algorithm.batch_size=8", "evaluation.problems=4",
            "tracking.wandb=disabled",
        ]
    )  # fmt: skip
    screen = io.StringIO()
    folder = tmp_path / "run"
    status = Run(config, folder, Console(file=screen, width=500), []).execute()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return status, json.loads((folder / "summary.json").read_text()), rows, screen.getvalue(), learner


def test_a_run_tells_what_its_solver_was_asked(monkeypatch, tmp_path):
    status, summary, rows, screen, _ = run(monkeypatch, tmp_path, float("inf"))
    assert (status, summary["status"], summary["steps"]) == (0, "finished", 4)
    assert summary["solver"]["cost"] == 1.25
    assert {"direct", "gold", "filler", "sft", "ppo"} == set(summary["accuracy"])
    for row in rows:
        assert row["solver/prompt_tokens"] == 900
        assert row["solver/retries"] == 1
        assert {name for name in CATALOGUE if name.startswith("solver/")} <= set(row)
    assert "budget" not in screen


# Four kinds are evaluated before PPO, on four problems each.
@pytest.mark.parametrize(
    ("budget", "steps", "kinds"),
    [
        (6, 0, {"direct"}),
        (16 + 21, 2, {"direct", "gold", "filler", "sft"}),
        (16 + 32 + 2, 4, {"direct", "gold", "filler", "sft"}),
    ],
)
def test_a_run_whose_budget_is_spent_ends_in_order_and_says_so_once(monkeypatch, tmp_path, budget, steps, kinds):
    status, summary, rows, screen, learner = run(monkeypatch, tmp_path, budget)
    assert (status, summary["status"], summary["steps"]) == (0, "out_of_budget", steps)
    assert summary["solver"]["completion_tokens"] == 100
    assert set(summary["accuracy"]) == kinds
    assert all(entry["mean"] >= 0 for entry in summary["accuracy"].values())
    assert len(rows) == steps
    assert screen.count("budget is spent (cost 1.25, 1,000 tokens") == 1
    assert f"stopped after {steps} learner steps" in screen
    assert ("ppo" in learner.saved) == (budget > 16)
