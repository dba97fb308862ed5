"""The reward of several policy calls, at the tokens at which it is paid, worked by hand."""

from __future__ import annotations

import pytest

from rewards.reward import Reward
from rollout.records import Decomposition, Episode, PolicyCall, Problem, Turn
from trainer.algorithm.credit import call_rewards
from trainer.algorithm.experience import make_experience


def spoken(lengths: list[int], ends: list[list[int]], **fields) -> Episode:
    calls = [
        PolicyCall("next", [100 + index], [0] * length, [-0.1] * length, [0] * length, subquestion_ends=ended)
        for index, (length, ended) in enumerate(zip(lengths, ends, strict=True))
    ]
    return Episode(Problem("p", "q?", "1"), "lm2", calls=calls, **fields)


def reward(total: float, by_subquestion: list[float], by_call: list[float]) -> Reward:
    return Reward({}, total, {}, by_subquestion, 1.0, 0.0, by_call=by_call)


def paid(episode: Episode, given: Reward, credit: str) -> list[list[float]]:
    found = call_rewards(episode, given, credit)
    assert sum(map(sum, found)) == pytest.approx(given.total), "the same total, however it is paid"
    return [[round(value, 6) for value in call] for call in found]


# Concepts, two sub-questions in calls of their own, and a last call that writes none.
EPISODE = spoken([2, 3, 2, 1], [[], [1], [1], []])
REWARD = reward(1.0, [0.1, 0.25], [0.0, 0.5, -0.2, 0.3])


def test_terminal_credit_is_paid_at_the_last_token_of_the_last_call():
    assert paid(EPISODE, REWARD, "terminal") == [[0, 0], [0, 0, 0], [0, 0], [1.0]]


def test_a_subquestions_share_is_paid_where_it_ends_in_its_call():
    assert paid(EPISODE, REWARD, "subquestion") == [[0, 0], [0, 0.1, 0], [0, 0.25], [0.65]]


def test_a_turn_reward_is_paid_at_its_calls_last_token_and_the_rest_at_the_end():
    assert paid(EPISODE, REWARD, "call") == [[0, 0], [0, 0, 0.5], [0, -0.2], [0.7]]
    assert paid(EPISODE, reward(1.0, [0.1], []), "call") == [[0, 0], [0, 0, 0], [0, 0], [1.0]]


def test_a_refused_subquestion_has_no_share():
    turns, refused = [Turn("a?", "1", call=1), Turn("c?", "3", call=3)], [Turn("b?", "2", call=2)]
    episode = spoken([2, 3, 2, 1], [[], [1], [1], [0]], turns=turns, refused=refused)
    assert paid(episode, REWARD, "subquestion") == [[0, 0], [0, 0.1, 0], [0, 0], [0.9]]
    # Nothing was answered yet.
    episode = spoken([2, 3, 2, 1], [[], [1], [1], [0]], refused=[Turn("a?", "1", call=1)])
    assert paid(episode, REWARD, "subquestion") == [[0, 0], [0, 0, 0], [0, 0.1], [0.9]]


def test_several_subquestions_of_one_call_are_paid_where_each_ends():
    turns = [Turn("a?", "1", call=0), Turn("b?", "2", call=0)]
    episode = spoken([6, 2], [[1, 9], []], turns=turns, decomposition=Decomposition("a?b?", ["a?", "b?"]))
    assert paid(episode, REWARD, "subquestion") == [[0, 0.1, 0, 0, 0, 0.25], [0, 0.65]]


@pytest.mark.parametrize("credit", ["terminal", "subquestion", "call"])
def test_a_call_without_tokens_is_paid_nothing_and_makes_no_row(credit):
    episode = spoken([2, 0, 1, 0], [[1], [], [0], []])
    assert [len(call) for call in paid(episode, REWARD, credit)] == [2, 0, 1, 0]
    experience = make_experience(episode, REWARD, credit)
    assert [row.pair for row in experience.rows] == [([100], [0, 0]), ([102], [0])]
    assert sum(value for row in experience.rows for value in row.rewards) == pytest.approx(1.0)


def test_turn_rewards_that_are_not_one_a_call_are_refused():
    with pytest.raises(ValueError, match="problem p has 4 policy calls and 2 turn rewards"):
        call_rewards(EPISODE, reward(1.0, [], [0.5, 0.5]), "call")
    assert paid(EPISODE, reward(1.0, [], [0.5, 0.5]), "terminal")
