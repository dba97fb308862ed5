"""From one text that answers a question in full to its sub-questions, their answers and the final answer.

A line that begins with a label begins a part: ``Q:``, ``Question 2:``, ``Sub-question 1:``; ``A:``, ``Answer:``;
``Final answer:``. Lines without a label belong to the part before them, after a sub-question to its answer; a
sub-question whose label stands alone on its line is the line below. The first answer label after a sub-question is that
sub-question's, and any further one the final answer's. What stands before the first sub-question counts only where
there is no sub-question. Nothing here raises, and time is linear in the length of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from conf.schema.strategy import Strategy
from rollout.episode.list_markup import lines
from rollout.thinking import outside_thinking

_LABEL = re.compile(
    r"[\s>#*-]{0,8}(?:(?P<question>q|(?:sub-?\s?)?question)|(?P<answer>a|answer)|(?P<final>final(?:\sanswer)?))"
    r"\s?\d{0,2}[*_]{0,2}\s?:[*_]{0,2}\s{0,3}",
    re.IGNORECASE,
)


@dataclass
class Monolith:
    """The parts of a text: pairs of sub-question and answer in order, the character after each sub-question's last, the
    final answer's text, and why the text is invalid (None if it is not; the reasons are those of a decomposition)."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    char_ends: list[int] = field(default_factory=list)
    final: str = ""
    invalid: str | None = None


def parse_monolith(text: str, limits: Strategy, *, truncated: bool = False) -> Monolith:
    """Read a text; pairs beyond the limits are left out and make it invalid. Without a final answer of its own it is
    the last part's text."""
    begin, stop = outside_thinking(text)[-1]
    questions: list[tuple[str, int]] = []
    answers: list[list[str]] = []
    opening: list[str] = []
    final: list[str] = []
    part, answered = opening, False
    for place, line in lines(text, begin, stop):
        label = _LABEL.match(line)
        body = line[label.end() :] if label else line
        if questions and not (label or answered or questions[-1][0]) and body.strip():
            questions[-1] = (body.strip(), place + len(line.rstrip()))
            continue
        if label and label["question"]:
            questions.append((body.strip(), place + len(line.rstrip())))
            part, answered = [], False
            answers.append(part)
            continue
        if label:
            part = final if label["final"] or answered else part
            answered = True
        part.append(body.rstrip())
    texts = ["\n".join(answer).strip() for answer in answers]
    last = "\n".join(final).strip() or (texts[-1] if texts else "\n".join(opening).strip())
    return _within(questions, texts, last, limits, truncated=truncated)


def _within(
    questions: list[tuple[str, int]], answers: list[str], final: str, limits: Strategy, *, truncated: bool
) -> Monolith:
    """Return the parts that are within the limits."""
    found = Monolith(final=final, invalid="truncated" if truncated else None)
    for (question, end), answer in zip(questions, answers, strict=True):
        if not question or len(question) > limits.max_subquestion_chars:
            found.invalid = found.invalid or ("too_long" if question else None)
            continue
        if len(found.pairs) == limits.max_subquestions:
            found.invalid = found.invalid or "too_many"
            break
        found.pairs.append((question, answer))
        found.char_ends.append(end)
    found.invalid = found.invalid or (None if found.pairs else "empty")
    return found
