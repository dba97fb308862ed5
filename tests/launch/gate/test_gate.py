"""The gate over stand-ins for the actors: real episodes of an exact solver and of decomposers that are told what to
write; and its arithmetic."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest

from conf.schema.gate import Gate
from launch.gate import measure
from launch.gate.__main__ import NOT_PASSED, main
from launch.gate.checks import MEASURED, checks, share
from launch.gate.right_steps import marks, step_job
from rollout.answers.extract import extract, score
from rollout.data.worked import REPLIES
from rollout.jobs import Outcome
from rollout.records import Decomposition, Episode, Problem, Turn
from rollout.run_episode import run_episode
from rollout.solvers.program import answer
from tests.rollout.fakes import CharacterEngine, Scripted
from tests.trainer.fakes import Actor, Rewarder, Worker
from trainer.cluster.roles import RunningRoles

SMALL = ["gate.problems=8", "tracking.wandb=disabled"]


class Exact(Scripted):
    """The program as solver, whose answers to whole questions may be cut off."""

    def __init__(self, cut: bool) -> None:
        super().__init__(lambda prompt, sample: answer(prompt))
        self.cut = cut

    async def ask(self, prompt, *, purpose, sample=0):
        said = await super().ask(prompt, purpose=purpose, sample=sample)
        return replace(said, cut=self.cut and purpose == "solve")


class Runs(Worker):
    """A worker that runs the real episodes, with a decomposer that writes ``text`` of each problem."""

    def __init__(self, config, text, cut) -> None:
        super().__init__()
        self.config, self.text, self.cut = config, text, cut

    async def _run(self, job, life):
        engine = CharacterEngine(lambda prompt, number: self.text(job.problem))
        self.done.put_nowait(Outcome(job, await run_episode(job, engine, Exact(self.cut), self.config)))


class Marks(Rewarder):
    def _reward(self, episode):
        right = score(episode.problem, extract(episode.final.text, "number").answer)
        return replace(super()._reward(episode), correct=right)


@pytest.fixture
def gate(monkeypatch, tmp_path):
    """The command; returns its exit status and what it wrote."""

    def run(*overrides, text=lambda problem: "Who is it?", cut=False):
        @contextmanager
        def session(config):
            yield

        @asynccontextmanager
        async def running(config, logs, roles):
            assert roles == ("rollout", "solver", "reward")
            yield RunningRoles([], [Actor(Runs(config, text, cut))], [Actor(Marks())], None, logs)

        monkeypatch.setattr(measure, "ray_session", session)
        monkeypatch.setattr(measure, "running_roles", running)
        status = main([*SMALL, f"run_dir={tmp_path}", *overrides])
        return status, json.loads((tmp_path / "gate.json").read_text())

    return run


def test_a_solver_of_single_steps_and_a_decomposer_that_can_learn_pass(gate, tmp_path, capsys):
    status, found = gate()
    assert (status, found["passed"]) == (0, True)
    means = {name: figure["mean"] for name, figure in found["figures"].items()}
    assert means == {"steps": 1, "direct": 0, "direct_ended": 1, "gold": 1, "decomposer": 0}
    assert found["figures"]["steps"]["count"] > 8
    said = capsys.readouterr().out
    assert said.count("\npassed  ") == 4
    assert str(tmp_path) in said
    episodes = [json.loads(line) for line in (tmp_path / "episodes" / "steps.jsonl").read_text().splitlines()]
    assert all(row["turns"] and row["initial"] is None for row in episodes)


def test_a_decomposer_as_good_as_gold_and_answers_that_are_cut_off_do_not_pass(gate, capsys):
    status, found = gate(text=lambda problem: "\n".join(problem.subquestions), cut=True)
    assert (status, found["passed"]) == (NOT_PASSED, False)
    assert [check["name"] for check in found["checks"] if not check["passed"]] == [
        "direct_ended", "decomposer_below_gold",
    ]  # fmt: skip
    assert "NOT PASSED  the decomposer is 0.000 below gold; wanted: 0.05 or more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["policy.plays=both"], "solver: the gate measures one frozen solver"),
        (["solver=mixture"], "solver: the gate measures one frozen solver"),
        (["strategy=direct"], "strategy.name: 'direct' asks no decomposer"),
        (["strategy.gate=disagree"], "strategy.gate: with 'disagree'"),
        (["gate.step_accuracy=2"], "gate.step_accuracy: 2"),
        (["mirror=memory://copies"], "mirror: launch.gate keeps no copy of its folder"),
        (["tracking.wandb=online"], "tracking.wandb: launch.gate is not tracked; allowed: offline or disabled"),
        (["-m", "seed=0"], "-m: no option of this command"),
        (["start_from=/no/such"], "start_from: '/no/such'"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(overrides, said, capsys):
    assert main([*SMALL, *overrides]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_data_without_sub_questions_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "question": "How many?", "answer": "1"}\n')
    assert main([*SMALL, "data=jsonl", f"data.held_out={tmp_path}/rows.jsonl"]) == 2
    assert capsys.readouterr().err.startswith("data: none of its held-out problems has sub-questions and the answers")


@pytest.mark.parametrize("name", ["config.yaml", "gate.json", "episodes/steps.jsonl"])
def test_a_folder_that_holds_a_run_or_something_else_is_left_as_it_is(tmp_path, capsys, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    assert main([*SMALL, f"run_dir={tmp_path}"]) == 2
    first = name.partition("/")[0]
    said = f"run_dir: '{tmp_path}' holds '{first}' of something else; allowed: a new or an empty folder\n"
    assert capsys.readouterr().err == said
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]


def test_a_run_that_began_in_the_gates_folder_keeps_its_account(gate, tmp_path, capsys):
    gate()
    assert gate()[0] == 0, "the gate's own folder may be measured in again"
    (tmp_path / "config.yaml").write_text("seed: 0")
    capsys.readouterr()
    assert gate()[0] == 2
    assert capsys.readouterr().err.startswith(f"run_dir: '{tmp_path}' holds 'config.yaml' of something else")


def test_the_gate_takes_as_many_problems_with_sub_questions_as_it_is_to_and_says_if_there_are_fewer(
    gate, tmp_path, capsys
):
    rows = [{"id": str(n), "question": f"Of {n}?", "answer": "1"} for n in range(40)]
    for row in rows[::4]:
        row |= {"subquestions": ["Who?"], "subanswers": ["1"]}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["data=jsonl", f"data.held_out={tmp_path}/rows.jsonl"]
    assert gate(*given)[1]["figures"]["direct"]["count"] == 8
    assert "gate.problems" not in capsys.readouterr().out
    assert gate(*given, "gate.problems=12")[1]["figures"]["direct"]["count"] == 10
    said = "gate.problems: measured on 10 problems, not 12: no more of those held out have sub-questions\n"
    assert said in capsys.readouterr().out


def figures(**right):
    """Of 1,000 marks each so many right."""
    found = {"steps": 700, "direct": 200, "direct_ended": 960, "gold": 400, "decomposer": 330} | right
    return {name: share([1.0] * found[name] + [0.0] * (1000 - found[name])) for name in MEASURED}


@pytest.mark.parametrize(
    ("right", "failed"),
    [
        ({}, []),
        ({"steps": 600, "direct_ended": 950, "decomposer": 350, "direct": 300}, []),
        ({"steps": 599}, ["step_accuracy"]),
        ({"direct": 301}, ["gold_over_direct"]),
        ({"direct_ended": 949}, ["direct_ended"]),
        ({"decomposer": 351}, ["decomposer_below_gold"]),
        ({"decomposer": 500, "steps": 0}, ["step_accuracy", "decomposer_below_gold"]),
    ],
)
def test_each_demand_has_its_threshold(right, failed):
    assert [check.name for check in checks(figures(**right), Gate()) if not check.passed] == failed


def test_a_gain_whose_intervals_overlap_is_none():
    few = {name: share([1.0] * count + [0.0] * (10 - count)) for name, count in
           {"steps": 9, "direct": 4, "direct_ended": 10, "gold": 6, "decomposer": 4}.items()}  # fmt: skip
    (gain,) = [check for check in checks(few, Gate()) if not check.passed]
    assert gain.name == "gold_over_direct"
    assert "the intervals overlap" in gain.said


def test_steps_are_marked_by_the_rows_answers_and_shown_the_right_replies():
    asked = ["How many in May?", "How many in both?", "Is that all?"]
    problem = Problem(
        "p", "48 in April, half of it in May: how many?", "72", solution="48/2 = 24.\n48+24 = 72.\nYes.",
        subquestions=asked, meta={"subanswers": ["24", "72", "yes"]},
    )  # fmt: skip
    job = step_job(3, problem)
    assert (job.id, job.given, job.problem.meta[REPLIES]) == (3, asked, ["48/2 = 24.", "48+24 = 72.", "Yes."])
    assert step_job(0, replace(problem, solution=None, meta={})) is None
    nothing = replace(problem, subquestions=asked[:1], meta={"subanswers": ["Let x be the total."]})
    assert step_job(0, nothing) is None, "there is nothing to be marked"
    said = [Turn(question, text) for question, text in zip(asked, ["She sold 24.", "It is 70.", "Yes."], strict=True)]
    episode = Episode(job.problem, "steps", decomposition=Decomposition("", asked), turns=said)
    assert marks(episode) == [True, False, True]
    assert marks(replace(episode, turns=said[:1], outcome="prompt_too_long")) == [False, False, False]
    answers = {"subanswers": ["24", "Let x be the total.", "yes"]}
    unread = replace(job.problem, meta=job.problem.meta | answers)
    assert marks(replace(episode, problem=unread)) == [True, True], "what nobody could say is left out"
