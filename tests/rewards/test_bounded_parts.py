"""Test what the parts of ``bounded`` may never pay for; docs/rewards.md has a row for each."""

from __future__ import annotations

from decimal import Decimal

import pytest

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.numbers_in_text import values
from rewards.overlap import content
from rewards.parts.equations import equations
from rewards.parts.reply_value import Gold, Situation, number_value, reply_value
from rewards.penalties import is_copy
from rewards.total import score_episode
from rollout.episode.reply_kind import NUMBER, YES_OR_NO
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn
from tests.cpu_time import assert_linear

SETTINGS = Rewards.for_mode("bounded")
QUESTION = (
    "A tailor buys 15 rolls of cloth at $32 a roll. From each roll she sews 4 coats. She sells every coat for $21 at "
    "the market. How many dollars does the tailor earn?"
)
TAILOR = Problem(
    "tailor",
    QUESTION,
    "780",
    solution="The cloth costs 15 * 32 = $480.\nShe sews 15 * 4 = 60 coats.\nShe gets 60 * 21 = $1260 for them.\n"
    "So she earns 1260 - 480 = $780.",
)
PLAN = [
    "How many dollars does the cloth cost?",
    "How many coats does the tailor sew?",
    "How many dollars does she get for the coats?",
    "How many dollars does the tailor earn?",
]
REPLIES = [
    "The cloth costs 15 * 32 = 480 dollars.",
    "She sews 15 * 4 = 60 coats.",
    "She gets 60 * 21 = 1260 dollars for the coats.",
    "The tailor earns 1260 - 480 = 780 dollars.",
]


def episode(plan: list[str], replies: list[str], problem: Problem = TAILOR) -> Episode:
    turns = [Turn(*pair) for pair in zip(plan, replies, strict=True)]
    final = f"{problem.solution}\nThe answer is {problem.answer}."
    attempt = Attempt("I cannot tell.")
    return Episode(problem, "daslam", attempt, Decomposition("\n".join(plan), plan), turns, Attempt(final))


@pytest.fixture(scope="module")
def resources() -> TextResources:
    return TextResources()


@pytest.fixture(scope="module")
def honest(resources):
    return score_episode(episode(PLAN, REPLIES), resources, SETTINGS)


