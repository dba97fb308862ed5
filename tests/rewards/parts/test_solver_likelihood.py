"""The gain in the gold answer's log-probability: its arithmetic, its shares, and its place in the total."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.parts import solver_likelihood
from rewards.parts.solver_likelihood import gains
from rewards.reward import Part
from rewards.total import score_episode
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn

SETTINGS = Rewards.for_mode("solver_likelihood")
RESOURCES = TextResources()
ASKED = ["How many has Ann?", "How many has Bob?", "How many has Cid?"]


def episode(values: list[float], asked: list[str], answered: list[str] | None = None, final: str = "5") -> Episode:
    turns = [Turn(question, "3") for question in (asked if answered is None else answered)]
    return Episode(
        Problem("p", "How many in all?", "9"), "daslam", decomposition=Decomposition("", asked), turns=turns,
        final=Attempt(final), gold_logprobs=values,
    )  # fmt: skip


def part(values: list[float], asked: list[str], answered: list[str] | None = None, **changes: object) -> Part:
    return solver_likelihood.score(episode(values, asked, answered), RESOURCES, SETTINGS.model_copy(update=changes))


def test_each_sub_question_earns_what_its_turn_adds():
    found = part([-8.0, -5.5, -6.0, -0.25], ASKED)
    assert found.value == pytest.approx(7.75)
    assert found.by_subquestion == pytest.approx([2.5, -0.5, 5.75])


def test_nothing_below_the_floor_is_told_apart():
    assert gains([-50.0, -30.0, -4.0, -12.0], -10.0) == [0.0, 6.0, -6.0]
    assert part([-50.0, -30.0, -4.0], ASKED[:2], likelihood_floor=-40.0).by_subquestion == [10.0, 26.0]


@given(st.lists(st.floats(-60.0, 0.0), min_size=1, max_size=9), st.floats(-40.0, -0.5))
def test_gains_add_up_to_the_last_value_less_the_first(values, floor):
    slow, before = [], None
    for value in values:
        potential = value if value > floor else floor
        if before is not None:
            slow.append(potential - before)
        before = potential
    found = gains(values, floor)
    assert found == pytest.approx(slow)
    assert sum(found) == pytest.approx(max(values[-1], floor) - max(values[0], floor), abs=1e-9)
    assert abs(sum(found)) <= -floor + 1e-9


def test_where_nothing_was_measured_the_part_is_absent_and_not_0():
    assert part([], ASKED) == Part(None, None)
    reward = score_episode(episode([], ASKED, final="9"), RESOURCES, SETTINGS)
    assert reward.parts["solver_likelihood"] is None
    assert reward.total == 1.0


def test_a_sub_question_that_was_not_answered_or_not_measured_earns_nothing():
    assert part([-8.0, -5.0], ASKED, ASKED[:1]).by_subquestion == [3.0, 0.0, 0.0]
    # The prompt with the third turn was too long.
    assert part([-8.0, -5.0, -4.0], ASKED).by_subquestion == [3.0, 1.0, 0.0]
    # The second failed, those beside it were answered at the same time.
    assert part([-8.0, -5.0, -4.0], ASKED, [ASKED[0], ASKED[2]]).by_subquestion == [3.0, 0.0, 1.0]


def test_a_sub_question_that_is_asked_twice_earns_what_each_turn_adds():
    asked = [ASKED[0], ASKED[1], ASKED[0]]
    assert part([-8.0, -5.0, -4.0, -4.5], asked).by_subquestion == [3.0, 1.0, -0.5]


def test_a_record_with_more_values_than_turns_can_have_is_an_error():
    with pytest.raises(ValueError, match="4 gold_logprobs for 2 turns"):
        part([-8.0, -5.0, -4.0, -1.0], ASKED[:2])


def test_the_total_is_correctness_and_the_weighted_gain():
    reward = score_episode(episode([-8.0, -5.0, -2.0], ASKED[:2], final="9"), RESOURCES, SETTINGS)
    assert reward.total == pytest.approx(1.0 + 0.025 * 6.0)
    assert reward.by_subquestion == pytest.approx([0.075, 0.075])
    assert reward.shares["solver_likelihood"] == pytest.approx([3.0, 3.0])


def test_gains_that_cancel_out_are_still_paid_where_they_were_made():
    reward = score_episode(episode([-8.0, -2.0, -8.0], ASKED[:2]), RESOURCES, SETTINGS)
    assert reward.parts["solver_likelihood"] == reward.total == 0.0
    assert reward.by_subquestion == pytest.approx([0.15, -0.15])


def test_a_clip_shrinks_the_shares_with_the_gain():
    clipped = SETTINGS.model_copy(update={"clip": {"solver_likelihood": (-1.0, 3.0)}})
    reward = score_episode(episode([-8.0, -6.0, -2.0], ASKED[:2]), RESOURCES, clipped)
    assert reward.by_subquestion == pytest.approx([0.025, 0.05])
    assert reward.total == pytest.approx(0.075)


LOGPROBS = st.lists(st.floats(-80.0, 0.0), min_size=3, max_size=3)


@settings(deadline=None, max_examples=40)  # the first loads the tagger
@given(LOGPROBS, LOGPROBS)
def test_a_wrong_answer_never_earns_more_than_a_right_one(wrong, right):
    low = score_episode(episode(right, ASKED[:2], final="9"), RESOURCES, SETTINGS).total
    high = score_episode(episode(wrong, ASKED[:2], final="5"), RESOURCES, SETTINGS).total
    assert high <= low + 1e-9


def test_an_answer_that_was_given_away_earns_no_more_than_a_wrong_one():
    given_away = episode([-30.0, 0.0], ["If there are 9 in all, how many are there?"], final="9")
    reward = score_episode(given_away, RESOURCES, SETTINGS)
    assert reward.penalties["given"] == 1.0
    assert reward.total == pytest.approx(0.5)


def test_other_rewards_do_not_look_at_what_was_measured():
    for mode in ("outcome", "bounded"):
        chosen = Rewards.for_mode(mode)
        one, other = (score_episode(episode(v, ASKED), RESOURCES, chosen) for v in ([], [-8.0, -5.0, -2.0, -1.0]))
        assert one == other
        assert "solver_likelihood" not in one.parts
