"""Taking one text apart that holds sub-questions, answers and the final answer."""

from __future__ import annotations

import pytest

from rollout.episode.parse_monolith import parse_monolith
from tests.cpu_time import assert_linear
from tests.settings import strategy

PAIRS = [("How many has Ann?", "She has 3."), ("How many has Bob?", "He has 6.")]


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("Q: How many has Ann?\nA: She has 3.\nQ: How many has Bob?\nA: He has 6.\nFinal answer: 9", "9"),
        ("Question 1: How many has Ann?\nAnswer 1: She has 3.\nQuestion 2: How many has Bob?\nAnswer 2: He has 6.\n"
         "Answer: 9", "9"),
        ("**Sub-question 1:** How many has Ann?\n**A:** She has 3.\n\n**Sub-question 2:** How many has Bob?\n"
         "**A:** He has 6.\n**Final:** It is 9.\nSo 9.", "It is 9.\nSo 9."),
        ("<think>Q: Hm?</think>Q: How many has Ann?\nShe has 3.\nQ: How many has Bob?\nHe has 6.\n"
         "Final answer: 9", "9"),
        ("Q: How many has Ann?\nA: She has 3.\nQ: How many has Bob?\nA: He has 6.", "He has 6."),
        ("Let me break this into 2 sub-questions.\n\nQ: How many has Ann?\nA: She has 3.\nQ: How many has Bob?\n"
         "A: He has 6.", "He has 6."),
        ("Answer: I ask 2 sub-questions.\nQ: How many has Ann?\nA: She has 3.\nQ: How many has Bob?\nA: He has 6.",
         "He has 6."),
        ("I think.\nQ: How many has Ann?\nA: She has 3.\nQ: How many has Bob?\nA: He has 6.\nFinal answer: 9", "9"),
        ("Q: How many has Ann?\n\nA: She has 3.\n\nQ: How many has Bob?\n\nA: He has 6.\n\nFinal answer: 9", "9"),
        ("Q: How many has Ann?\n\nA:\nShe has 3.\n\nQ: How many has Bob?\n \nA:\nHe has 6.\n\nA: 9", "9"),
        ("**Question 1:**\nHow many has Ann?\n**Answer 1:**\nShe has 3.\n\n**Question 2:**\n\nHow many has Bob?\n"
         "He has 6.\n\n**Final answer:** 9", "9"),
        ("Q: How many has Ann?\nA: She has 3.\nQ: How many has Bob?\nA: He has 6.\nA: So 9.\nFinal answer: 9",
         "So 9.\n9"),
    ],
)  # fmt: skip
def test_labels_begin_the_parts(text, final):
    found = parse_monolith(text, strategy())
    assert (found.pairs, found.final, found.invalid) == (PAIRS, final, None)
    assert all(text[:end].endswith(question) for end, (question, _) in zip(found.char_ends, PAIRS, strict=True))


def test_a_labelled_answer_after_other_lines_is_still_its_sub_questions():
    found = parse_monolith(
        "Q: How many has Ann,\nwho is Bob's sister?\nA: She has 3.\nQ: How many has Bob?\nTwice 3.\nA: 6\nFinal: 9",
        strategy(),
    )
    assert [answer for _, answer in found.pairs] == ["who is Bob's sister?\nShe has 3.", "Twice 3.\n6"]
    assert found.final == "9"


def test_a_text_without_sub_questions_is_all_answer_and_invalid():
    found = parse_monolith("3 + 6 = 9.\nThe answer is 9.", strategy())
    assert (found.pairs, found.final, found.invalid) == ([], "3 + 6 = 9.\nThe answer is 9.", "empty")
    assert parse_monolith("3 + 6 = 9.\nAnswer: 9", strategy()).final == "3 + 6 = 9.\n9"
    assert parse_monolith("", strategy()).invalid == "empty"


def test_limits_make_it_invalid_and_keep_what_is_within_them():
    text = "".join(f"Q: Question {i}?\nA: {i}\n" for i in range(5))
    found = parse_monolith(text, strategy(max_subquestions=3))
    assert (len(found.pairs), found.invalid, found.final) == (3, "too_many", "4")
    found = parse_monolith(f"Q: {'x' * 301}?\nA: 1\n{text}", strategy())
    assert (len(found.pairs), found.invalid) == (5, "too_long")
    assert parse_monolith(text, strategy(), truncated=True).invalid == "truncated"


@pytest.mark.parametrize("piece", ["Q:", "\n", " ", "Q:\n", "A: ", "> # ", "final ", "*" * 9, "<think>", "sub "])
def test_hostile_text_takes_linear_time(piece):
    assert_linear(lambda text: parse_monolith(text, strategy()), piece)
