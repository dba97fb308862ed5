"""Find the values that a decomposition hands to the solver and that it can only have by solving the problem itself.

Looked at are the sub-questions, and the concepts that a policy writes before them, which the solver reads too.
A value is known, and so not a leak, if it is in the question or its options, in the solver's own initial attempt or in
a reply to an earlier sub-question, or if it is an everyday value. A value that an earlier sub-question handed over
stays a leak, even if a reply repeats it. An everyday value is a leak all the same if it is the gold answer, a result in
the gold solution, or the result of an equation in the sub-question. "When x = 1" computes nothing and has no result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from rewards.nouns_and_vectors import word_key
from rewards.numbers_in_text import (
    answer_values,
    computed,
    fractions,
    known_values,
    labels,
    results,
    stated_values,
    values,
    worded,
)
from rewards.reward import MEASURES
from rewards.turns import turns_of
from rollout.answers import extract
from rollout.answers.mark import forms
from rollout.options import options
from rollout.records import NUMERIC_TYPES, Episode, Problem

# Small counts ("the first two days"), units of time (7 days, 24 hours, 365 days ...) and powers of ten.
EVERYDAY = frozenset(map(Decimal, (0, 1, 2, 3, 4, 7, 10, 12, 24, 30, 52, 60, 100, 365, 1000)))
_STATED = re.compile(r"\banswer\b|####|\\boxed|\b(?:option|choice)\b", re.IGNORECASE)
# A question whether something is the answer, which states it: "Is the answer B?"
_IS_IT = re.compile(
    r"\b(?:is|was|(would|could|can|must|should)) (?P<it>(?:the|our) (?:(?:right|correct|final|best) )?answer) "
    r"(?(1)be )(?=\W{0,3}(?:yes|no|true|false|[A-J])\b)",
    re.IGNORECASE,
)
# The rules that read an answer where a text says that it is one.
_SAID = {"answer_is", "conclusion", "hashes", "boxed", "brackets", "tags"}
_NO_NAMES = {"yes", "no", "true", "false"}


@dataclass(frozen=True)
class Handed:
    """The values that one sub-question or the concepts hand over, whether the gold answer is named, and whether it is
    charged: not for an answer that the solver's own initial attempt gave."""

    values: frozenset[Decimal]
    answer: bool
    charged: bool


# What a text hands over that tells nothing.
NOTHING = Handed(frozenset(), answer=False, charged=False)


def handed_over(episode: Episode) -> list[Handed]:
    """Return what each sub-question hands over to the solver."""
    return handed_in_texts(episode)[1:]


def handed_in_concepts(episode: Episode) -> Handed:
    """Return what the concepts hand over to the solver."""
    return handed_in_texts(episode)[0] if episode.concepts else NOTHING


def handed_in_texts(episode: Episode) -> list[Handed]:
    """Return what the concepts hand over, and then each sub-question. Concepts are read as a sub-question before the
    first."""
    problem = episode.problem
    text, stated = shown(problem), stated_in(problem)
    attempt = known_values(episode.initial.text) if episode.initial else frozenset()
    attempted = episode.initial is not None and extract.score(problem, episode.initial.answer) >= 1
    solved, named = _solved(problem), _named(problem) - stated_values(problem.question)
    nth = solved - worded(text)
    replied, said = frozenset[Decimal](), [word_key(text)]
    handed: set[Decimal] = set()
    found = []
    texts = zip([episode.concepts or "", *episode.subquestions], [None, *turns_of(episode)], strict=True)
    for place, (question, turn) in enumerate(texts):
        here, told = values(question) | _labelled(question, nth, place), computed(question)
        shows = stated - (told & named)
        known, kept = shows | attempt | (replied - handed), solved | told
        given = here - known - (EVERYDAY - kept) - _left_to_divide(problem, question, known, kept)
        answer = _gives_answer(problem, question, here - shows - (replied - handed), said)
        own = answer and problem.answer_type not in NUMERIC_TYPES and not attempted
        found.append(Handed(given, answer, bool(given) or own))
        handed |= given
        if turn is not None:
            replied |= known_values(turn.text)
            said.append(word_key(turn.text))
    return found


