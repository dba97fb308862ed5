import itertools
import random
import re
import string
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.schema.strategy import Strategy
from rollout.episode.parse_decomposition import NOT_THERE, parse, references, token_ends
from rollout.words import words
from tests.cpu_time import assert_linear
from tests.settings import strategy

LIMITS = strategy(max_subquestions=4, max_subquestion_chars=40)


@pytest.mark.parametrize(
    "text",
    [
        "How many?\nHow much?",
        "1. How many?\n2) How much?",
        "- How many?\n* How much?",
        "Q: How many?\n\nQ: How much?\n",
        "(1) How many?\n(2) How much?",
        "Q1: How many?\nQ2. How much?",
        "Sub-question 1: How many?\nSubquestion 2: How much?",
        "Step 1: How many?\nstep 2: How much?",
        "**Step 1:** How many?\n\u2022 How much?",
        "Sub-questions:\n\n1: How many?\n2: How much?",
        "1. How many? 2. How much?",
        "(1) How many? (2) How much?",
        "Sub-questions: 1) How many? 2) How much?",
        "Q1: How many? Q2: How much?",
        "How many? How much?",
        "How many? - How much?",
        "\t1.\n How many?\r\n\r\nHow much?   \n",
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


@pytest.mark.parametrize(
    ("text", "subquestions"),
    [
        ("1. Add them up. 2. Halve it.", ["Add them up.", "Halve it."]),
        ("Add them up\nHalve it", ["Add them up", "Halve it"]),
        ("1.5 and 2 make what?", ["1.5 and 2 make what?"]),
        ("-3 and 2 make what?", ["-3 and 2 make what?"]),
        ("10:30 plus 2 h is when?", ["10:30 plus 2 h is when?"]),
        ("How many? Count them.", ["How many? Count them."]),
        ("Is it red? or blue?", ["Is it red? or blue?"]),
        ("1. What is 2? 4. No. 2. And 3?", ["What is 2? 4. No.", "And 3?"]),
        ("1. All of these:\n2. How much?", ["All of these:", "How much?"]),
        ("How many apples:", ["How many apples:"]),
        ("谁在那里？他有几个苹果？", ["谁在那里？", "他有几个苹果？"]),
    ],
)
def test_a_text_is_cut_only_where_a_question_begins(text, subquestions):
    assert parse(text, LIMITS).subquestions == subquestions
    assert parse(text, LIMITS).invalid is None


def test_repeats_are_kept_unless_they_are_not_wanted():
    text = "1. How many?\n2. HOW many\n3. How much?\n4. How many?\nWho?"
    assert parse(text, LIMITS).subquestions == ["How many?", "HOW many", "How much?", "How many?"]
    assert parse(text, LIMITS).invalid == "too_many"
    parsed = parse(text, LIMITS.model_copy(update={"drop_repeats": True}))
    assert parsed.subquestions == ["How many?", "How much?", "Who?"]
    assert parsed.invalid is None
    assert [text[start:end] for start, end in parsed.spans] == parsed.subquestions
    assert parsed.numbers == [1, 1, 2, 1, 3]
    again = "How long is Große Straße?\nHOW LONG IS GROSSE STRASSE?"
    assert len(parse(again, LIMITS.model_copy(update={"drop_repeats": True})).subquestions) == 1


def test_what_was_written_keeps_its_number():
    text = f"How many?\n{'x' * 301}\nTwice #1 and half #2 and #3 and #9?"
    parsed = parse(text, LIMITS)
    assert parsed.numbers == [1, None, 2]
    assert references(parsed.subquestions[1], parsed.numbers) == {1, 2, NOT_THERE}
    assert parse("How many?\nTwice #1?", LIMITS).numbers == []
    assert references("Twice #2?") == {2}


def test_token_ends_are_the_tokens_that_complete_each_subquestion():
    tokens = ["How", " many", "?", "\n", "Who", "?", ""]
    ends = token_ends(parse("How many?\nWho?", LIMITS).char_ends, range(7), lambda ids: "".join(tokens[i] for i in ids))
    assert ends == [2, 5]


def test_the_ends_of_a_long_text_are_found_in_few_decodings():
    tokens, asked = ["a "] * 4_000, []

    def decode(ids):
        asked.append(len(ids))
        return "".join(tokens[i] for i in ids)

    ends = token_ends([2, 1_000, 4_001, 7_999, 8_000, 9_000], range(4_000), decode)
    assert ends == [0, 499, 2_000, 3_999, 3_999, 3_999]
    assert len(asked) <= 6 * 12
    assert token_ends([3], [], decode) == [0]


def check(text: str, limits: Strategy, truncated: bool) -> None:
    """What holds of every text."""
    parsed = parse(text, limits, truncated=truncated)
    assert len(parsed.subquestions) == len(parsed.spans) <= limits.max_subquestions
    assert [text[start:end] for start, end in parsed.spans] == parsed.subquestions
    for question in parsed.subquestions:
        assert 0 < len(question) <= limits.max_subquestion_chars
        assert question == question.strip()
        assert re.search(r"\w", question)
    edges = [edge for span in parsed.spans for edge in span]
    assert edges == sorted(edges)
    assert all(0 <= edge <= len(text) for edge in edges)
    assert parsed.char_ends == edges[1::2]
    assert parsed.invalid in (None, "empty", "too_many", "too_long", "truncated")
    assert parsed.invalid is not None or parsed.subquestions
    assert (parsed.invalid == "truncated") == truncated
    if limits.drop_repeats:
        said = [words(question) for question in parsed.subquestions]
        assert all(left != right for left, right in itertools.combinations(said, 2))


PARTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["1. ", "2) ", "(3)", "Q1:", "Step 2: ", "Sub-question 1:", "- ", "? ", ". ", "\n", "How?", ":"]),
)


