"""The five parts on numbers worked out by hand, their edge cases, and the known ways to game them."""

from __future__ import annotations

import math

import pytest

from conf.schema.rewards import PARTS, Rewards
from rewards.actor import score_or_error
from rewards.nouns_and_vectors import TextResources
from rewards.parts.answer_consistency import answer_consistency
from rewards.parts.arithmetic_in_text import operations
from rewards.parts.cot_proximity import cot_proximity
from rewards.parts.entity_coverage import entity_coverage
from rewards.parts.operation_order import authors_operators, operation_order
from rewards.total import score_episode
from rollout.answers import extract
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn

QUESTION = "Tom has 3 pens. Ann has twice as many pens as Tom. Bob has 4 more pens than Ann. How many pens has Bob?"
SOLUTION = "3 * 2 = 6 pens for Ann.\n6 + 4 = 10 pens for Bob."


@pytest.fixture(scope="module")
def resources() -> TextResources:
    return TextResources()


def episode(subquestions: list[str], replies: list[str], final: str, solution: str | None = SOLUTION) -> Episode:
    return Episode(
        Problem("p", QUESTION, "10", solution=solution),
        "daslam",
        Attempt("I cannot tell."),
        Decomposition("\n".join(subquestions), subquestions),
        [Turn(question, reply) for question, reply in zip(subquestions, replies, strict=True)],
        Attempt(final),
    )


GOOD = (["How many pens has Ann?"], ["Ann has 3 * 2 = 6 pens."], "3 * 2 = 6 pens for Ann.\n6 + 4 = 10 pens for Bob.")


@pytest.mark.parametrize(("mode", "value"), [("paper", 3 / 4), ("authors_code", 1 - 3 / 4), ("bounded", 2 / 4)])
def test_entity_coverage(mode, value):
    assert entity_coverage(frozenset("abcd"), frozenset("abx"), mode) == pytest.approx(value)
    assert entity_coverage(frozenset(), frozenset("x"), mode) == 1.0


@pytest.mark.parametrize(("mode", "values"), [("paper", [1.5, -0.5]), ("authors_code", [0.125, -0.125])])
def test_answer_consistency(mode, values):
    assert answer_consistency([True, False], [0.5, -0.5], mode) == pytest.approx(values)


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_saved_episodes_blank_solution_is_none(resources, blank):
    record = episode(*GOOD).to_json()
    record["problem"]["solution"] = blank
    reward = score_episode(Episode.from_json(record), resources, Rewards.for_mode("bounded"))
    assert (reward.parts["operation_order"], reward.parts["cot_proximity"]) == (None, None)


@pytest.mark.parametrize(("mode", "value"), [("paper", 1 / 3), ("authors_code", 0.0), ("bounded", 2 / 3)])
def test_operation_order(mode, value):
    assert operation_order(["add", "multiply", "add"], ["add", "add"], mode) == pytest.approx(value)
    assert operation_order([], [], mode) == 1.0
    assert operation_order(["add"], [], mode) == operation_order([], ["add"], mode) == 0.0


@pytest.mark.parametrize(
    ("mode", "value"), [("paper", 0.9 - 1 - 0.4), ("authors_code", 0.25 - 1 - 0.2), ("bounded", (0.4 - 0.1) / 2)]
)
def test_cot_proximity(mode, value):
    assert cot_proximity([0.9, 0.3], [0.5, 0.4], mode) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("20 + 3 = 23, times 4 is 92", ["add", "multiply"]),
        (r"\frac{1}{2} \times \sqrt{4}", ["divide", "multiply", "root"]),
        ("a two-step plan using 3-4 pens", ["subtract"]),
        ("using well-known sine-like methods, many times", []),
    ],
)
def test_operations_are_read_without_false_hits(text, found):
    assert operations(text) == found


def test_the_authors_operators_are_strings_in_a_fixed_order():
    assert authors_operators("using 2 - 1 + 1") == ["+", "-", "sin"]


def test_a_good_episode_scores_higher_in_every_part(resources):
    good = score_episode(episode(*GOOD), resources, Rewards.for_mode("bounded"))
    bad = score_episode(
        episode(["What is the weather?"], ["I cannot tell."], "I cannot tell."),
        resources,
        Rewards.for_mode("bounded"),
    )
    assert set(good.parts) == set(PARTS)
    assert all(good.parts[name] > bad.parts[name] for name in PARTS)
    assert good.correct == 1.0
    assert good.parts["correctness"] == good.parts["operation_order"] == 1.0


def test_proximity_is_the_gain_over_the_initial_attempt(resources):
    half = episode(*GOOD)
    half.initial = Attempt(SOLUTION.splitlines()[0])
    reward = score_episode(half, resources, Rewards.for_mode("bounded"))
    assert reward.parts["cot_proximity"] == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("mode", ["paper", "authors_code", "bounded", "outcome"])
def test_without_a_gold_solution_two_parts_are_absent_and_not_zero(mode, resources):
    settings = Rewards.for_mode(mode)
    reward = score_episode(episode(*GOOD, solution=None), resources, settings)
    assert reward.parts["operation_order"] is None
    assert reward.parts["cot_proximity"] is None
    present = [settings.weights[k] * v for k, v in reward.parts.items() if v is not None]
    if mode in ("paper", "authors_code", "outcome"):
        assert reward.total == pytest.approx(sum(present))