@pytest.mark.parametrize(
    "frame",
    [
        "Can you tell me this, please: {}",
        "Please solve: {}",
        "{} Think of every part of it.",
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_question_reworded_is_a_copy(frame, turned, resources, honest):
    told = " ".join(QUESTION.split(". ")[::-1]) if turned else QUESTION.replace(". ", ", ").lower()
    copied = score_episode(episode([frame.format(told)], [" ".join(REPLIES)]), resources, SETTINGS)
    assert copied.penalties == {"copy": 0.3}
    assert copied.total < honest.total


def test_a_decomposition_may_end_in_the_questions_own_last_sentence(honest):
    assert PLAN[-1] == QUESTION.split(". ")[-1]
    assert honest.penalties == {}
    assert is_copy(PLAN[-1], QUESTION)
    assert not is_copy(PLAN[-1], QUESTION, first=False)


@pytest.mark.parametrize(
    "listed",
    [
        "What about the tailor, the rolls, the cloth, the coats, the market and the dollars?",
        "Tailor, rolls, cloth, coats, market, dollars?",
        "How many tailors, rolls, cloths, coats, markets and dollars are there?",
    ],
)
def test_a_list_of_nouns_is_below_a_decomposition(listed, resources, honest):
    reply = "There is a tailor with 15 rolls of cloth, coats, a market and dollars."
    stuffed = score_episode(episode([listed], [reply]), resources, SETTINGS)
    assert stuffed.parts["entity_coverage"] < honest.parts["entity_coverage"]
    assert stuffed.total < honest.total - 0.1


def consistency(replies: list[str], resources, plan: list[str] | None = None) -> float:
    return score_episode(episode(plan or PLAN, replies), resources, SETTINGS).parts["answer_consistency"]


def test_an_honest_reply_is_above_an_echo_a_wrong_value_and_a_refusal(resources, honest):
    assert honest.parts["answer_consistency"] > 0.9
    values_alone = [reply.split("= ")[1].split()[0] for reply in REPLIES]
    assert 0.5 <= consistency(values_alone, resources) < honest.parts["answer_consistency"]
    for number in (7, 41, 15, 32):
        assert consistency([f"{question[:-1]}: {number}" for question in PLAN], resources) < 0.5
    wrong = [
        "It costs 500 dollars.",
        "She sews 15 * 4 = 64 coats.",
        "1290",
        "The tailor earns 1260 - 480 = 790 dollars.",
    ]
    assert consistency(wrong, resources) < 0.2
    assert consistency(["I cannot tell."] * 4, resources) == 0.0
    assert consistency(["The river flows 25 miles to the north."] * 4, resources) <= 0.1


def test_a_large_integer_is_right_only_where_it_is_exact():
    at = Situation(NUMBER, "How many?", frozenset(), frozenset(), frozenset(), Gold("4000000"))
    assert number_value(Decimal(4_000_000), [], at) == 1
    assert number_value(Decimal(4_000_001), [], at) < 0.1


@pytest.mark.parametrize(("verdict", "low", "high"), [("yes", 0.5, 1.0), ("no", 0.0, 0.1)])
def test_a_boxed_yes_is_a_yes(verdict, low, high):
    at = Situation(YES_OR_NO, "Is it?", frozenset(), frozenset(), frozenset(), Gold(verdict=verdict))
    assert low <= reply_value("\\boxed{\\text{Yes}}", at) <= high


def test_replies_in_another_order_compute_with_what_nobody_said_yet(resources, honest):
    turned = consistency(REPLIES[::-1], resources, PLAN[::-1])
    assert turned < honest.parts["answer_consistency"] - 0.2


def test_steps_that_nobody_took_are_missing(resources, honest):
    assert consistency(REPLIES[:2], resources, PLAN[:2]) < honest.parts["answer_consistency"] - 0.2


FERRY = Problem(
    "ferry",
    "Could the ferry of Kiel carry the bell of Erfurt?",
    "yes",
    "boolean",
    solution="The ferry of Kiel carries 20,000 tonnes.\nThe bell Gloriosa in Erfurt weighs 11 tonnes.",
)


@pytest.mark.parametrize(
    ("question", "reply", "low", "high"),
    [
        ("Which bell hangs in Erfurt?", "The bell in Erfurt is the Gloriosa.", 0.8, 1.0),
        ("Which bell hangs in Erfurt?", "Gloriosa", 0.7, 1.0),
        ("Which bell hangs in Erfurt?", "Which bell hangs in Erfurt: 7", 0.0, 0.1),
        ("Which bell hangs in Erfurt?", "I do not know.", 0.0, 0.0),
        ("How much does the bell weigh?", "The bell weighs 11 tonnes.", 0.9, 1.0),
        ("How much does the bell weigh?", "The bell is the Gloriosa.", 0.0, 0.0),
        ("Can #1 carry it?", "Yes.", 0.7, 1.0),
        ("Can #1 carry it?", "No.", 0.0, 0.1),
        ("Can #1 carry it?", "7", 0.0, 0.0),
    ],
)
def test_the_kind_that_is_asked_for_is_looked_for(question, reply, low, high, resources):
    plan = ["How much does the ferry of Kiel carry?", question]
    item = episode(plan, ["It carries 20,000 tonnes.", reply], FERRY)
    share = score_episode(item, resources, SETTINGS).shares["answer_consistency"][1]
    assert low <= 2 * share <= high


@pytest.mark.parametrize(
    ("numbers", "paid"), [([], False), ([1, 1, 2], False), ([1, 1, None, 2], False), ([1, None, 1, 2], True)]
)
def test_a_reference_is_to_what_was_written_there(numbers, paid, resources):
    item = episode(["How much does the ferry of Kiel carry?", "Can #3 carry it?"], ["20,000 tonnes.", "Yes."], FERRY)
    item.decomposition.numbers = numbers
    assert (score_episode(item, resources, SETTINGS).shares["answer_consistency"][1] > 0) == paid


@pytest.mark.parametrize(
    ("question", "nouns"),
    [
        ("How many pies did the bakery sell?", {"pie", "bakery"}),
        ("How many apples did Tom eat?", {"apple", "tom"}),
        ("How much does the box of pens cost?", {"box", "pen"}),
        ("HOW MUCH DO THE TWO BAGS WEIGH?", {"bag"}),
        ("How many pages did her sister read on Monday?", {"page", "sister", "monday"}),
        ("How much did the three shirts cost together?", {"shirt"}),
    ],
)
def test_the_verb_of_a_question_is_no_noun(question, nouns, resources):
    assert resources.nouns([question]) == [nouns]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("She sells 16 - 3 - 4 = 9 eggs.", [("9", True)]),
        ("$5/hour * 3 hours = $15, so 5 + 5 = 11", [("15", True), ("11", False)]),
        ("20% of 50 = 10 and 2 * (3 + 1) = 8", [("10", True), ("8", True)]),
        ("12 plus 14 equals 26", [("26", True)]),
        ("She can go 3 times because 42 / 14 = 3. 3 times a week 5 + 2 = 7.", [("3", True), ("7", True)]),
        ("3 times $4 = $12. 3 times the 5 = 15. 3 times (2 + 2) = 13", [("12", True), ("15", True), ("13", False)]),
        ("x = 5, 2x + 3 = 13, 7 = 7", []),
        (r"$\frac{24}{4} + 3 = 9$, \frac{1}{2} \times 10 = 5, 10^2 + 5 = 105, \sqrt{16} + 5 = 9", []),
        ("2 1/2 + 1 = 3 1/2, 4! + 1 = 25 and 2 ** 3 + 1 = 9", []),
        (r"24 \div 4 + 3 = 9 and 3 \cdot 4 = 12", [("9", True), ("12", True)]),
        ("150 + 25 = 176, 99 + 1 = 101, 12 * 12 = 145", [("176", False), ("101", False), ("145", False)]),
        ("100 / 3 = 33.3, 0.333 * 3 = 1", [("33.3", True), ("1", True)]),
        ("2(40 + 9) = 98, 27(1/3) = 9 and (2 + 3)(4) = 20", [("98", True), ("9", True), ("20", True)]),
        ("3² + 4² = 25, 1 + 2 + ... + 10 = 55, sqrt(9 + 16) = 5, floor(7/2) = 3, |3 - 5| = 2", []),
        ("3:00 + 2 hours = 5:00, 2 thousand + 500 = 2500, 5 dozen * 2 = 120, 10 / 3 = 3 remainder 1", []),
        ("2 hours + 30 minutes = 150 minutes. 4 * 25 cents = $1. 2 minutes * 3 = 7 minutes.", [("7", False)]),
        ("| 3 + 2 = 5 |\nWait... 4 + 1 = 5. 2 hours * 60 = 120 minutes.", [("5", True), ("5", True), ("120", True)]),
        ("The remainder is 20 - 5 = 15. The second floor has 3 + 4 = 7 rooms.", [("15", True), ("7", True)]),
        ("There are 2 dozens so 2 * 12 = 24 eggs. At 5:30 there are 3 + 4 = 7.", [("24", True), ("7", True)]),
        ("5 million + 3 million = 8 million. Step 2(3 + 4) = 7. |3 + 4 = 7|", [("8", True), ("7", True), ("7", True)]),
        ("She spends $5 + $3 = 9 dollars. A pen costs $12 * 5 = $61 dollars.", [("9", False), ("61", False)]),
        ("The board is 1 foot and 3 + 4 = 8 feet long. In the second hour 3 + 4 = 8.", [("8", False), ("8", False)]),
    ],
)
def test_equations_of_a_text(text, found):
    assert [(str(one.result), one.holds) for one in equations(text)] == found
    assert all(isinstance(operand, Decimal) for one in equations(text) for operand in one.operands)


@pytest.mark.parametrize("read", [equations, values, content])
@pytest.mark.parametrize(
    "piece", ["1,", "1,234", "9 ", "= ", "9 = ", "((", "5 of ", "Step 1", "two and ", "hundred ", "-", ". 1) ", "a b "]
)
def test_hostile_texts_are_read_in_linear_time(read, piece):
    assert_linear(read, piece)
