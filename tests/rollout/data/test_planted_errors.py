"""Errors planted in replies, and right replies: what each deserves is what the program that judges says."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter

import pytest

from rewards.parts.equations import equations
from rollout.data import branched, chained
from rollout.data.graph import Graph
from rollout.data.planted_errors import KINDS, RIGHT, plant
from rollout.data.planted_in_text import plant_in_step
from rollout.data.worked import SolverView, gold_replies, worked
from rollout.episode.verdict import CLASSES, NO_MISTAKE, read_verdict, write_verdict
from rollout.records import Problem, Turn
from rollout.solvers.program_verifier import judge
from tests.rollout.answers.test_on_data import DATA
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


def planted(step: str, verdict: str, draws: int = 40) -> set[str]:
    """Return the wrong replies with a verdict that are made of a step."""
    made = (plant_in_step([("How many?", step)], 0, random.Random(seed)) for seed in range(draws))
    return {reply for reply, said in filter(None, made) if said == verdict}


@pytest.mark.parametrize(
    "step",
    [
        "Betty needs 100 - 50 - 30 - 15 = $5 more.",
        "$10 + $5 + $20 = $35",
        "He has 3 pens + 5 * 2 = 13 pens.",
        "New York has 2/3*2100000 = 1400000 people.",
        "That is 20% of 50 + 3 = 13.",
        "S + 143 = 200 - 16 = 184",
        "They have 48 / 2 = 24 * 3 = 72 pens.",
        "3x4+5=17",
        "It takes 2 1/2 = 2.5 hours.",
        "-5 + 8 = 3",
    ],
)
def test_an_operation_within_a_longer_computation_is_left_alone(step):
    assert planted(step, "conceptual") == set()


@pytest.mark.parametrize(
    ("step", "replies"),
    [
        ("So he makes 4500*5=$22,500", ["4500+5=$4,505", "4500-5=$4,495", "4500/5=$900"]),
        ("So it costs 98*3,400 = $333,200.00", ["98+3,400 = $3,498"]),
        ("That is 6000-2000 = 4000", ["6000+2000 = 8000", "6000*2000 = 12000000", "6000/2000 = 3"]),
        ("The total = 10*.5=5", ["10+.5=10.5", "10-.5=9.5", "10/.5=20"]),
        ("It has 7 / 2 = 3.5 pens, two-thirds of them red.", ["7 + 2 = 9", "7 - 2 = 5", "7 * 2 = 14"]),
        ("He had 1 + 2 + 3 = 6. So he has 6 x 4 = 24.", ["6 + 4 = 10", "6 - 4 = 2", "6 / 4 = 1.5"]),
    ],
)
def test_another_operation_is_computed_and_written_as_people_write(step, replies):
    made = planted(step, "conceptual")
    assert len(made) == len(replies)
    assert all(any(reply in one for one in made) for reply in replies)
    assert all(equation.holds for one in made for equation in equations(one))


@pytest.mark.parametrize(
    ("step", "right", "wrong"),
    [
        ("He has driven 111,000*9 = 999,000 miles.", 999_000, ["999,001", "998,990"]),
        ("New York has 2/3*2100000 = 1400000 people.", 1_400_000, ["1400001", "1399990"]),
        ("It costs $4.50 + $1 = $5.50.", 5.5, ["$6.50", "$3.50", "$15.50"]),
        ("Total=5x3=$15", 15, ["5x3=$16", "5x3=$25"]),
        ("As r = 6c, he needs 10*6=60 pens.", 60, ["r = 6c, he needs 10*6=61"]),
        ("That makes 10*5 = 51 pens.", 50, ["10*5 = 52", "10*5 = 61"]),
    ],
)
def test_a_wrong_result_is_another_number_than_the_right_one(step, right, wrong):
    made = planted(step, "computational", 100)
    assert all(any(number in one for one in made) for number in wrong)
    for one in made:
        assert equations(one)[-1].operands == equations(step)[-1].operands
        assert equations(one)[-1].result != right


@pytest.mark.skipif(not (DATA / "gsm8k_socratic").is_dir(), reason=f"no data sets at {DATA}")
def test_errors_in_gsm8ks_steps_have_the_right_verdict_and_no_garbled_number():
    garbled = re.compile(r"\de\+|\d{4,},\d{3}|\d,\d{4}|\.\d+,\d{3}")
    with (DATA / "gsm8k_socratic" / "test.jsonl").open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    found = Counter[str]()
    for row in rows:
        for index, step in enumerate(row["solution"].splitlines()):
            reply, verdict = plant_in_step([("How many?", step)], 0, random.Random(index)) or ("", "")
            found[verdict] += 1
            assert reply != step
            assert not garbled.search(reply) or garbled.search(step), (step, reply)
            if verdict == "conceptual" and all(equation.holds for equation in equations(step)):
                assert all(equation.holds for equation in equations(reply)), (step, reply)
    assert min(found["computational"], found["conceptual"]) > 1_500


def test_hostile_steps_take_no_time():
    long = ("1 + 1 = 2 " * 5_000, "1 + 1 = 1 + 1 = " * 3_000, "1," * 25_000, "1,111" * 10_000, "=1" + " -" * 25_000)
    for text in (*long, "1" * 50_000, "= " * 25_000, "1 + " * 12_000, "1" * 9 + " " * 40_000 + "=", "1.1" * 20_000):
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
