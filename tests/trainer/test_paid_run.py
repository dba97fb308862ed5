"""Runs whose solver costs money: a budget spent, a server gone, or nothing to learn."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
from dataclasses import asdict

import pytest
from rich.console import Console

from launch.compose import compose
from rollout.jobs import Outcome
from rollout.solvers.base import Usage
from tests.trainer.fakes import Worker
from tests.trainer.small_run import Solvers, run
from trainer.run import Run
from trainer.run_folder.resume import check_resumable

SERVED = [
    "solver=openai",
    "solver.model=m",
    "solver.price_prompt=1",
    "solver.budget_cost=1",
    "solver.budget_tokens=900",
]


def test_a_spent_budget_is_said_with_the_command_that_goes_on_with_twice_as_much(monkeypatch, tmp_path):
    status, summary, _, screen, _ = run(monkeypatch, tmp_path, 6, more=SERVED)
    assert (status, summary["status"]) == (0, "out_of_budget")
    used = "cost 1.25 of solver.budget_cost=1.0, 1,000 tokens of solver.budget_tokens=900"
    assert f"the solver's budget is spent ({used}): stopped after 0 learner steps" in screen
    (line,) = [line for line in screen.splitlines() if line.startswith("to go on with a larger budget: ")]
    again = shlex.split(line.partition(": ")[2])
    assert again[:3] == ["python", "-m", "launch.train"]
    assert {"resume=auto", "solver.budget_cost=2.5", "solver.budget_tokens=2000"} <= set(again)
    assert "solver.budget_cost=1" not in again
    began = ["stages=[ppo,evaluate]", "algorithm.steps=4", "algorithm.batch_size=8", "evaluation.problems=4"]
    check_resumable(tmp_path / "run", compose([*began, *again[3:]]))


@pytest.mark.parametrize("stopped", [True, False], ids=["interrupted", "failed"])
def test_a_run_that_ends_before_its_time_tells_what_its_solver_was_asked(monkeypatch, tmp_path, stopped):
    error = None if stopped else ValueError("no")
    signals = (
        (lambda version: version == 2 and os.kill(os.getpid(), signal.SIGINT)) if stopped else lambda version: None
    )
    status, summary, _, screen, _ = run(monkeypatch, tmp_path, float("inf"), error, on_version=signals)
    assert (status, summary["status"]) == ((130, "interrupted") if stopped else (1, "failed"))
    assert summary["solver"] == asdict(
        Usage(requests=5, retries=1, prompt_tokens=900, completion_tokens=100, cost=1.25)
    )
    assert screen.count("solver  5 requests answered, 1 more attempt without a reply, 1,000 tokens") == 1


def test_a_run_that_does_not_start_tells_what_was_asked_before(monkeypatch, tmp_path):
    monkeypatch.setattr("trainer.run.start_ray", lambda config: 1 / 0)
    monkeypatch.setattr("trainer.run.stop_ray", lambda config: None)
    config = compose(["stages=[ppo]", "tracking.wandb=disabled", *SERVED])
    screen, asked = io.StringIO(), Usage(requests=1, prompt_tokens=7, completion_tokens=3)
    folder = tmp_path / "run"
    assert Run(config, folder, Console(file=screen, width=500), [], None, asked).execute() == 1
    assert json.loads((folder / "summary.json").read_text())["solver"] == asdict(asked)
    assert json.loads((folder / "logs" / "solver-0.usage.json").read_text()) == asdict(asked)
    said = "1 request answered, 10 tokens (7 read, 3 written) of solver.budget_tokens=900, cost 0 of"
    assert said in screen.getvalue()


class Away(Worker):
    """Has no reply for its episodes while the solver is away."""

    away = False

    async def _run(self, job, life):
        if self.away:
            self.done.put_nowait(Outcome(job, None, "SolverUnavailable: gone", no_reply=True))
        else:
            await super()._run(job, life)


def test_a_solver_that_is_gone_for_good_costs_no_learner_step_and_the_run_can_go_on(monkeypatch, tmp_path):
    worker = Away()

    class Gone(Solvers):
        async def check(self):
            return "ConnectError: gone" if worker.away else None

    def leave(version):
        worker.away = version >= 2

    more = ["algorithm.steps=40", "learner.checkpoint_every=100"]
    status, summary, rows, screen, learner = run(
        monkeypatch, tmp_path, float("inf"), on_version=leave, more=more, worker=worker, solvers=Gone()
    )
    assert (status, summary["status"]) == (1, "failed")
    assert summary["error"].startswith("SolverGone: no reply from the solver m at http://there/v1 since ")
    steps = summary["steps"]
    assert 3 <= steps < 40
    assert [row["step"] for row in rows] == list(range(1, steps + 1))
    assert learner.saved == [f"step-{steps}"]
    state = json.loads((tmp_path / "run" / "checkpoints" / f"step-{steps}" / "state.json").read_text())
    assert state["version"] == steps
    assert state["controller"]["in_flight"], "what was under way is run again"
    assert screen.count("no reply from the solver m at http://there/v1 since") == 2
    assert screen.count("To go on: python -m launch.train algorithm.steps=40") == 1
    assert "Traceback" not in screen


def test_where_gold_decompositions_bring_nothing_a_run_says_so_before_stage_2(monkeypatch, tmp_path):
    # The stand-in marks by the problem alone, so all kinds are alike.
    *_, screen, _ = run(monkeypatch, tmp_path, float("inf"))
    assert "nothing to be learned here: with gold sub-questions" in screen.split("done stage 2")[0]


def test_a_run_can_end_in_order_where_gold_decompositions_bring_nothing(monkeypatch, tmp_path):
    more = ["evaluation.stop_if_hopeless=true"]
    status, summary, rows, screen, learner = run(monkeypatch, tmp_path, float("inf"), more=more)
    assert (status, summary["status"], summary["steps"], rows, learner.saved) == (0, "nothing_to_learn", 0, [], [])
    assert {"direct", "gold"} < set(summary["accuracy"])
    assert "python -m launch.gate measures" in screen
    assert "stage 2, asynchronous" not in screen
    (line,) = [line for line in screen.splitlines() if line.startswith("ended before stage 2 ")]
    again = shlex.split(line.partition("all the same: ")[2])
    assert {"resume=auto", "evaluation.stop_if_hopeless=false"} <= set(again)
    began = ["stages=[ppo,evaluate]", "algorithm.steps=4", "algorithm.batch_size=8", "evaluation.problems=4"]
    check_resumable(tmp_path / "run", compose([*began, *again[3:]]))
