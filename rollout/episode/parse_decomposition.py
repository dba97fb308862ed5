"""From the policy's text to sub-questions, with the tokens that end each one.

One sub-question a line, or several on a line where each has a number or where one question follows another, or a list
in JSON. Numbers, bullets, labels such as "Q1:", emphasis and quotation marks are taken off. A heading before the list
("Sub-questions:"), fences and thinking are none of it. Nothing here raises: what cannot be used as written is kept as
far as it can be, and named. The time taken is linear in the length of the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from conf.schema.strategy import Strategy
from rollout.episode.list_markup import is_markup, is_title, lines, quoted_items, trimmed, unwrapped
from rollout.thinking import outside_thinking
from rollout.words import words

# A number is no label where a decimal or a time of day is meant, nor is a minus sign a bullet.
_NUMBER = r"(?:\(?(\d{1,2})(?:\)|[.:](?!\d))|(?:Q|Step|Sub-?\s?question)\s*(\d{1,2})\s*[.:)](?!\d))"
_NUMBERED = re.compile(_NUMBER, re.IGNORECASE)
_LABEL = re.compile(
    rf"\s*(?:(?:{_NUMBER}|[*•‣◦▪●·]|\#{{1,6}}(?=\s)|-(?!\d)|[–—+](?=\s)|(?:Q|Step|Sub-?\s?question)\s*\d*:)\s*)+",
    re.IGNORECASE,
)
_GAP = re.compile(r"(?<=[.?!;:？。！])\s+|(?<=[？。！])(?!\s)")


@dataclass(frozen=True)
class Parsed:
    """Sub-questions in order, where each begins and ends in the text, and why it is invalid (None if it is not).

    ``text[start:end]`` is the sub-question. Reasons: ``empty``, ``too_many``, ``too_long``, ``truncated`` (the
    completion hit its token limit). ``numbers`` is that of ``Decomposition``.
    """

    subquestions: list[str]
    spans: list[tuple[int, int]]
    invalid: str | None
    numbers: list[int | None] = field(default_factory=list)

    @property
    def char_ends(self) -> list[int]:
        """The character after each sub-question's last."""
        return [end for _, end in self.spans]


def parse(text: str, limits: Strategy, *, truncated: bool = False) -> Parsed:
    """Read the sub-questions of a completion; beyond the limits it is invalid. Repeats are kept, since what was asked
    is asked and paid for; with ``drop_repeats`` what was asked before, in the same words, is left out."""
    spans: list[tuple[int, int]] = []
    asked: dict[tuple[str, ...], int] = {}
    numbers: list[int | None] = []
    invalid = "truncated" if truncated else None
    bodies = list(_bodies(text))
    if len(bodies) > 1 and _is_heading(text, *bodies[0]):
        del bodies[0]
    for start, end in bodies:
        if end - start > limits.max_subquestion_chars:
            invalid = invalid or "too_long"
            numbers.append(None)
            continue
        said = tuple(words(text[start:end]))
        if limits.drop_repeats and said in asked:
            numbers.append(asked[said])
            continue
        if len(spans) == limits.max_subquestions:
            invalid = invalid or "too_many"
            break
        spans.append((start, end))
        asked[said] = len(spans)
        numbers.append(len(spans))
    invalid = invalid or (None if spans else "empty")
    moved = len(numbers) > len(spans)
    return Parsed([text[start:end] for start, end in spans], spans, invalid, numbers if moved else [])


def parse_next(text: str, limits: Strategy, *, truncated: bool = False) -> Parsed:
    """Read the one sub-question of a completion that is to hold the next; none, and nothing invalid, if it is the end
    mark."""
    parsed = parse(text, limits, truncated=truncated)
    first = parsed.subquestions[0] if parsed.subquestions else text
    if words(first) == words(limits.end_mark) or text.strip() == limits.end_mark.strip():
        return Parsed([], [], None)
    invalid = None if parsed.invalid == "too_many" else parsed.invalid
    return Parsed(parsed.subquestions[:1], parsed.spans[:1], invalid)


def _is_heading(text: str, start: int, end: int) -> bool:
    """Return whether what comes first in a text is the list's name, or has no label and ends in a colon."""
    before = text[:start].rsplit(">", 1)[-1].strip()
    return is_title(text[start:end]) or (text[end - 1] in ":：" and before in ("", "**", "__"))


def _bodies(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of the pieces of a text that hold a word, labels and outer white space taken off."""
    for begin, stop in outside_thinking(text):
        if items := quoted_items(text, begin, stop):
            pieces = items
        else:
            pieces = [
                (position + start, position + end)
                for position, line in lines(text, begin, stop)
                if not is_markup(line)
                for start, end in _pieces(line)
            ]
        for start, end in pieces:
            label = _LABEL.match(text, start, end)
            body = unwrapped(text, start, *trimmed(text, label.end() if label else start, end))
            if re.search(r"\w", text[slice(*body)]):
                yield body


def _pieces(line: str) -> Iterator[tuple[int, int]]:
    """Cut a line where the number that comes next begins a sentence, and between two questions."""
    number = _number(line, len(line) - len(line.lstrip())) or 0
    last_mark = max(line.rfind("?"), line.rfind("？"))
    start = 0
    for gap in _GAP.finditer(line):
        here = gap.end()
        numbered = _number(line, here)
        if numbered is not None:
            if numbered != number + 1:
                continue
            number = numbered
        elif line[gap.start() - 1] not in "?？" or here > last_mark or not _begins_a_question(line, here):
            continue
        yield start, here
        start = here
    yield start, len(line)


def _number(line: str, position: int) -> int | None:
    label = _NUMBERED.match(line, position)
    return int(label[1] or label[2]) if label else None


def _begins_a_question(line: str, position: int) -> bool:
    """Return whether a bullet, a label or a word that is not in lower case stands here."""
    letter = line[position]
    return _LABEL.match(line, position) is not None or (letter.isalpha() and not letter.islower())


def token_ends(char_ends: Sequence[int], token_ids: Sequence[int], decode: Callable[[list[int]], str]) -> list[int]:
    """Return the index of the token that completes each character position: the first whose decoded prefix reaches it.

    A position past the text (an end-of-text token carries none) belongs to the last token. A prefix's length is found
    by halving: to decode every one would take the square of a long text's time, on the worker's event loop.
    """
    reached = cache(lambda index: len(decode(list(token_ids[: index + 1]))))
    last = max(0, len(token_ids) - 1)
    return [bisect_left(range(last), position, key=reached) for position in char_ends]


_REFERENCE = re.compile(r"#([1-9][0-9]?)(?![0-9])")


# The number of a sub-question that is not there: later than any that a reference can name.
NOT_THERE = 100


def number_of(written: int, numbers: Sequence[int | None]) -> int:
    """Return the number of the sub-question that was the ``written``-th of those written (``Decomposition.numbers``);
    ``NOT_THERE`` if it was left out."""
    if not numbers:
        return written
    return (numbers[written - 1] if written <= len(numbers) else None) or NOT_THERE


def references(question: str, numbers: Sequence[int | None] = ()) -> set[int]:
    """Return the numbers of the sub-questions that one refers to, given the ``numbers`` of its decomposition."""
    return {number_of(int(written), numbers) for written in _REFERENCE.findall(question)}
