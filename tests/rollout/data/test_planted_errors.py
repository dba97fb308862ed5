"""Errors planted in replies, and right replies: what each deserves is what the program that judges says."""

from __future__ import annotations

import itertools
import random

import pytest

from rollout.data import branched, chained
from rollout.data.graph import Graph
from rollout.data.planted_errors import KINDS, RIGHT, plant
from rollout.data.planted_in_text import plant_in_step
from rollout.data.worked import SolverView, gold_replies, worked
from rollout.episode.verdict import CLASSES, NO_MISTAKE, read_verdict, write_verdict
from rollout.records import Problem, Turn
from rollout.solvers.program_verifier import judge
from tests.settings import prompts

PAIRS = [("How many in May?", "Natalia sold 48/2 = 24 clips in May."), ("In both?", "She sold 48+24 = 72 clips.")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("generate", [chained.generate, branched.generate], ids=["chained", "branched"])
def test_the_program_that_judges_agrees_with_every_planted_error(kind, generate):
    rng, texts, found = random.Random(kind), prompts(), 0
    for problem in itertools.islice(generate(3, "train", {2: 1.0, 3: 1.0, 4: 1.0}), 60):
        view, turns = SolverView(Graph(problem)), list[Turn]()
        for name in view.graph.needed[: rng.randint(0, 2)]:
            turns.append(Turn(view.graph.ask(name), view.answer(name)))
        judged = plant(view.graph, view.known, rng, kind)
        if judged is None:
            continue
        found += 1
        said = judge(texts.verify(problem, turns, Turn(judged.question, judged.reply)))
        assert read_verdict(said) == [judged.verdict], (problem.question, turns, judged)
        assert (judged.verdict == NO_MISTAKE) == (kind in RIGHT)
        assert (judged.reply == judged.right) or kind not in RIGHT
    assert found > 10


@pytest.mark.parametrize("name", [*CLASSES, NO_MISTAKE])
def test_a_class_is_read_as_it_is_taught_to_be_written(name):
    assert read_verdict(f"Amy owns 3 pens. Verdict: {write_verdict(name)}.") == [name]


def test_in_peoples_steps_a_result_an_operation_or_the_whole_reply_is_another():
    found = {verdict: reply for seed in range(20) for reply, verdict in [plant_in_step(PAIRS, 0, random.Random(seed))]}
    assert set(found) == {"computational", "conceptual", "misunderstood"}
    assert found["misunderstood"] == PAIRS[1][1]
    assert found["computational"].startswith("Natalia sold 48/2 = ")
    assert " 24 " not in found["computational"]
    assert "48/2" not in found["conceptual"]
    assert plant_in_step([("Why?", "Because it is so.")], 0, random.Random(0)) is None
    assert plant_in_step([("How many?", "24")], 0, random.Random(0))[1] == "computational"


def test_hostile_steps_take_no_time():
    for text in ("1" * 50_000, "= " * 25_000, "1 + " * 12_000, "1" * 9 + " " * 40_000 + "=", "1.1" * 20_000):
        plant_in_step([("?", text), ("!", "other")], 0, random.Random(0))


def test_a_problem_is_worked_out_by_its_graph_its_steps_or_its_rows_answers():
    problem = next(chained.generate(0, "train", {3: 1.0}))
    solution = worked(problem, problem.subquestions)
    assert [question for question, _ in solution.pairs] == problem.subquestions
    assert solution.computed == problem.solution.splitlines()[:-1]
    assert solution.last.endswith(problem.solution.splitlines()[-1])
    assert worked(problem, ["Why?"]) is None
    row = Problem("p", "?", "9", solution="3\n\n6\n9", meta={"subanswers": ["1", "2", "3", "4"]})
    assert gold_replies(row, 2) == ["3", "6"]
    assert gold_replies(row, 4) == ["1", "2", "3", "4"]
    assert gold_replies(row, 5) is None
    assert worked(row, ["a", "b"]).last == "9\nThe answer is 9."
    assert worked(Problem("p", "?", "1"), ["a"]) is None
