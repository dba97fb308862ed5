"""From the policy's text to sub-questions, with the tokens that end each one.

One sub-question a line; numbering, bullets and a leading "Q:" are taken off. Nothing here raises: what cannot
be used as written is kept as far as it can be, and named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_LABEL = re.compile(r"^\s*(?:(?:\(?\d{1,2}[.):]|[-*•]|Q\d*:|Sub-?question\s*\d*:)\s*)+", re.IGNORECASE)


@dataclass(frozen=True)
class ParseLimits:
    """Beyond these a decomposition is invalid."""

    max_subquestions: int = 8
    max_chars: int = 300


@dataclass(frozen=True)
class Parsed:
    """Sub-questions in order, the character after each one's last, and why it is invalid (None if it is not).

    Reasons: ``empty``, ``too_many``, ``too_long``, ``truncated`` (the completion hit its token limit).
    """

    subquestions: list[str]
    char_ends: list[int]
    invalid: str | None


def parse(text: str, limits: ParseLimits, *, truncated: bool = False) -> Parsed:
    """Read the sub-questions of a completion. Repeats are kept: what was asked is asked, and paid for."""
    found: list[str] = []
    ends: list[int] = []
    invalid = "truncated" if truncated else None
    position = 0
    for line in text.splitlines(keepends=True):
        stripped = _LABEL.sub("", line).strip()
        end = position + len(line.rstrip())
        position += len(line)
        if not re.search(r"\w", stripped):
            continue
        if len(stripped) > limits.max_chars:
            invalid = invalid or "too_long"
            continue
        if len(found) == limits.max_subquestions:
            invalid = invalid or "too_many"
            break
        found.append(stripped)
        ends.append(end)
    if not found:
        invalid = invalid or "empty"
    return Parsed(found, ends, invalid)


def token_ends(char_ends: Sequence[int], token_ids: Sequence[int], decode: Callable[[list[int]], str]) -> list[int]:
    """Index of the token that completes each character position: the first whose decoded prefix reaches it.

    A position past the text (an end-of-text token carries none) belongs to the last token.
    """
    ends: list[int] = []
    index = 0
    reached = len(decode(list(token_ids[:1]))) if token_ids else 0
    for position in char_ends:
        while reached < position and index < len(token_ids) - 1:
            index += 1
            reached = len(decode(list(token_ids[: index + 1])))
        ends.append(index)
    return ends
