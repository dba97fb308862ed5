"""The words of a text, by which sub-questions are told to be the same; and a text as libraries take it."""

from __future__ import annotations

import re


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, punctuation left out."""
    return re.findall(r"\w+", lowered(text))


def lowered(text: str) -> str:
    """Return a text in lower case, the same for all its capitalisations. The capital of ı is I, and İ becomes an i and
    a dot that would split its word: all of them are i here."""
    return text.upper().casefold().replace("i\u0307", "i")


def encodable(text: str) -> str:
    """Return a text with a question mark for each half of a surrogate pair that stands alone, which no encoding has and
    no library takes."""
    return text.encode(errors="replace").decode()