def test_a_wrong_answer_never_outscores_a_right_one(resources):
    settings = Rewards.for_mode("bounded")
    shaped = sum(settings.weights[name] for name in PARTS if name != "correctness")
    worst_right = settings.weights["correctness"] - settings.weights["cot_proximity"]
    assert shaped < worst_right


def test_a_hundred_copies_gain_nothing(resources):
    settings = Rewards.for_mode("bounded")
    subquestions, replies, final = GOOD
    once = score_episode(episode(subquestions, replies, final), resources, settings)
    often = score_episode(episode(subquestions * 100, replies * 100, final), resources, settings)
    assert all(often.parts[name] <= once.parts[name] + 1e-9 for name in PARTS)
    assert sum(often.by_subquestion) <= sum(once.by_subquestion) + 1e-9


def test_repeating_the_question_is_charged_under_its_own_key(resources):
    settings = Rewards.for_mode("bounded")
    copied = score_episode(episode([QUESTION], ["Bob has 10 pens."], "10"), resources, settings)
    assert copied.penalties == {"copy": 0.3}
    asked = score_episode(episode(*GOOD), resources, settings)
    assert asked.penalties == {}


def test_asking_again_is_charged_once_however_often(resources):
    settings = Rewards.for_mode("bounded")
    subquestions, replies, final = GOOD
    for times in (2, 5):
        again = score_episode(episode(subquestions * times, replies * times, final), resources, settings)
        assert again.penalties == {"repeat": 0.5}


def test_an_echo_does_not_win_consistency(resources):
    settings = Rewards.for_mode("bounded")
    question = GOOD[0][0]
    echo = score_episode(episode([question], [question], GOOD[2]), resources, settings)
    answer = score_episode(episode(*GOOD), resources, settings)
    assert echo.parts["answer_consistency"] <= 0.5 < answer.parts["answer_consistency"]


def test_shares_of_subquestions_add_up_to_their_parts(resources):
    settings = Rewards.for_mode("bounded")
    subquestions = ["How many pens has Tom?", "How many pens has Ann?", "How many pens has Ann?"]
    replies = ["Tom has 3 pens.", "Ann has 6 pens.", "Ann has 6 pens."]
    reward = score_episode(episode(subquestions, replies, GOOD[2]), resources, settings)
    shared = 0.15 * (reward.parts["entity_coverage"] + reward.parts["answer_consistency"])
    assert sum(reward.by_subquestion) == pytest.approx(shared - reward.penalties["repeat"])
    assert reward.by_subquestion[2] == -reward.penalties["repeat"]


def test_no_subquestions_give_no_consistency(resources):
    reward = score_episode(episode([], [], "10"), resources, Rewards.for_mode("bounded"))
    assert reward.parts["answer_consistency"] == 0.0
    assert reward.by_subquestion == []


def test_gain_pays_for_rescues_and_charges_for_breaking(resources):
    from rewards.parts import correctness

    rescued = episode(*GOOD)
    rescued.final.answer = "10"
    broken = episode(*GOOD)
    broken.initial, broken.final.answer = Attempt("10", "10"), "9"
    gain = Rewards.for_mode("bounded").model_copy(update={"correctness_baseline": "gain"})
    assert correctness.score(rescued, resources, gain).value == 1.0
    assert correctness.score(broken, resources, gain).value == -1.0


def test_what_cannot_be_scored_is_an_error_and_not_a_reward(resources):
    bad = Episode(Problem("p", QUESTION, "10", answer_type="sonnet"), "daslam", final=Attempt("10"))
    reward = score_or_error(bad, resources, Rewards.for_mode("bounded"))
    assert math.isnan(reward.total)
    assert "unknown answer type 'sonnet'" in (reward.error or "")


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        ("6 + 4 = 10\n#### 10", "10", "hashes"),
        (r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}", "boxed"),
        ("[[Answer: 7]] or so 8", "7", "brackets"),
        ("The answer is 1,000.00 pens. That is 3 more.", "1,000.00", "answer_is"),
        ("First 3, then 12.", "12", "last"),
        ("Bob has 4 more than Ann. I cannot tell.", None, "refused"),
        ("no numbers", None, "none"),
    ],
)
def test_answers_are_found_by_the_first_rule_that_fires(text, answer, rule):
    found = extract.extract(text)
    assert (found.answer, found.rule) == (answer, rule)


@pytest.mark.parametrize(
    ("kind", "gold", "given", "mark"),
    [
        ("number", "1000", "$1,000.00", 1.0),
        ("number", "12", "12 pens", 1.0),
        ("number", "5", "5 or 7", 0.0),
        ("number", "5", "5.1", 0.0),
        ("expression", r"\frac{1}{2}", "0.5", 1.0),
        ("expression", "x+1", "x+2", 0.0),
        ("boolean", "yes", "True", 1.0),
        ("choice", "B", "(b)", 1.0),
        ("multi_choice", "ABD", "AB", 0.5),
        ("multi_choice", "ABD", "ABC", 0.0),
        ("integer", "5", "5.004", 1.0),
        ("numeric", "5", "5.2", 0.0),
    ],
)
def test_equality_is_by_answer_type(kind, gold, given, mark):
    assert extract.score(Problem("p", "?", gold, answer_type=kind), given) == mark
