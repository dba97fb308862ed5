"""Compare the gate's figures with its demands: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conf.schema.gate import Gate
from trainer.tracking.statistics import wilson

# The measurements by name, and as the table has them.
MEASURED = {
    "steps": "one sub-question, the right replies to those before it in view",
    "direct": "the solver alone",
    "direct_ended": "answers of the solver alone that ended by themselves",
    "gold": "with the data's own sub-questions",
    "decomposer": "with the decomposer",
}
# A difference that falls short by rounding alone is as large as the threshold.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Share:
    """A share: ``right`` of ``count``, with its 95 % interval."""

    right: float
    count: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Check:
    """One of the gate's demands; ``said`` is it in words, with the figures."""

    name: str
    passed: bool
    said: str


def share(marks: Sequence[float]) -> Share:
    """Return the share of marks, with Wilson's interval. There must be one."""
    return Share(sum(marks), len(marks), **wilson(sum(marks), len(marks)))


def checks(figures: Mapping[str, Share], gate: Gate) -> list[Check]:
    """Return the demands in the order in which they can be met; ``figures`` has all of ``MEASURED``."""
    steps, direct, ended, gold, decomposer = (figures[name] for name in MEASURED)
    gain, room = gold.mean - direct.mean, gold.mean - decomposer.mean
    apart = gold.low > direct.high
    return [
        Check(
            "step_accuracy", _reaches(steps.mean, gate.step_accuracy),
            f"{steps.mean:.3f} of single steps are right; wanted: {gate.step_accuracy:g} or more",
        ),
        Check(
            "gold_over_direct", _reaches(gain, gate.gold_over_direct) and apart,
            f"gold sub-questions give {gain:+.3f} over the solver alone, the intervals "
            f"{'do not overlap' if apart else 'overlap'}; wanted: {gate.gold_over_direct:g} or more, and intervals "
            "that do not",
        ),
        Check(
            "direct_ended", _reaches(ended.mean, gate.direct_ended),
            f"{ended.mean:.3f} of the answers of the solver alone end by themselves; wanted: {gate.direct_ended:g} or "
            "more",
        ),
        Check(
            "decomposer_below_gold", _reaches(room, gate.decomposer_below_gold),
            f"the decomposer is {room:.3f} below gold; wanted: {gate.decomposer_below_gold:g} or more, which PPO can "
            "gain",
        ),
    ]  # fmt: skip


def _reaches(value: float, threshold: float) -> bool:
    return value >= threshold - _ROUNDING
