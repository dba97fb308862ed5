"""How well a reply answers its sub-question, in [0, 1]: what ``answer_consistency`` pays in bounded mode.

Looked for is an answer of the kind that the sub-question asks for. A number is compared with what the gold solution
comes to at that step, or at any step; where neither settles it, with what the numbers known so far can give.
Yes or no is compared with the gold answer where the problem ends in it; a text with the words of the gold solution.
What is said beside the answer has to be about what was asked.
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
    """What is known of the right replies: ``expected`` at this step, None where the step is not known; the numbers of
    the whole solution; its words; and the answer where this step ends a problem of yes or no."""

    expected: str | None = None
    numbers: frozenset[Decimal] = frozenset()
    words: frozenset[str] = frozenset()
    verdict: str | None = None


@dataclass(frozen=True)
class Situation:
    """One sub-question in its place: its kind, its text as put to the solver, the words of the problem, the numbers
    known before it, and the numbers among them that earlier replies gave."""

    kind: str
    asked: str
    problem: frozenset[str]
    known: frozenset[Decimal]
    replied: frozenset[Decimal]
    gold: Gold = field(default_factory=Gold)


def reply_value(reply: str, at: Situation) -> float:
    """Return how well a reply answers: 0 for none of the kind asked for, for an echo and for something else."""
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
    """Return what a number is worth as a reply, with the equations beside it."""
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
    """Return whether equations compute with what is known by then: also what a percentage leaves or makes of a whole,
    and results before."""
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
    """Return whether one operation on two of the numbers known gives a number."""
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
    """Return what a text is worth: the more of what it adds to the sub-question stands in the gold solution."""
    added = said - asked
    if not added:
        return 0.0
    if gold.expected is not None:
        return WRONG + (RIGHT - WRONG) * shared(content(gold.expected), said)
    if not gold.words:
        return UNCHECKED if any(not word.isdigit() for word in added) else WRONG
    return WRONG + (RIGHT - WRONG) * min(1.0, 2 * shared(added, gold.words))
