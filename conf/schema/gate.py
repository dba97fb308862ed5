"""The schema of the group ``gate``: what a solver and a decomposer must show before PPO is worth its time."""

from __future__ import annotations

from pydantic import Field

from conf.schema.base import Group


class Gate(Group):
    """The measurements of `launch.gate`, and the thresholds of its verdict."""

    problems: int = Field(500, ge=1)
    """Held-out problems of each measurement."""
    step_accuracy: float = Field(0.6, ge=0, le=1)
    """Share of sub-questions that the solver answers rightly, the right earlier replies in view, at least."""
    gold_over_direct: float = Field(0.1, ge=-1, le=1)
    """Accuracy with gold sub-questions above that of the solver alone at least; the intervals must not overlap."""
    direct_ended: float = Field(0.95, ge=0, le=1)
    """Share of the answers of the solver alone that no limit of tokens cuts off, at least."""
    decomposer_below_gold: float = Field(0.05, ge=-1, le=1)
    """Accuracy with the decomposer below that with gold sub-questions at least."""
