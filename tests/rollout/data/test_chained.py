import itertools
import random

import pytest

from rollout.data.chained import generate, make_problem
from rollout.data.graph import Graph, imperfect_decomposition
from tests.rollout.data.solutions import check_solution

STEPS = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}


def first(split, count, seed=0):
    return list(itertools.islice(generate(seed, split, STEPS), count))


def test_problems_are_the_same_for_the_same_seed_and_differ_between_seeds():
    assert [p.question for p in first("train", 50)] == [p.question for p in first("train", 50)]
    assert {p.question for p in first("train", 50)}.isdisjoint(p.question for p in first("train", 50, seed=1))


def test_splits_share_no_question():
    train = {problem.question for problem in first("train", 4000)}
    assert train.isdisjoint(problem.question for problem in first("held_out", 800))
    assert len(train) == 4000


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_every_solution_line_is_right_and_ends_in_the_answer(steps):
    for index in range(200):
        check_solution(make_problem(0, index, steps), steps)


def test_gold_plans_are_right_and_fillers_are_not():
    for problem in first("held_out", 300):
        graph = Graph(problem)
        assert graph.check_decomposition(problem.subquestions)["right"]
        if problem.meta["steps"] > 1:
            filler = graph.filler_plan(random.Random(0))
            assert len(filler) == len(problem.subquestions)
            assert not graph.check_decomposition(filler)["solves"]


def test_a_plan_is_judged_by_order_repeats_and_need():
    problem = next(p for p in first("train", 500) if p.meta["steps"] == 3)
    graph = Graph(problem)
    one, two = problem.subquestions
    assert not graph.check_decomposition([one])["solves"]
    assert graph.check_decomposition([one, one, two]) == {
        "solves": True, "ordered": True, "repeats": True, "needless": False, "right": False,
    }  # fmt: skip
    given = graph.ask(sorted(graph.given)[0])
    assert graph.check_decomposition([given, one, two])["needless"]
    assert not graph.check_decomposition(["How are you?", one, two])["ordered"]


def test_imperfect_decompositions_are_never_empty_and_sometimes_gold():
    problems = [p for p in first("train", 600) if p.meta["steps"] > 1]
    plans = [imperfect_decomposition(p, random.Random(p.id), 0.3, 0.3, 0.3) for p in problems]
    assert all(plans)
    right = sum(Graph(p).check_decomposition(plan)["right"] for p, plan in zip(problems, plans, strict=True)) / len(
        plans
    )
    assert 0.2 < right < 0.6


def test_no_two_relations_of_a_problem_are_of_one_kind():
    for problem in itertools.islice(generate(0, "train", {3: 1, 4: 1}), 300):
        told = [(q.op, q.k if q.op == "times" else 0) for q in Graph(problem).quantities.values() if q.op != "given"]
        assert len(set(told)) == len(told)
