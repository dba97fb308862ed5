"""Read texts as solvers write them: the right answer is found, and no other is paid for."""

import pytest

from rollout.answers.extract import extract
from rollout.answers.mark import score
from rollout.answers.marks import without_thinking
from rollout.answers.number_words import in_digits
from rollout.records import Problem
from tests.rollout.answers import booleans_and_texts, ending_numbers, options, stated_numbers

CHOICES = ["copper", "wool", "glass", "paper"]
READINGS = [
    (kind, text, right, wrong)
    for module in (stated_numbers, ending_numbers, options, booleans_and_texts)
    for kind, cases in module.READINGS.items()
    for text, right, wrong in cases
]
KINDS = sorted({kind for kind, *_ in READINGS})


def marked(kind, text, gold):
    choices = CHOICES if kind.endswith("choice") else None
    given = extract(text, kind, choices).answer
    return score(Problem("p", "?", gold, answer_type=kind, choices=choices), given)


def test_the_lists_are_long_and_have_no_text_twice():
    assert len({(kind, text) for kind, text, *_ in READINGS}) == len(READINGS) >= 1000
    assert sum(len(wrong) for *_, wrong in READINGS) >= 950


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_answer_is_read(kind):
    cases = [(text, right) for name, text, right, _ in READINGS if name == kind and right is not None]
    assert [(text, right) for text, right in cases if marked(kind, text, right) != 1.0] == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_wrong_answer_is_paid_for(kind):
    cases = [(text, answer) for name, text, _, wrong in READINGS if name == kind for answer in wrong]
    # A part of a multiple choice is worth a part of the mark, and all of it is not paid for.
    least = 1.0 if kind == "multi_choice" else 0.01
    assert [(text, answer) for text, answer in cases if marked(kind, text, answer) >= least] == []


@pytest.mark.parametrize("number", ["8" * 33, "-" + "4" * 40, "1" + "0" * 30 + "1", "9" * 29])
def test_long_integers_are_compared_to_their_last_digit(number):
    other = number[:-1] + str(int(number[-1]) - 1)
    for text in (f"The answer is {number}.", f"{number}", f"So there are {number} in all."):
        assert (marked("number", text, number), marked("number", text, other)) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("eighty-three", "83"),
        ("one hundred and nine", "109"),
        ("five thousand seven hundred", "5700"),
        ("one million, three hundred thousand and four", "1300004"),
        ("a thousand two hundred", "1200"),
        ("twelve hundred", "1200"),
        ("four point two five", "4.25"),
        ("three fifths", "3/5"),
        ("seven and a half", "7 1/2"),
        ("seven eight", "7 8"),
        ("seven and eight", "7 and 8"),
        ("nine (9) hats", "9 hats"),
        ("7 hundred", "7 hundred"),
        ("one of them; no one; the right one", "one of them; no one; the right one"),
        ("these two, the three of them", "these two, the three of them"),
        ("a six-pack, tenish, twenty-something", "a six-pack, tenish, twenty-something"),
    ],
)
def test_number_words_become_digits(text, digits):
    assert in_digits(text) == digits


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("So 7.", "So 7."),
        ("<think>Is it 8?</think>\nSo 7.", "So 7."),
        ("<think>8</think> hm <think>9</think> So 7.", "So 7."),
        ("Is it 8?</think>So 7.", "So 7."),
        ("<THINKING>8</THINKING>So 7.", "So 7."),
        ("<think>Is it 8", ""),
        ("So 7. <think>Or is it 8", ""),
        ("I think 5 < 7.", "I think 5 < 7."),
    ],
)
def test_thinking_is_taken_away(text, shown):
    assert without_thinking(text) == shown


@pytest.mark.parametrize(
    ("text", "kind", "rule"),
    [
        ("<answer>7</answer>", "number", "tags"),
        ("The answer is yes.\nSo no, it is not.", "boolean", "conclusion"),
        ("The answer is A.\nSo it is B.", "choice", "conclusion"),
        ("It depends.", "boolean", "undecided"),
        ("The answer is neither yes nor no.", "boolean", "undecided"),
        ("I cannot tell. Ida has 7 hats.", "number", "refused"),
        ("#### 1. Count\nIt is 7.", "number", "last"),
    ],
)
def test_the_rule_that_fired_is_named(text, kind, rule):
    assert extract(text, kind, CHOICES if kind == "choice" else None).rule == rule
