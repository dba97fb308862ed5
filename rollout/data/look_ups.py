"""Look-ups in a text by the last one to three words: what a model of the shipped size can copy reliably.

Such a model finds the next word of what it copies by looking at what followed the same few words before. That is
unambiguous only if, wherever the longest known ending of what it has written occurs, one and the same word follows.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

WORD = re.compile(r"\d|[A-Za-z]+|[^\sA-Za-z\d]")
LONGEST = 3
Token = TypeVar("Token", bound=Hashable)


def words(text: str) -> list[str]:
    """Return words, single digits and marks, as the shipped tokenizer parts them."""
    return WORD.findall(text)


class LookUps(Generic[Token]):
    """Tokens that follow each one, two and three tokens of a text."""

    def __init__(self, text: Sequence[Token]) -> None:
        self._found: dict[tuple[Token, ...], set[Token]] = {}
        for place, token in enumerate(text):
            for length in range(1, min(LONGEST, place) + 1):
                self._found.setdefault(tuple(text[place - length : place]), set()).add(token)

    def after(self, written: Sequence[Token]) -> set[Token]:
        """Return what follows, in the text, the longest ending of ``written`` that occurs there: nothing if none does,
        several tokens if it cannot be told by a look-up."""
        for length in range(min(LONGEST, len(written)), 0, -1):
            if found := self._found.get(tuple(written[-length:])):
                return found
        return set()


def restated_by_look_ups(text: Sequence[str], clauses: Sequence[Sequence[str]], verbs: set[str]) -> bool:
    """Return whether each clause of a text can be restated from its subject, the first word, by look-ups alone: one of
    the ``verbs`` follows the subject, and after it there is never a choice."""
    look_ups = LookUps(text)
    return all(
        look_ups.after(clause[:1]) & verbs == {clause[1]}
        and all(look_ups.after(clause[:place]) == {clause[place]} for place in range(2, len(clause)))
        for clause in clauses
    )
