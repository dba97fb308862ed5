"""Rate how well a reply answers its sub-question, in [0, 1]; ``answer_consistency`` pays this in bounded mode.

The answer has to be of the kind that the sub-question asks for. A number is compared with the gold solution's result at
that step, or at any step; if neither decides, with what can be computed from the numbers known so far. Yes or no is
compared with the gold answer if the sub-question settles the problem. A text is compared with the words of the gold
solution. The words around the answer have to be about what was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import permutations

from rewards.leak import EVERYDAY
from rewards.overlap import content, shared
from rewards.parts.equations import Equation, equations
from rollout.answers.expressions.same_expression import RELATIVE_TOLERANCE, numbers_equal
from rollout.answers.mark import verdict
from rollout.episode.reply_kind import NUMBER, TEXT, YES_OR_NO
from rollout.turn_answer import number_of, read_reply

# What a number is worth: the right one; one soundly computed that the gold solution lacks; one that cannot be checked;
# one that was known before; one computed from numbers that nobody has given yet; any other.
RIGHT, UNCHECKED, SOUND, RESTATED, UNFOUNDED, WRONG = 1.0, 0.7, 0.6, 0.4, 0.3, 0.05
# Of a reply about what was asked the value counts whole, of a bare value this share.
BARE = 0.75
# A reply of more words than this that shares none with the problem is about something else.
FEW_WORDS = 2


@dataclass(frozen=True)
class Gold:
    """Known facts about the right replies: the reply ``expected`` at this step (None if not known), the numbers and the
    words of the whole solution, and the answer if this step ends a yes-or-no problem."""

    expected: str | None = None
    numbers: frozenset[Decimal] = frozenset()
    words: frozenset[str] = frozenset()
    verdict: str | None = None


@dataclass(frozen=True)
class Situation:
    """One sub-question in its context: its kind, its text as the solver got it, the words of the problem, the numbers
    known before it, and those of them that earlier replies gave."""

    kind: str
    asked: str
    problem: frozenset[str]
    known: frozenset[Decimal]
    replied: frozenset[Decimal]
    gold: Gold = field(default_factory=Gold)


def reply_value(reply: str, at: Situation) -> float:
    """Return how well a reply answers: 0 without an answer of the right kind, for an echo, and off the subject."""
    answer = read_reply(reply, at.kind)
    if answer is None:
        return 0.0
    said, asked = content(reply), content(at.asked)
    told = frozenset(word for word in said if not word.isdigit())
    if len(told) > FEW_WORDS and not told & (asked | at.problem | at.gold.words):
        return 0.0
    if at.kind == NUMBER:
        value = number_value(number_of(answer), equations(reply), at)
    elif at.kind == YES_OR_NO:
        value = _verdict_value(answer, at.gold)
    else:
        value = _text_value(said, asked, at.gold)
    bare = not told or (at.kind == TEXT and len(told) <= FEW_WORDS)
    about = shared(told, asked) if len(told) <= len(asked) else shared(asked, told)
    return value * (BARE if bare else 0.5 + 0.5 * about)


def number_value(number: Decimal | None, steps: Sequence[Equation], at: Situation) -> float:
    """Return the value of a number as a reply, given the equations beside it."""
    if number is None or any(not step.holds for step in steps):
        return WRONG
    derived = any(_same(step.result, number) for step in steps)
    expected = number_of(at.gold.expected) if at.gold.expected else None
    founded = _founded(steps, at.known | (EVERYDAY - at.gold.numbers))
    if expected is not None:
        return WRONG if not _same(expected, number) else RIGHT if founded else UNFOUNDED
    if not founded:
        return UNFOUNDED
    if (not derived and number in at.known) or number in at.replied:
        return RESTATED
    if at.gold.numbers:
        return RIGHT if _among(number, at.gold.numbers) else SOUND if derived else WRONG
    return RIGHT if derived else UNCHECKED if _reachable(number, at.known) else WRONG


def _founded(steps: Sequence[Equation], known: frozenset[Decimal]) -> bool:
    """Return whether equations use only known numbers, among them the results of earlier equations and, for a known
    percentage, what it leaves or makes of a whole."""
    have = {*known, *(value / 100 for value in known)}  # also cents in dollars
    for percent in (value for value in known if value / 100 in known):
        have |= {100 - percent, 100 + percent, 1 - percent / 100, 1 + percent / 100}
    for step in steps:
        if not step.operands <= have:
            return False
        have.add(step.result)
    return True


def _same(left: Decimal, right: Decimal) -> bool:
    return numbers_equal(left, right, RELATIVE_TOLERANCE)


def _among(number: Decimal, numbers: frozenset[Decimal]) -> bool:
    return number in numbers or any(_same(number, other) for other in numbers)


def _reachable(number: Decimal, known: frozenset[Decimal]) -> bool:
    """Return whether one operation on two known numbers gives this number."""
    for left, right in permutations(sorted(known)[:12], 2):
        if number in (left + right, left - right, left * right) or (right and _same(left / right, number)):
            return True
    return False


def _verdict_value(answer: str, gold: Gold) -> float:
    right = verdict(gold.expected or gold.verdict or "")
    if right is None:
        return UNCHECKED
    return RIGHT if verdict(answer) == right else WRONG


def _text_value(said: frozenset[str], asked: frozenset[str], gold: Gold) -> float:
    """Return the value of a text: it grows with the share of its new words that are in the gold solution."""
    added = said - asked
    if not added:
        return 0.0
    if gold.expected is not None:
        return WRONG + (RIGHT - WRONG) * shared(content(gold.expected), said)
    if not gold.words:
        return UNCHECKED if any(not word.isdigit() for word in added) else WRONG
    return WRONG + (RIGHT - WRONG) * min(1.0, 2 * shared(added, gold.words))