def measures(found: Sequence[Handed], concepts: Handed = NOTHING) -> dict[str, float]:
    """Return the measures of a decomposition by name; 0 if it has no sub-question. Concepts that hand over a value
    count as one more sub-question."""
    shares = [bool(one.values) for one in found] + [True] * bool(concepts.values)
    answered = any(one.answer for one in (concepts, *found))
    values_of = (sum(shares) / len(shares) if shares else 0.0, float(answered))
    return dict(zip(MEASURES, values_of, strict=True))


def shown(problem: Problem) -> str:
    """Return everything that a question shows: its text and its options."""
    choices = problem.choices or ()
    options = choices.values() if isinstance(choices, dict) else choices
    return "\n".join([problem.question, *options])


def _answered(problem: Problem) -> frozenset[Decimal]:
    """Return the values of the gold answer; none where it is no number."""
    return answer_values(problem.answer) if problem.answer_type in NUMERIC_TYPES else frozenset()


def _named(problem: Problem) -> frozenset[Decimal]:
    """Return the values of the gold options. All options show theirs, so one counts only as the result of an
    equation."""
    shows = options(problem.choices) if problem.answer_type.endswith("choice") else {}
    return frozenset[Decimal]().union(*(answer_values(shows.get(letter, "")) for letter in problem.answer.upper()))


def _solved(problem: Problem) -> frozenset[Decimal]:
    """Return the values that are known only after solving the problem: its answer and the results in its solution."""
    return _answered(problem) | results(problem.solution or "")


def stated_in(problem: Problem) -> frozenset[Decimal]:
    """Return the values that a problem makes known. A word for an ordinal or a part ("the fifth boy", "half of it")
    makes its number known, but for one that the problem is solved for."""
    text = shown(problem)
    return stated_values(text) | (worded(text) - _solved(problem))


def _labelled(question: str, solved: frozenset[Decimal], place: int) -> frozenset[Decimal]:
    """Return the solved values that a sub-question writes as a label or an ordinal ("#64", "the 64th boat"). A number
    up to its own ``place`` may be a reference or its own number."""
    return frozenset(number for number in labels(question) & solved if number > max(place, 1))


def _left_to_divide(
    problem: Problem, question: str, known: frozenset[Decimal], kept: frozenset[Decimal]
) -> frozenset[Decimal]:
    """Return the fractions of a sub-question whose value is nothing new: they are written with known numbers, or with
    known and everyday ones where their value is not ``kept``, as solving the problem gives it."""
    return frozenset(
        one.number
        for one in fractions(question)
        if (known.issuperset(one.parts) and one.number not in _answered(problem))
        or ((known | EVERYDAY).issuperset(one.parts) and one.number not in kept)
    )


def _gives_answer(problem: Problem, question: str, new: frozenset[Decimal], said: Sequence[tuple[str, ...]]) -> bool:
    """Return whether a sub-question names the gold answer. ``new`` has its values that are not in the question or a
    reply; ``said`` has the words of the question and of the replies."""
    if problem.answer_type in NUMERIC_TYPES:
        return bool(new & _answered(problem))
    if problem.answer_type in ("boolean", "choice", "multi_choice"):
        return bool(new & _named(problem)) or _states(problem, question)
    names = [word_key(name) for name in forms(problem)]
    return any(
        _within(name, word_key(question)) and not any(_within(name, earlier) for earlier in said)
        for name in names
        if name and not _NO_NAMES.issuperset(name)
    )


def _states(problem: Problem, question: str) -> bool:
    """Return whether a sub-question states the gold answer as the answer, or asks whether it is the answer."""
    if not _STATED.search(question):
        return False
    asked = "" if re.search(r"\bor\b", question) else _IS_IT.sub(r"\g<it> is ", question).rstrip("? ")
    read, put = (extract.extract(text, problem.answer_type, problem.choices) for text in (question, asked))
    found = [read] * (read.rule not in ("last", "none")) + [put] * (put.rule in _SAID)
    return any(extract.score(problem, one.answer) >= 1 for one in found)


def _within(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Return whether words stand in others, one directly after another."""
    return f" {' '.join(part)} " in f" {' '.join(whole)} "
