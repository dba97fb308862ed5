"""The program as verifier: exact on the embedded task, and silent about anything else."""

from __future__ import annotations

import itertools

import pytest

from rollout.data.chained import generate
from rollout.data.graph import Graph
from rollout.episode.verdict import read_verdict
from rollout.records import Turn
from rollout.solvers.program import answer
from rollout.solvers.program_verifier import judge
from tests.settings import prompts

PROBLEM = next(each for each in generate(3, "train", {3: 1.0}) if "together" not in each.question)
GRAPH = Graph(PROBLEM)
FIRST, SECOND = GRAPH.needed[:2]
TEXTS = prompts()


def verdict(question: str, reply: str, earlier: list[Turn] | None = None) -> list[str]:
    return read_verdict(judge(TEXTS.verify(PROBLEM, earlier or [], Turn(question, reply))))


def test_what_the_program_solves_in_order_has_no_mistake():
    for problem in itertools.islice(generate(5, "held_out", {2: 1.0, 3: 1.0, 4: 1.0}), 50):
        turns: list[Turn] = []
        for question in problem.subquestions:
            reply = answer(TEXTS.subquestion(problem, turns, question))
            assert read_verdict(judge(TEXTS.verify(problem, turns, Turn(question, reply)))) == ["no_mistake"]
            turns.append(Turn(question, reply))


def test_a_sub_question_that_comes_too_early_is_a_mistake_of_procedure():
    question = GRAPH.ask(SECOND)
    assert verdict(question, answer(TEXTS.subquestion(PROBLEM, [], question))) == ["procedural"]


def test_kinds_of_wrong_replies_are_told_apart():
    question, name = GRAPH.ask(FIRST), FIRST
    right, item = GRAPH.values[name], GRAPH.item
    operand = GRAPH.quantities[name].operands[0]
    left = GRAPH.values[operand]
    computation = GRAPH.line(name).split(".")[0]
    wrong_result = f"{computation.rsplit(' ', 1)[0]} {right + 1}. {name} owns {right + 1} {item}."
    assert verdict(question, GRAPH.line(name)) == ["no_mistake"]
    assert verdict(question, wrong_result) == ["computational"]
    assert verdict(question, f"{left} + 1000 = {left + 1000}. {name} owns {left + 1000} {item}.") == ["conceptual"]
    assert verdict(question, f"{operand} owns {left + 1}. {name} owns {right} {item}.") == ["first_step"]
    assert verdict(question, f"{computation}. {name} owns {right + 1} {item}.") == ["last_step"]
    assert verdict(question, "I cannot tell.") == ["first_step"]
    assert verdict("How many pens does Nobody have?", "3") == ["misunderstood"]
    other = next(each for each in GRAPH.quantities if each not in (name, operand))
    assert verdict(question, f"{other} owns 3 {item}.") == ["misunderstood"]


@pytest.mark.parametrize("text", ["", "What is 3 + 4?\nQ: Hm?\nA: 7\nVerdict:", "Amy owns 3 pens.", "\n" * 1000])
def test_of_anything_else_it_can_tell_nothing(text):
    assert read_verdict(judge(text)) == ["unreadable"]
