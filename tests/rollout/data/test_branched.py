"""Branched quantities: what the problems are like, and how far asking for everything comes on them."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from functools import cache

import pytest

from launch.compose import compose
from launch.tiny_models.texts import in_turn
from rollout.data.branched import PEOPLE, RELATIONS, generate, make_problem
from rollout.data.graph import SIGNS, Graph, imperfect_decomposition
from rollout.data.look_ups import LookUps, restated_by_look_ups, words
from rollout.data.source import make_source
from rollout.records import Problem
from tests.rollout.data.solutions import check_solution

CONFIG = compose(["data=branched", "strategy.max_subquestions=6"])
ASKED = CONFIG.strategy.max_subquestions
HELD_OUT = make_source(CONFIG.data).held_out(450)
GRAPHS = [Graph(problem) for problem in HELD_OUT]


def test_problems_are_the_same_for_the_same_seed_and_differ_between_seeds():
    first, again, other = (
        [problem.question for problem in itertools.islice(generate(seed, "train", {3: 1.0, 5: 1.0}), 40)]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert set(first).isdisjoint(other)


def test_splits_share_no_question():
    train = {problem.question for problem in itertools.islice(generate(0, "train", {2: 1.0, 6: 1.0}), 1000)}
    assert len(train) == 1000
    assert train.isdisjoint(problem.question for problem in HELD_OUT)


def test_the_first_held_out_problems_are_like_the_whole():
    """In every ninth of them, as in all, half as many of two steps as of three, four, five and six."""
    for start in range(0, 450, 9):
        steps = Counter(problem.meta["steps"] for problem in HELD_OUT[start : start + 9])
        assert steps == {2: 1, 3: 2, 4: 2, 5: 2, 6: 2}


@pytest.mark.parametrize("steps", [2, 3, 4, 5, 6, 9, 12])
def test_every_solution_line_is_right_and_ends_in_the_answer(steps):
    for index in range(100):
        check_solution(make_problem(0, index, steps), steps)


def test_every_quantity_is_another_number_of_two_digits_and_no_computation_begins_like_another():
    for graph in GRAPHS:
        values = list(graph.values.values())
        assert len(set(values)) == len(values)
        assert all(10 <= value <= 99 for value in values)
        begun = [(graph.quantities[name].operands[0], SIGNS[graph.quantities[name].op]) for name in graph.derivable]
        assert len(set(begun)) == len(begun)


def test_several_chains_lead_nowhere_from_needed_and_given_quantities():
    begun: Counter[str] = Counter()
    for graph in GRAPHS:
        assert PEOPLE[0] <= len(graph.quantities) <= PEOPLE[1]
        assert RELATIONS[0] <= len(graph.derivable) <= RELATIONS[1]
        assert len(graph.derivable) > ASKED
        useless = [name for name in graph.derivable if name not in graph.needed]
        firsts = [name for name in useless if not set(graph.quantities[name].operands).intersection(useless)]
        assert len(firsts) > 1
        for name in firsts:
            begun["given" if set(graph.quantities[name].operands) <= graph.given else "needed"] += 1
    assert min(begun.values()) > 0.25 * begun.total()


def test_gold_decompositions_fit_and_are_right_and_fillers_solve_nothing():
    for problem, graph in zip(HELD_OUT, GRAPHS, strict=True):
        assert len(problem.subquestions) < ASKED
        assert graph.check_decomposition(problem.subquestions)["right"]
        filler = graph.filler_plan(random.Random(0))
        assert len(filler) == len(problem.subquestions)
        assert not graph.check_decomposition(filler)["solves"]


def test_imperfect_decompositions_are_never_empty_and_sometimes_gold():
    plans = [imperfect_decomposition(problem, random.Random(problem.id), 0.3, 0.1, 0.1) for problem in HELD_OUT]
    assert all(plans)
    right = [graph.check_decomposition(plan)["right"] for graph, plan in zip(GRAPHS, plans, strict=True)]
    assert 0.2 < sum(right) / len(right) < 0.6


# -- asking for everything ----------------------------------------------------------------------------------------


def solved_by_any_order(graph: Graph, asked: int) -> float:
    """Return the share of all orders in which everything can be worked out whose first ``asked`` questions bring the
    target one step away: such orders are counted by the sets that they begin with."""
    names = graph.derivable
    bit = {name: 1 << place for place, name in enumerate(names)}
    before = {bit[name]: sum(bit.get(operand, 0) for operand in graph.quantities[name].operands) for name in names}
    needed = sum(bit[name] for name in graph.needed[:-1])
    everything = (1 << len(names)) - 1

    def next_sets(done: int) -> list[int]:
        return [done | one for one, first in before.items() if not done & one and done & first == first]

    @cache
    def endings(done: int) -> int:
        return 1 if done == everything else sum(map(endings, next_sets(done)))

    beginnings = Counter({0: 1})
    for _ in range(min(asked, len(names))):
        longer: Counter[int] = Counter()
        for done, ways in beginnings.items():
            for following in next_sets(done):
                longer[following] += ways
        beginnings = longer
    solving = sum(ways * endings(done) for done, ways in beginnings.items() if done & needed == needed)
    return solving / endings(0)


def in_text_order(graph: Graph, question: str) -> list[str]:
    """Return everything that can be worked out, each time the first in the text of what can be worked out now."""
    told = sorted(graph.derivable, key=lambda name: question.index(graph.quantities[name].clause))
    known, names = set(graph.given), list[str]()
    while len(names) < len(told):
        names.append(next(name for name in told if name not in known and graph.in_view(name, known)))
        known.add(names[-1])
    return names


def solves(graph: Graph, names: list[str]) -> bool:
    return graph.check_decomposition([graph.ask(name) for name in names][:ASKED])["solves"]


def test_orders_are_counted_as_by_hand():
    """A chain of six and one of four can be interleaved in 210 ways. In the first six questions there are the first
    five of the chain of six and one other in 6 x 4 ways, or all six of it in one way."""
    names = iter("abcdefghij")
    quantities, last = [["start", 10, "given", 0, [], ""]], "start"
    for name in names:
        quantities.append([name, 10, "more", 2, ["start" if name == "g" else last], ""])
        last = name
    meta = {"item": "pens", "target": "f", "needed": list("abcdef"), "quantities": quantities}
    assert solved_by_any_order(Graph(Problem("p", "?", "1", meta=meta)), 6) == 25 / 210


def test_asking_for_everything_solves_at_most_half_of_what_gold_decompositions_solve():
    by_chance = [solved_by_any_order(graph, ASKED) for graph in GRAPHS]
    assert sum(by_chance) / len(GRAPHS) < 0.5
    asked = [in_text_order(graph, problem.question) for graph, problem in zip(GRAPHS, HELD_OUT, strict=True)]
    by_text = [solves(graph, names) for graph, names in zip(GRAPHS, asked, strict=True)]
    assert sum(by_text) / len(GRAPHS) < 0.5
    # The order that the base is taught: what follows from the last one comes next.
    by_chain = [solves(graph, in_turn(graph, random.Random(0))) for graph in GRAPHS]
    assert sum(by_chain) / len(GRAPHS) < 0.5
    assert all(solves(graph, graph.needed[:-1]) for graph in GRAPHS)


# -- look-ups -----------------------------------------------------------------------------------------------------


def test_what_follows_is_told_by_the_longest_ending_that_occurs():
    look_ups = LookUps(words("Tom leads Amy by 2. Amy leads Eva by 2. Eva likes Tom."))
    assert look_ups.after(words("Amy")) == {"by", "leads"}
    assert look_ups.after(words("leads Amy")) == {"by"}
    assert look_ups.after(words("Well, Amy")) == {"by", "leads"}
    assert look_ups.after(words("Zoe")) == set()


@pytest.mark.parametrize(
    ("told", "possible"),
    [
        ("Tom leads Amy by 2. Eva leads Zoe by 9.", True),
        ("Tom leads Amy by 2. Eva leads Amy by 9.", False),  # by what does somebody lead Amy?
        ("Tom leads Amy by 2. Tom trails Zoe by 3.", False),
        ("Tom leads Amy by 2. Eva trails Amy by 9.", True),
    ],
)
def test_a_clause_can_be_restated_if_there_is_never_a_choice(told, possible):
    clauses = [words(clause) for clause in told.rstrip(".").split(". ")]
    assert restated_by_look_ups(words(told), clauses, {"leads", "trails"}) == possible
