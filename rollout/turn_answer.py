"""The answer that a solver's reply gives to its sub-question."""

from __future__ import annotations

from rollout.answers.extract import extract
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
    return extract(turn.text, kind_of(turn.question, answer_type)).answer
