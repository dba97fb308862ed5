"""The steps of a problem's gold solution, which its sub-questions should establish.

If the data has sub-questions, each of them is a step, with the data's reply to it, if there is one. Otherwise a step is
a line of the solution, with the number that is the line's result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from rewards.nouns_and_vectors import steps, word_key
from rewards.numbers_in_text import answer_values, values
from rewards.overlap import agreement, content
from rewards.parts.equations import equations
from rewards.parts.reply_value import Gold
from rollout.episode.reply_kind import NUMBER
from rollout.records import NUMERIC_TYPES, Episode, Problem
from rollout.turn_answer import number_of, read_reply

# A sub-question asks for a step of the data if so much of their words agrees.
ASKED_ALIKE = 0.75


@dataclass(frozen=True)
class Step:
    """One step: all words of its sub-question in order, and its content words (both empty if the data has no
    sub-question); and the reply or result of the step (None if not known)."""

    asked: tuple[str, ...]
    content: frozenset[str]
    reply: str | None


class GoldSteps:
    """The gold steps of one problem."""

    def __init__(
        self, answer: str, answer_type: str, solution: str, subquestions: Sequence[str], replies: Sequence[str]
    ) -> None:
        self.numeric = answer_type in NUMERIC_TYPES
        self.verdict = answer if answer_type == "boolean" else None
        self._replies = replies
        lines = steps(solution)
        self.steps = self._asked(subquestions, lines) if subquestions else self._told(lines)
        self.shortest = len(subquestions)
        told = [solution, *replies, "" if self.verdict else answer]
        self.words = frozenset[str]().union(*map(content, told)) if solution or replies else frozenset[str]()
        found = set[Decimal]().union(*({one.result for one in equations(line)} or values(line) for line in lines))
        found = found.union(*(values(reply) for reply in replies), answer_values(answer) if self.numeric else ())
        self.numbers = frozenset(found) if solution or replies else frozenset[Decimal]()

    def _asked(self, subquestions: Sequence[str], lines: Sequence[str]) -> list[Step]:
        """Return the data's sub-questions with their replies. These are the data's replies or, if there are none, the
        lines of the solution, one for each sub-question; the last line may be left over for the question itself."""
        replies: Sequence[str | None] = [None] * len(subquestions)
        if len(self._replies) == len(subquestions):
            replies = self._replies
        elif self.numeric and not self._replies and len(lines) - len(subquestions) in (0, 1):
            replies = [read_reply(line, NUMBER) for line in lines]
        return [
            Step(word_key(question), content(question), reply)
            for question, reply in zip(subquestions, replies, strict=False)
        ]

    def _told(self, lines: Sequence[str]) -> list[Step]:
        """Return the steps of a solution that give a number, except the last, which answers the question itself."""
        found = [equations(line) for line in lines] if self.numeric else []
        return [Step((), frozenset(), str(one[-1].result)) for one in found if one][:-1]

    def expected(self, question: str) -> str | None:
        """Return the reply that the data expects to a sub-question; None if no step asks the same, or if several do and
        expect different replies."""
        exact = {step.reply for step in self.steps if step.asked and step.asked == word_key(question)}
        if not exact:
            like = [(agreement(step.content, content(question)), step.reply) for step in self.steps if step.asked]
            best = max((alike for alike, _ in like), default=0.0)
            exact = {reply for alike, reply in like if alike == best} if best >= ASKED_ALIKE else set()
        return exact.pop() if len(exact) == 1 else None

    def gold(self, question: str, *, last: bool) -> Gold:
        """Return what is known of the right reply to a sub-question; the ``last`` may answer a yes-or-no problem."""
        return Gold(self.expected(question), self.numbers, self.words, self.verdict if last else None)

    def missing(self, episode: Episode, asked: Sequence[str]) -> int:
        """Count the missing steps.

        A step is missing if none of the ``asked`` sub-questions asks for it and, where its result is a number, no reply
        is left that gives it. Steps without a known number count only as far as the decomposition has fewer
        sub-questions than the data.
        """
        left, established = Counter(word_key(question) for question in asked), _established(episode)
        unasked = []
        for step in self.steps:
            number = number_of(step.reply) if step.reply is not None else None
            if step.asked and left[step.asked] > 0:
                left[step.asked] -= 1
                established[number] -= 1
            else:
                unasked.append(number)
        untaken = 0
        for number in unasked:
            if number is not None:
                untaken += established[number] <= 0
                established[number] -= 1
        return untaken + min(unasked.count(None), max(0, self.shortest - len(asked)))


def _established(episode: Episode) -> Counter[Decimal | None]:
    """Count the numbers that replies give: the results of their equations, and their answers."""
    found: Counter[Decimal | None] = Counter()
    for turn in episode.turns:
        results = [equation.result for equation in equations(turn.text)]
        answer = number_of(turn.answer) if turn.answer else None
        found.update(results if answer in results else [*results, answer])
    return found


def gold_steps(problem: Problem) -> GoldSteps:
    """Return the gold steps of a problem. They are cached, because a problem recurs in every epoch and group."""
    replies = problem.meta.get("subanswers")
    given = tuple(map(str, replies)) if isinstance(replies, list) else ()
    return _gold_steps(problem.answer, problem.answer_type, problem.solution, tuple(problem.subquestions or ()), given)


@lru_cache(maxsize=500)
def _gold_steps(
    answer: str, answer_type: str, solution: str | None, subquestions: tuple[str, ...], replies: tuple[str, ...]
) -> GoldSteps:
    return GoldSteps(answer, answer_type, solution or "", subquestions, replies)
