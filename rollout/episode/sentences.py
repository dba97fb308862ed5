"""The sentences of a question, and the one that asks."""

from __future__ import annotations

import re

_ENDS = re.compile(r"(?<=[.?!？؟])\s+|(?<=[。！？])(?=\S)")
# A full stop after these ends no sentence; after those of the second kind none that goes on with a number.
_ABBREVIATION = re.compile(
    r"\b(?:Mr|Mrs|Ms|Mx|Messrs|Dr|Prof|Rev|Hon|St|Mt|Ft|Gen|Col|Capt|Lt|Sgt|Maj|Gov|Sen|Rep|Pres"
    r"|(?i:vs|e\.g|i\.e|cf|approx))\.$"
)
_BEFORE_NUMBER = re.compile(r"\b(?i:No|Nos|Fig|Eq|Ch|Sec|Vol|pp?|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.$")
# An initial: a capital after a name or another initial, or at the beginning; the point A ends a sentence.
_INITIAL = re.compile(r"(?:^|[.?!]\s+|\b[A-Z]\.\s*|\b[A-Z][a-z]+\s+)[A-Z]\.$")
_CAPITAL = re.compile(r"\b[A-Z]\.$")
_ONE_OF_SEVERAL = re.compile(r"[A-Z]\.")
_BEGINS = re.compile(r"(?:How|What|Which|Who|Whose|When|Where|Why|If|Find|The|Is|Are|Do|Does|Did|Can|Will)\b")
# More characters than any of these looks back.
_LOOK_BACK = 40


def sentences(text: str) -> list[str]:
    """Return the sentences of a question, without the white space between them. The end of a line ends none, unlike in
    a solver's text (``rollout.answers.statements``)."""
    text = text.strip()
    found: list[str] = []
    start = 0
    for gap in _ENDS.finditer(text):
        before = text[max(start, gap.start() - _LOOK_BACK) : gap.start()]
        if not _goes_on(before, text[gap.end() : gap.end() + _LOOK_BACK]):
            found.append(text[start : gap.start()])
            start = gap.end()
    return [*found, text[start:]]


def asking_sentence(text: str) -> str:
    """Return the sentence with the last question mark; without one the last sentence, where questions keep what they
    ask."""
    every = sentences(text)
    return next((one for one in reversed(every) if re.search("[?？؟]", one)), every[-1])


def _goes_on(before: str, following: str) -> bool:
    """Return whether a full stop belongs to an abbreviation, given the text before the gap and that after it."""
    if _ABBREVIATION.search(before):
        return True
    if following[:1].isdigit() and _BEFORE_NUMBER.search(before):
        return True
    if _ONE_OF_SEVERAL.match(following) and _CAPITAL.search(before):
        return True
    return following[:1].isupper() and not _BEGINS.match(following) and _INITIAL.search(before) is not None
