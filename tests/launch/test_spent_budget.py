"""A solver's budget that is spent in the commands beside the main job: the same line, and how to go on."""

from __future__ import annotations

import json
import shlex
from contextlib import asynccontextmanager, contextmanager, nullcontext

import pytest

from conf.schema.override_text import quoted
from launch.ask import __main__ as ask_command
from launch.ask import episodes
from launch.compose import compose
from launch.evaluate import __main__ as evaluate_command
from launch.evaluate import matrix
from launch.evaluate.cells import cells, given_anew
from launch.evaluate.matrix import MatrixRun
from launch.gate import __main__ as gate_command
from launch.gate import measure
from rollout.jobs import BUDGET, Outcome
from rollout.records import Episode
from rollout.solvers.base import Backend, Usage
from tests.trainer.fakes import Actor, Rewarder, Worker
from trainer.cluster.roles import RunningRoles

SERVER = ["solver=openai", "solver.model=m", "solver.price_prompt=1"]
BOUNDS = ["solver.budget_cost=1", "solver.budget_tokens=900"]
SPENT = "the solver's budget is spent (cost 1.25 of solver.budget_cost=1.0, 1,000 tokens of solver.budget_tokens=900)"
LARGER = ["solver.budget_cost=2.5", "solver.budget_tokens=2000"]
MATRIX = [
    "matrix=chained", "matrix.run=package:tiny_decomposer", "matrix.problems=4", "~matrix.decomposers.sft",
    "~matrix.decomposers.ppo", "~matrix.decomposers.gold", "~matrix.solvers.tiny", "~matrix.solvers.second",
    "~matrix.equal_tokens.self_consistency", "matrix.leave_out=[]",
    *(f"~matrix.strategies.{name}" for name in
      ("self_consistency", "least_to_most", "daslam_no_feedback", "dependency_graph")),
]  # fmt: skip


class Served:
    """A solver's actor that has used this much."""

    async def usage(self):
        return Usage(requests=9, prompt_tokens=600, completion_tokens=400, cost=1.25)


@pytest.fixture
def spent(monkeypatch):
    """Actors whose solver's budget is spent after so many episodes of each rollout worker, in place of Ray's."""

    def after(count):
        @contextmanager
        def session(config):
            yield

        @asynccontextmanager
        async def running(config, logs, only, solvers=(), verifiers=()):
            own = [Actor(Served())] if "solver" in only else []
            workers = [Actor(Worker(budget=count))] if "rollout" in only else []
            yield RunningRoles(own, workers, [Actor(Rewarder())] if "reward" in only else [], None, logs)

        for module in (matrix, measure, episodes):
            monkeypatch.setattr(module, "ray_session", session)
            monkeypatch.setattr(module, "running_roles", running)
        for module in (evaluate_command, gate_command):
            monkeypatch.setattr(module, "check_solver", lambda config: None)

    return after


def going_on(said: str, module: str) -> list[str]:
    """The overrides of the command that the last lines of a screen name."""
    (line,) = [line for line in said.splitlines() if "with a larger budget: " in line]
    words = shlex.split(line.partition("budget: ")[2])
    assert words[:3] == ["python", "-m", module]
    return words[3:]


def test_a_matrix_says_whose_budget_is_spent_and_goes_on_with_a_larger_one(spent, tmp_path, capsys):
    overrides = [*MATRIX, *SERVER, *BOUNDS, "~matrix.solvers.program", "+matrix.solvers.server=[]"]
    overrides = [*overrides, f"run_dir={tmp_path}"]
    spent(4)
    assert evaluate_command.main(overrides) == 1
    said = capsys.readouterr().out
    assert f"\n{SPENT}: what is finished is kept\n" in said
    again = going_on(said, "launch.evaluate")
    assert set(LARGER) <= set(again)
    assert not set(BOUNDS) & set(again)
    # What is finished is so with a larger budget too.
    begun = MatrixRun(compose([*again, "stages=[evaluate]"]), cells(compose(again), again), tmp_path, print)
    assert (len(begun.cells), len(begun.pending())) == (2, 1)


