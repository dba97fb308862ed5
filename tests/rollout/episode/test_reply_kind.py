"""The kind of reply that a question asks for."""

from __future__ import annotations

import pytest

from rollout.episode.reply_kind import reply_kind
from rollout.records import Turn
from rollout.turn_answer import asks, turn_answer
from tests.cpu_time import assert_linear


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many pens does Amy have?", "number"),
        ("HOW MUCH DID THE BREAD COST?", "number"),
        ("How tall is the tower?", "number"),
        ("What is the total cost of the pens?", "number"),
        ("In what year was he born?", "number"),
        ("What is 5 times #1?", "number"),
        ("What is #1 times 3?", "number"),
        ("What is #1 plus #2?", "number"),
        ("What country is #1 from?", "text"),
        ("What country is #1 a part of?", "text"),
        ("Calculate the price of the hat.", "number"),
        ("A slice weighs 50 grams. How many slices does Hugo eat?", "number"),
        ("How many pens did Mr. Lee buy?", "number"),
        ("Is #1 larger than #2?", "boolean"),
        ("If both are open, is the shop full?", "boolean"),
        ("Did she sell any pens?", "boolean"),
        ("Who wrote the play?", "text"),
        ("What is the name of the river?", "text"),
        ("Which river is the longest?", "text"),
        ("When did the war end?", "text"),
        ("What colour is it?", "text"),
        ("What is the capital of the country?", "text"),
        ("What did he buy?", "text"),
        ("What is in the box?", "text"),
        ("How does the engine work?", "text"),
        ("Define a variable", "?"),
        ("What about the harbour and the boats?", "?"),
        ("", "?"),
    ],
)
def test_the_words_that_ask_decide(question, kind):
    assert reply_kind(question, "?") == kind
    assert asks(question) == (kind != "?")


@pytest.mark.parametrize(
    ("question", "reply", "answer_type", "answer"),
    [
        ("How many pens has Ann?", "Ann has 3 * 2 = 6 pens.", "number", "6"),
        ("Who has most pens, Ann or Bob?", "Bob has 4 pens.\nAnn has most.", "number", "Ann has most"),
        ("Is 6 more than 4?", "Yes, 6 is more than 4.", "number", "Yes"),
        ("How old is the town?", "It is 800 years old.", "boolean", "800"),
        ("#1 >> capital", "Paris", "text", "Paris"),
        ("#1 + 5", "It is 11.", "number", "11"),
        ("What is the bill for the meal?", "It is 20 + 10 = $30.", "number", "$30"),
        ("What's the hypotenuse?", "It is 5.", "number", "5"),
        ("What is the least common multiple of 4 and 6?", "It is 12.", "expression", "It is 12"),
        ("What is the title of the book?", "It is 1984.", "number", "It is 1984"),
        ("What is the shape of the garden?", "It is a square with 4 sides.", "number", "It is a square"),
        ("What is Tom doing?", "He is buying 3 apples.", "number", "He is buying"),
        ("What is the most popular flavor?", "It is vanilla.", "number", "It is vanilla"),
        ("What is given?", "Tom has 3 apples.", "number", "Tom has 3"),
        ("Who has most pens?", "I cannot tell.", "number", None),
    ],
)
def test_a_turns_answer_is_of_that_kind(question, reply, answer_type, answer):
    found = turn_answer(Turn(question, reply), answer_type)
    assert found is None if answer is None else (found or "").startswith(answer)


@pytest.mark.parametrize("piece", ["what is ", "how ", "do a ", "is ", ". ", "mr. ", "what a b c d e f "])
def test_hostile_text_takes_linear_time(piece):
    assert_linear(reply_kind, piece)
