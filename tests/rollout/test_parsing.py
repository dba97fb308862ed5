import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.parsing import ParseLimits, parse, token_ends

LIMITS = ParseLimits(max_subquestions=4, max_chars=40)


@pytest.mark.parametrize(
    "text",
    [
        "How many?\nHow much?",
        "1. How many?\n2) How much?",
        "- How many?\n* How much?",
        "Q: How many?\n\nQ: How much?\n",
    ],
)
def test_forms_of_lists_give_the_same_subquestions(text):
    parsed = parse(text, LIMITS)
    assert parsed.subquestions == ["How many?", "How much?"]
    assert parsed.invalid is None


@pytest.mark.parametrize(
    ("text", "truncated", "reason", "count"),
    [
        ("", False, "empty", 0),
        ("\n ?!\n", False, "empty", 0),
        ("a?\nb?\nc?\nd?\ne?", False, "too_many", 4),
        ("x" * 41 + "\nb?", False, "too_long", 1),
        ("a?\nb", True, "truncated", 2),
    ],
)
def test_what_cannot_be_used_as_written_is_named_and_the_rest_kept(text, truncated, reason, count):
    parsed = parse(text, LIMITS, truncated=truncated)
    assert parsed.invalid == reason
    assert len(parsed.subquestions) == count


def test_token_ends_are_the_tokens_that_complete_each_subquestion():
    tokens = ["How", " many", "?", "\n", "Who", "?", ""]
    ends = token_ends(parse("How many?\nWho?", LIMITS).char_ends, range(7), lambda ids: "".join(tokens[i] for i in ids))
    assert ends == [2, 5]


@given(st.text(max_size=400), st.booleans())
@settings(max_examples=300)
def test_no_text_breaks_the_parser(text, truncated):
    parsed = parse(text, LIMITS, truncated=truncated)
    assert len(parsed.subquestions) <= 4
    assert all(0 < len(question) <= 40 for question in parsed.subquestions)
    assert parsed.char_ends == sorted(parsed.char_ends)
    assert (parsed.invalid == "empty") <= (not parsed.subquestions)


def test_random_bytes_as_tokens_have_ends_within_the_completion():
    rng = random.Random(0)
    for _ in range(500):
        tokens = [
            "".join(rng.choices(string.printable + "é\n\n", k=rng.randint(0, 6))) for _ in range(rng.randint(1, 30))
        ]
        parsed = parse("".join(tokens), LIMITS)
        ends = token_ends(parsed.char_ends, range(len(tokens)), lambda ids, t=tokens: "".join(t[i] for i in ids))
        assert ends == sorted(ends)
        assert all(0 <= end < len(tokens) for end in ends)
