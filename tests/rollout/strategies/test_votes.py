"""Draws of the solver as votes: self-consistency, and the gate."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from conf.schema.strategy import UNGATED
from rollout.records import Attempt, Episode
from rollout.strategies import STRATEGIES, run_strategy
from rollout.strategies.self_consistency import MAX_DRAWS
from rollout.strategies.votes import agree, answer_key, majority
from tests.rollout.fakes import PLAN, PROBLEM, SOLVE, Planner, Scripted, by_question, run
from tests.settings import prompts

# -- draws -------------------------------------------------------------------------------------------------------


def test_self_consistency_takes_the_majority_of_draws_made_at_once():
    async def scenario() -> tuple[Episode, Scripted]:
        solver = Scripted(lambda prompt, sample: f"The answer is {(0, 5, 9, 9.0, 5, 9)[sample]}.", wait_for=5)
        drawn = prompts(name="self_consistency", samples=5)
        return await run_strategy("self_consistency", PROBLEM, Planner([]), solver, drawn), solver

    episode, solver = asyncio.run(scenario())
    assert sorted(solver.asked) == [(SOLVE.format(""), "solve", sample) for sample in range(1, 6)]
    assert [draw.answer for draw in episode.draws] == ["5", "9", "9.0", "5", "9"]
    assert episode.final == episode.draws[1]
    assert episode.solver_tokens == 5 * 4


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [
        (["7", "8"], 0),
        (["7", "8", "8", "7"], 0),
        (["1,000", "8", "$1000.00"], 0),
        ([None, None, "8", None], 2),
        ([None, None], 0),
        (["8", "7", "7"], 1),
    ],
)
def test_the_majority_is_of_equal_answers_and_ties_go_to_the_earliest(answers, chosen):
    draws = [Attempt(f"text {index}", answer) for index, answer in enumerate(answers)]
    assert majority(draws, "number") == draws[chosen]


@pytest.mark.parametrize(
    ("answer", "answer_type", "key"),
    [
        ("$1,000.00", "number", Decimal(1000)),
        ("12 apples", "number", Decimal(12)),
        ("1/2", "expression", Decimal("0.5")),
        ("x + 2", "expression", "x + 2"),
        ("12 Apples", "text", "12 apples"),
        (" YES ", "boolean", "yes"),
        ("5 or 7", "number", "5 or 7"),
        ("", "number", None),
        (None, "number", None),
    ],
)
def test_answers_are_compared_as_numbers_where_they_are_numbers(answer, answer_type, key):
    assert answer_key(answer, answer_type) == key


def test_draws_without_an_answer_do_not_agree():
    assert agree([Attempt("", "9"), Attempt("", "9.0")], "number")
    assert not agree([Attempt("", "9"), Attempt("", None)], "number")
    assert not agree([Attempt("", None), Attempt("", None)], "number")


@pytest.mark.parametrize(("budget", "draws"), [(1, 1), (4, 1), (7, 1), (8, 2), (11, 2), (12, 3), (40, 10)])
def test_a_token_budget_buys_as_many_draws_as_fit(budget, draws):
    settings = {"name": "self_consistency", "token_budget": budget}
    episode, solver = run("self_consistency", lambda prompt, sample: "The answer is 9.", settings=settings)
    assert [sample for _, _, sample in solver.asked] == list(range(1, draws + 1))
    assert episode.solver_tokens == 4 * draws
    assert episode.solver_tokens <= budget or draws == 1


def test_a_budget_that_nothing_uses_up_ends():
    episode, _ = run(
        "self_consistency", lambda prompt, sample: "", settings={"name": "self_consistency", "token_budget": 50}
    )
    assert len(episode.draws) == MAX_DRAWS
    assert episode.final.text == ""


# -- the gate ----------------------------------------------------------------------------------------------------

GATED = [name for name in STRATEGIES if name not in UNGATED]
DISAGREE = {"gate": "disagree", "gate_samples": 3}


@pytest.mark.parametrize("name", GATED)
def test_agreement_closes_the_gate_right_or_wrong(name):
    planner = Planner(PLAN)
    solver = lambda prompt, sample: f"{'So, ' * sample}the answer is 5."  # noqa: E731
    episode, fake = run(name, solver, settings=DISAGREE, decomposer=planner)
    assert sorted(fake.asked) == [(SOLVE.format(""), "solve", sample) for sample in (1, 2, 3)]
    assert planner.attempts == []
    assert episode.gate == "closed"
    assert episode.strategy == name
    assert episode.final.answer == episode.initial.answer == "5", "the gold answer is 9: the gate does not look at it"
    assert episode.final.text == "So, the answer is 5."
    assert not episode.calls
    assert episode.policy_tokens == 0


@pytest.mark.parametrize("name", GATED)
def test_disagreement_opens_it_and_the_strategy_goes_on(name):
    def reply(prompt: str, sample: int) -> str:
        return f"The answer is {sample}." if sample else by_question(f"\nQ: {prompt}", 0)

    episode, fake = run(name, reply, settings=DISAGREE)
    plain, without = run(name, reply)
    assert sorted(fake.asked[:3]) == [(SOLVE.format(""), "solve", sample) for sample in (1, 2, 3)]
    assert fake.asked[3:] == without.asked
    assert episode.gate == "open"
    assert plain.gate is None
    assert episode.final == plain.final
    assert [draw.answer for draw in episode.draws] == ["1", "2", "3"]
    assert episode.solver_tokens == plain.solver_tokens + 3 * 4
