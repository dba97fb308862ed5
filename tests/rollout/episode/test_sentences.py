"""The sentence that asks, in questions as data sets have them."""

from __future__ import annotations

import pytest

from rollout.episode.sentences import asking_sentence, sentences
from tests.cpu_time import assert_linear


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("Tom has 3. How many apples does Mr. Smith have?", "How many apples does Mr. Smith have?"),
        ("It rains. What is Mrs. Cruz's budget?", "What is Mrs. Cruz's budget?"),
        ("They met. How much did Dr. and Mrs. Benson pay in all?", "How much did Dr. and Mrs. Benson pay in all?"),
        ("He lives in St. Louis. How far is it to Mt. Vernon?", "How far is it to Mt. Vernon?"),
        ("What is x? Express your answer as a common fraction.", "What is x?"),
        ("Find x. Is it 3? Who knows? Draw it. [asy]draw((0,0));[/asy]", "Who knows?"),
        ("Find x. Express it as a fraction.", "Express it as a fraction."),
        ("Find x", "Find x"),
        ("A line goes through point A. What is its slope?", "What is its slope?"),
        ("I read. How many books did George R. R. Martin write?", "How many books did George R. R. Martin write?"),
        ("I read. How many books did J. K. Rowling write?", "How many books did J. K. Rowling write?"),
        ("He leaves at 5 p.m. How long does he drive?", "How long does he drive?"),
        ("Tom has 2.5 kg. What is the weight of No. 5?", "What is the weight of No. 5?"),
        ("Is it red? No. How many are blue?", "How many are blue?"),
        ("Fruits, e.g. Apples, cost 3. How many, i.e. 3 of them?", "How many, i.e. 3 of them?"),
        ("tom has 3 pens. how many?", "how many?"),
        ("Bob has 2.  How many\nhave they?", "How many\nhave they?"),
        ("小明有3个苹果。他有几个苹果？", "他有几个苹果？"),
        ("小明有几个苹果？请用分数表示。", "小明有几个苹果？"),
        ("", ""),
    ],
)
def test_what_a_question_asks_is_the_sentence_with_its_last_question_mark(question, asked):
    assert asking_sentence(question) == asked


def test_sentences_are_all_of_a_text_in_order():
    assert sentences(" Mr. A has 2. Who?\n\nNobody! ") == ["Mr. A has 2.", "Who?", "Nobody!"]


@pytest.mark.parametrize("unit", [". ", "Mr. ", "A. ", "?", "？", " ", "a", "A.", "Aa A. ", "1 . "])
def test_time_is_linear_in_the_length(unit):
    assert_linear(asking_sentence, unit)
