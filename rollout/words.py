"""The words of a text, by which sub-questions are told to be the same."""

from __future__ import annotations

import re


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, punctuation left out."""
    return re.findall(r"\w+", lowered(text))


def lowered(text: str) -> str:
    """Return a text in lower case, the same for all its capitalisations. The capital of ı is I, and İ becomes an i and
    a dot that would split its word: all of them are i here."""
    return text.upper().casefold().replace("i\u0307", "i")
