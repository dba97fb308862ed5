"""The rule-based solver: exactly one step, by the text alone."""

from __future__ import annotations

import ast
import asyncio
import itertools
import random
from pathlib import Path

import pytest

from conf.schema.solver import ProgramSolver as ProgramGroup
from launch.tiny_models.texts import PROMPTS, random_turns
from rollout.answers import extract
from rollout.data import branched, chained
from rollout.data.graph import Graph
from rollout.data.worked import SolverView
from rollout.records import Episode, Problem, Turn
from rollout.run_episode import GivenDecomposition
from rollout.solvers import program
from rollout.strategies import run_strategy

EVERY = [
    *itertools.islice(chained.generate(11, "held_out", {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}), 500),
    *itertools.islice(branched.generate(11, "held_out", {2: 1.0, 4: 1.0, 5: 1.0, 6: 1.0}), 200),
]
SOLVER = program.ProgramSolver(ProgramGroup(backend="program"))


def run(problem: Problem, plan: list[str] | None) -> Episode:
    name = "direct" if plan is None else "daslam"
    return asyncio.run(run_strategy(name, problem, GivenDecomposition(plan or []), SOLVER, PROMPTS))


def right(episode: Episode) -> bool:
    return extract.score(episode.problem, extract.extract(episode.final.text, "number").answer) == 1


def test_with_gold_subquestions_it_solves_every_problem():
    assert {problem.meta["steps"] for problem in EVERY} == {1, 2, 3, 4, 5, 6}
    assert all(right(run(problem, problem.subquestions)) for problem in EVERY)


def test_alone_it_solves_what_is_one_step_and_nothing_else():
    for problem in EVERY:
        assert right(run(problem, None)) == (problem.meta["steps"] == 1)


def test_filler_subquestions_do_not_help_it():
    longer = [problem for problem in EVERY if problem.meta["steps"] > 1]
    rng = random.Random(0)
    assert not any(right(run(problem, Graph(problem).filler_plan(rng))) for problem in longer)


def test_whatever_is_asked_it_answers_as_one_who_knows_the_graph():
    for problem in EVERY:
        graph = Graph(problem)
        view = SolverView(graph)
        turns: list[Turn] = []
        for name in random_turns(problem, graph, random.Random(problem.id)):
            question = graph.ask(name)
            reply = program.answer(PROMPTS.subquestion(problem, turns, question))
            assert reply == view.answer(name)
            turns.append(Turn(question, reply))
        assert program.answer(PROMPTS.solve(problem, turns)) == view.solve()


def test_a_question_states_nothing():
    problem = next(problem for problem in EVERY if problem.meta["steps"] == 2)
    missing = problem.meta["needed"][0]
    item = problem.meta["item"]
    for smuggled in (f"{missing} owns 7 {item}.", f"Is it so that {missing} owns 7 {item}?"):
        prompt = PROMPTS.solve(problem, [Turn(smuggled, program.CANNOT_TELL)])
        assert program.answer(prompt).endswith(f"{missing} is unknown. I cannot tell.")


@pytest.mark.parametrize(
    ("question", "reply"),
    [
        ("What is 3 * (4 + 5)?", "3 * (4 + 5) = 27."),
        ("Q: What is 3 * (4 + 5)?\nA:", "3 * (4 + 5) = 27."),
        ("Q: Solve step by step: What is 7 / 2 - 10?\nA:", "7 / 2 - 10 = -6.5."),
        ("What is 1 / 3 + 1 / 3?", "1 / 3 + 1 / 3 = 2/3."),
        ("What is 0.1 + 0.2?", "0.1 + 0.2 = 0.3."),
        ("What is 5 / (3 - 3)?", "I cannot tell."),
        ("What is 2,000 + 5?", "2000 + 5 = 2005."),
        ("What is -3 + 5?", "-3 + 5 = 2."),
        ("What is -5 * -2?", "-5 * -2 = 10."),
        ("What is 2^3 + 1?", "I cannot tell."),
        ("What is 1e3 + 2?", "I cannot tell."),
        ("What is 10% + 5?", "I cannot tell."),
        ("What is 3 * 4 + 50%?", "I cannot tell."),
        ("What is 1 + 2 * 3^2?", "I cannot tell."),
        ("What is 10 - 4:", "10 - 4 = 6."),
        ("Calculate:5+3", "5+3 = 8."),
        ("What is 9 ** 9 ** 9 ** 9?", "I cannot tell."),
        ("What is ((((3 + 4)?", "I cannot tell."),
        ("What is __import__('os').getpid()?", "I cannot tell."),
        ("Who are you?", "I cannot tell."),
        ("", "I cannot tell."),
    ],
)
def test_plain_arithmetic(question, reply):
    assert program.answer(question) == reply


def test_no_expression_takes_long_or_raises():
    rng = random.Random(0)
    for _ in range(2000):
        text = "".join(rng.choices("0123456789+-*/(). ", k=rng.randint(1, 400)))
        assert program.answer(f"What is {text}?")
        program.arithmetic(text)
    assert program.arithmetic("(" * 100 + "1+1" + ")" * 96) is None


def test_it_reads_text_alone():
    tree = ast.parse(Path(program.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name and name.startswith(("rollout.data", "rollout.records", "trainer"))}
