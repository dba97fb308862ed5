"""Find the nouns of a question, and those that it asks about.

The small tagger often takes the bare verb of a question with "do" for a noun ("How many pies did the bakery sell?").
It does so more often in lower case, and texts are read in lower case so that case does not matter. This module
recognises the verb by its place in the question.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# Of nouns in a row, joined by nothing but commas, articles, "and" and "or", only so many are asked about: a longer
# row is a list, which names things and asks nothing of them.
IN_A_ROW = 2
_JOINING = frozenset(
    [",", ";", "/", "&", "and", "or", "nor", "the", "a", "an", "its", "their", "his", "her", "'s", "’s"]
)
_NAMES = ("NOUN", "PROPN")
# Words after which the bare verb of a clause is no longer looked for.
_ENDS = frozenset([",", ";", ":", ".", "?", "!", "if", "when", "than", "to", "total"])
# How the tagger reads names in lower case that it does not take for nouns, and words so read that are none.
_MISREAD_NAMES = ("ADJ", "VERB", "INTJ", "X", "ADV")
_NO_NAMES = frozenset(
    ("all", "any", "both", "each", "either", "few", "least", "many", "more", "most", "much", "none", "not", "one",
     "other", "others", "same", "several", "some", "then", "there", "also", "still", "now", "only", "usually", "first")
)  # fmt: skip
_BEFORE_A_NOUN = ("DET", "NUM", "ADP")


class Token(NamedTuple):
    """A tagged word and its lemma in lower case, its part of speech, and whether it has only letters."""

    lower: str
    lemma: str
    pos: str
    is_alpha: bool


@dataclass(frozen=True)
class Nouns:
    """Noun lemmas of a text in lower case: those ``tagged`` as nouns; the ``true`` nouns; and the true nouns that are
    ``asked`` about, which leaves out the rest of a long list."""

    tagged: frozenset[str]
    true: frozenset[str]
    asked: frozenset[str]


def read_nouns(tokens: Sequence[Token], verbs: Container[str]) -> Nouns:
    """Return the nouns of a tagged text. ``verbs`` are the bare verbs of the language."""
    tagged, true, asked = set(), set(), set()
    supports = [place for place in range(len(tokens)) if _is_support(tokens, place)]
    misread = {_bare_verb(tokens, place, verbs) for place in supports}
    names = {place + 1 for place in supports if _is_name(tokens, place + 1, misread)}
    row = 0
    for place, token in enumerate(tokens):
        noun = token.pos in _NAMES and token.is_alpha
        if noun:
            tagged.add(token.lemma)
        if (noun and place not in misread) or place in names:
            lemma = token.lemma if noun else token.lower
            true.add(lemma)
            row += 1
            if row <= IN_A_ROW:
                asked.add(lemma)
        elif token.lower not in _JOINING:
            row = 0
    return Nouns(frozenset(tagged), frozenset(true), frozenset(asked))


def _is_support(tokens: Sequence[Token], place: int) -> bool:
    """Return whether a form of "do" that supports another verb stands here; the "do" of "to do" does not."""
    return tokens[place].lower in ("do", "does", "did") and (place == 0 or tokens[place - 1].lower != "to")


def _is_name(tokens: Sequence[Token], place: int, misread: Container[int | None]) -> bool:
    """Return whether the word here is a name that the tagger took for something else: the single word between "do" and
    the verb that it supports, as in "does jack save"."""
    if place + 1 >= len(tokens) or tokens[place].pos not in _MISREAD_NAMES or not tokens[place].is_alpha:
        return False
    verb = place + 1 in misread or tokens[place + 1].pos in ("VERB", "AUX")
    return verb and tokens[place].lower not in _NO_NAMES


def _bare_verb(tokens: Sequence[Token], support: int, verbs: Container[str]) -> int | None:
    """Return the place of the verb that a form of "do" supports, if the tagger took it for a noun: the last noun of the
    clause, after its subject, that can be a bare verb. None if the tagger found a verb."""
    found = None
    for place in range(support + 1, len(tokens)):
        token, before = tokens[place], tokens[place - 1]
        alone = before.pos not in _BEFORE_A_NOUN or before.lower in ("all", "each", "both")
        numbered = before.pos == "NUM" and tokens[place - 2].pos in _NAMES  # "did player 2 score"
        if token.lower in _ENDS or token.pos == "SCONJ" or (token.pos == "ADP" and token.lower != "of"):
            break
        if token.lower not in verbs or place == support + 1 or not (alone or numbered):
            continue
        if token.pos in ("VERB", "AUX"):
            return None
        if token.pos in _NAMES:
            found = place
    return found