@given(st.lists(PARTS, max_size=30).map("".join), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_the_parser(text, truncated, drop_repeats):
    check(text, LIMITS.model_copy(update={"drop_repeats": drop_repeats}), truncated)


def _words(rng: random.Random) -> str:
    return " ".join("".join(rng.choices(string.ascii_letters, k=rng.randint(1, 9))) for _ in range(rng.randint(0, 12)))


KINDS: list[Callable[[random.Random], str]] = [
    lambda rng: "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randint(0, 60))),
    lambda rng: "".join(chr(rng.randrange(32)) for _ in range(rng.randint(0, 20))),
    lambda rng: _words(rng) * rng.choice((1, 1, 50)),
    lambda rng: rf"$\frac{{{rng.randint(0, 99)}}}{{x_{rng.randint(0, 9)}}}$ \\ \[ \sqrt{{2}} \]",
    lambda rng: f"def f(x):\n    return x[{rng.randint(0, 9)}] ?? '#{rng.randint(0, 9)}'  # {_words(rng)}",
    lambda rng: "".join(rng.choices("有几个苹果？。كم عدد؟ ٣. сколько яблок? मेरे पास １．", k=rng.randint(0, 40))),
    lambda rng: rng.choice(("1.", "2)", "(3)", "Q4:", "Step 5:", "Sub-question 6:", "-", "*", "#", "\u2028", "\x85")),
    lambda rng: f"{rng.randint(1, 30)}. {_words(rng)}{rng.choice('?.:')}",
    lambda rng: rng.choice("?.:;!") * rng.randint(1, 5),
]


def test_ten_thousand_random_texts_keep_to_the_limits():
    rng = random.Random(0)
    reasons = set()
    for _ in range(10_000):
        text = "".join(
            rng.choice(KINDS)(rng) + rng.choice(("", " ", "\n", "\n\n", "\r\n")) for _ in range(rng.randint(0, 12))
        )
        limits = LIMITS.model_copy(
            update={
                "max_subquestions": rng.randint(1, 8),
                "max_subquestion_chars": rng.choice((10, 40, 300)),
                "drop_repeats": rng.random() < 0.5,
            }
        )
        check(text, limits, rng.random() < 0.1)
        reasons.add(parse(text, limits).invalid)
    assert reasons == {None, "empty", "too_many", "too_long"}


@pytest.mark.parametrize(
    "unit",
    [" ", "1. ", "? ", "A? ", "(", "* ", "sub-question ", "Q", "1", "? - ", ". ", "？", "a\n", "?\t ", "x ", ":", "\\"],
)
def test_time_is_linear_in_the_length(unit):
    limits = strategy(max_subquestions=10**9, max_subquestion_chars=10**9)
    assert_linear(lambda text: parse(text, limits), unit)


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
