"""The answer that a solver's reply gives to its sub-question."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from rollout.answers.extract import extract, parse_number
from rollout.episode.reply_kind import NUMBER, TEXT, reply_kind
from rollout.records import NUMERIC_TYPES, Turn


def kind_of(question: str, answer_type: str) -> str:
    """Return the kind of reply that a sub-question asks for; where it tells none, what the problem's ``answer_type``
    suggests."""
    return reply_kind(question, NUMBER if answer_type in NUMERIC_TYPES else TEXT)


def asks(question: str) -> bool:
    """Return whether a sub-question asks for a reply of some kind: "What about the boats?" does not."""
    return reply_kind(question, "") != ""


def turn_answer(turn: Turn, answer_type: str) -> str | None:
    """Return what the reply gives of that kind: a number, yes or no, or its statement; None where it gives none."""
    return read_reply(turn.text, kind_of(turn.question, answer_type))


@lru_cache(maxsize=2_000)
def read_reply(text: str, kind: str) -> str | None:
    """Return the answer of this kind that a reply gives; None where it gives none. Kept, as several ask for it."""
    return extract(text, kind).answer


@lru_cache(maxsize=2_000)
def number_of(answer: str) -> Decimal | None:
    """Return the one number that an answer states; None where it states none. Kept likewise."""
    return parse_number(answer)
