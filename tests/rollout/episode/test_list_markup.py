"""Lists as models that were tuned to converse write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.episode.parse_decomposition import parse
from tests.cpu_time import assert_linear
from tests.rollout.episode.test_parse_decomposition import LIMITS, check
from tests.settings import strategy


@pytest.mark.parametrize(
    "text",
    [
        '["How many?", "How much?"]',
        '[\n  "How many?",\n  "How much?"\n]',
        '```json\n["How many?", "How much?"]\n```',
        'Here is the list:\n["How many?", "How much?"]\nI hope it helps.',
        '{"subquestions": ["How many?", "How much?"]}',
        '[{"question": "How many?"}, {"question": "How much?"}]',
        "['How many?', 'How much?']",
        '["1. How many?", "2. How much?"]',
        "- **How many?**\n- **How much?**",
        "1. **How many?**\n2. **How much?**",
        "**1. How many?**\n**2. How much?**",
        "* *How many?*\n* *How much?*",
        "- __How many?__\n- `How much?`",
        '"How many?",\n"How much?"',
        "“How many?”\n“How much?”",
        "### Sub-questions\n1. How many?\n2. How much?",
        "## Sub-questions:\n\n### 1. How many?\n### 2. How much?",
        "# Decomposition of the problem\n- How many?\n- How much?",
        "### How many?\n### How much?",
        "**Sub-questions:**\n1. How many?\n2. How much?",
        "**Sub-questions**\nHow many?\nHow much?",
        "Sub-questions\nHow many?\nHow much?",
        "```\n1. How many?\n2. How much?\n```",
        "```markdown\n- How many?\n- How much?\n```",
        "<think>\nOkay, the user wants sub-questions.\n</think>\n\n1. How many?\n2. How much?",
        "Okay, what is it?\n</think>\n1. How many?\n2. How much?",
        "<THINKING>1. Who?</THINKING>How many?\nHow much?",
        "How many?\n<think>and then?</think>\nHow much?",
        "<think>a?</think>How many?\n<think>b?</think>How much?\n<think>is that",
        '<think>["no?"]</think>["How many?", "How much?"]',
        "<think>x</think>\nSub-questions:\nHow many?\nHow much?",
    ],
)
def test_a_list_is_read_however_it_is_written(text):
    parsed = parse(text, LIMITS)
    assert parsed.subquestions == ["How many?", "How much?"]
    assert parsed.invalid is None
    assert [text[start:end] for start, end in parsed.spans] == parsed.subquestions


@pytest.mark.parametrize(
    ("text", "subquestions"),
    [
        ("<think>\n1. How many?", []),
        ("**How many** pens?", ["**How many** pens?"]),
        ('"Hamlet" was written by "whom"?', ['"Hamlet" was written by "whom"?']),
        ("What is 2*3*4?", ["What is 2*3*4?"]),
        ("#1 and #2 make what?", ["#1 and #2 make what?"]),
        ("[3, 4] has how many numbers?", ["[3, 4] has how many numbers?"]),
        ('What is next in ["a", "b"]?', ['What is next in ["a", "b"]?']),
        ("### Step 1: Add them up\n### Step 2: Halve it", ["Add them up", "Halve it"]),
        ('["How many?", "How mu', ["How many?", "How mu"]),
        ("* All of these:\n* How much?", ["All of these:", "How much?"]),
    ],
)
def test_marks_that_are_the_sub_questions_own_stay(text, subquestions):
    assert parse(text, LIMITS).subquestions == subquestions


MARKS = st.sampled_from(
    ["[", "]", '"', "', '", '", "', "\\", "{", "}", "**", "*", "_", "`", "```json\n", "<think>", "</think>", "# ",
     "### ", "\n", "How many?", "Sub-questions", ":", "- ", "1. ", " ", ","]
)  # fmt: skip


@given(st.lists(MARKS, max_size=40).map("".join), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_marks_break_the_parser(text, truncated):
    check(text, LIMITS, truncated)


@pytest.mark.parametrize(
    "unit",
    ['["', '"', '", "', "[", "{\"a\":", "\\", "**", "*a", "_a_", "`", "```", "<think>", "</think>", "<think></think>",
     "# ", "#", "the ", "a:", '"\\', "**a", "['a',"],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "[", '["a", ', "<think>"])
def test_time_is_linear_in_the_length_of_marks(unit, before):
    limits = strategy(max_subquestions=10**9, max_subquestion_chars=10**9)
    assert_linear(lambda text: parse(text, limits), unit, before)


@pytest.mark.parametrize(
    ("before", "unit", "after"),
    [("", "\n", "x["), ('["a"', " ", "x"), ("[", " ", "x"), ('[{"a"', " ", "x"), ("#", " ", "?"), ("```", "\n", "x["),
     ('{"a"', " ", "x["), ("a:", " ", "x[")],
)  # fmt: skip
def test_time_is_linear_in_the_length_of_white_space_before_what_fits_nowhere(before, unit, after):
    limits = strategy(max_subquestions=10**9, max_subquestion_chars=10**9)
    assert_linear(lambda text: parse(text, limits), unit, before, after)
