"""The options of a multiple-choice problem: their letters, and how a model is shown them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Choices = Mapping[str, str] | Sequence[str] | None

LETTERS = "ABCDEFGHIJ"


def options(choices: Choices) -> dict[str, str]:
    """Return the options as a mapping from letter to text; the entries of a list are A, B, C ..."""
    if not choices:
        return {}
    pairs = choices.items() if isinstance(choices, Mapping) else zip(LETTERS, choices, strict=False)
    # Some sets write an option's own letter before its text: "B) 11", "E=4/9".
    named = ((letter.strip(), value) for letter, value in pairs)
    own = r"(?i)^\(?{}\s?[).:=]\s*(?=\S)".format
    return {letter.upper(): re.sub(own(re.escape(letter)), "", value) for letter, value in named}


def with_options(question: str, choices: Choices, answer_type: str) -> str:
    """Return a question as a model reads it: where an option is to be chosen, the options below it, one a line, unless
    its text has them already."""
    found = options(choices) if answer_type.endswith("choice") else {}
    said = _bare(question)
    if all(
        _has(said, letter.lower(), bare) if (bare := _bare(text)) else _has_as_written(question, letter, text)
        for letter, text in found.items()
    ):
        return question
    return "\n".join([question, *(f"({letter}) {text}" for letter, text in found.items())])


def _has(question: str, letter: str, text: str) -> bool:
    """Return whether a bare question has an option after its letter."""
    return re.search(rf"(?<!\w){re.escape(letter)}[.:]?\s?{re.escape(text)}(?!\w|[.,]\d)", question) is not None


def _has_as_written(question: str, letter: str, text: str) -> bool:
    """Return whether a question has an option of which LaTeX is all there is, after its letter and marks."""
    marks = r"[\s.:)\]}*$]*"
    return re.search(rf"(?<!\w)(?i:{re.escape(letter)}){marks}{re.escape(text)}(?!\w)", question) is not None


def _bare(text: str) -> str:
    """Return a text in lower case without LaTeX, marks and brackets, with single spaces."""
    return " ".join(re.sub(r"\\[A-Za-z]*|[${}*()\[\]]", " ", text).lower().split())