def test_a_budget_that_an_axis_of_a_matrix_sets_is_given_anew_there(spent, tmp_path, capsys):
    chosen = ",".join(map(quoted, [*SERVER, *BOUNDS]))
    overrides = [*MATRIX, f"run_dir={tmp_path}", "~matrix.solvers.program", f"+matrix.solvers.server=[{chosen}]"]
    spent(0)
    assert evaluate_command.main(overrides) == 1
    said = capsys.readouterr().out
    assert SPENT in said
    again = going_on(said, "launch.evaluate")
    bounds = {
        cell.solver: (cell.config.solver.budget_cost, cell.config.solver.budget_tokens)
        for cell in cells(compose(again), again)
        if cell.solver == "server"
    }
    assert bounds == {"server": (2.5, 2000)}


def test_a_verifiers_budget_is_given_anew_for_the_strategy_that_has_one():
    judged = ["strategy=daslam", "verifier=openai", "verifier.model=v", "verifier.budget_tokens=5"]
    overrides = [*MATRIX, f"+matrix.strategies.judged=[{','.join(map(quoted, judged))}]"]
    config = compose([*overrides, "stages=[evaluate]"])
    mine = [cell for cell in cells(config, overrides) if cell.strategy == "judged"]
    (again,) = given_anew(["verifier.budget_tokens=10"], mine, config.matrix)
    found = cells(config := compose([*overrides, again]), [*overrides, again])
    verifiers = {cell.strategy: cell.config.verifier for cell in found if cell.config.verifier is not None}
    assert {name: verifier.budget_tokens for name, verifier in verifiers.items()} == {"judged": 10}
    assert len(config.matrix.strategies["judged"]) == len(judged)


def test_the_gate_says_whose_budget_is_spent(spent, tmp_path, capsys):
    spent(0)
    arguments = ["gate.problems=8", f"run_dir={tmp_path}", *SERVER, *BOUNDS]
    assert gate_command.main(arguments) == 1
    said = capsys.readouterr().out
    assert f"\n{SPENT}: nothing was found\n" in said
    assert set(LARGER) <= set(going_on(said, "launch.gate"))
    assert not (tmp_path / "gate.json").exists()


class Asked:
    """A rollout worker that begins no episode: the budget is spent."""

    async def submit(self, jobs):
        self.jobs = jobs

    async def collect(self, wait_s):
        return [Outcome(job, Episode(job.problem, job.strategy, outcome=BUDGET)) for job in self.jobs]


class Spent(Backend):
    """A server whose budget the first question took."""

    identity, spent = {}, True

    async def ask(self, prompt, *, purpose, sample=0):
        raise AssertionError("it was asked for more")


@pytest.mark.parametrize("few", [8, 0], ids=["here", "with Ray"])
def test_a_question_that_the_budget_does_not_reach_is_no_question_without_an_answer(few, monkeypatch, capsys):
    @asynccontextmanager
    async def running(config, logs, only, **_):
        yield RunningRoles([Actor(Served())], [Actor(Asked())], [], None, logs)

    def server(config, backend):
        made = Spent(config.solver)
        made.usage = Usage(requests=9, prompt_tokens=600, completion_tokens=400, cost=1.25)
        return made

    monkeypatch.setattr(episodes, "FEW", few)
    monkeypatch.setattr(episodes, "ray_session", nullcontext)
    monkeypatch.setattr(episodes, "running_roles", running)
    monkeypatch.setattr(episodes, "make_solver", server)
    sets = [part for text in (*SERVER, *BOUNDS) for part in ("--set", text)]
    assert ask_command.main(["package:tiny_decomposer", "How many?", *sets, "--json"]) == 1
    said = capsys.readouterr()
    more = " ".join(f"--set {text}" for text in LARGER)
    assert said.err.splitlines()[-1] == f"question 1 was not asked: {SPENT}; to go on with a larger budget: {more}"
    assert not [json.loads(line) for line in said.out.splitlines()]
