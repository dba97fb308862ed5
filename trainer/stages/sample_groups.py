"""Which groups are worth training on: the samples of one problem, which are compared with one another."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.reward import Sample
from rollout.records import TRAINED_ON

# Totals that differ by less are the same: a sum of parts is not exact.
FLAT = 1e-8
# How a frozen role ends an episode by being late, which says nothing of what it was asked.
TIMEOUTS = ("solver_timeout", "verifier_timeout")


def usable(group: Sequence[Sample]) -> bool:
    """Return whether every sample can be trained on: a group is, whole, or not at all."""
    return all(map(trainable, group))


def trainable(item: Sample) -> bool:
    """Return whether a sample was scored, was not kept from decomposition by the gate, and holds policy tokens."""
    facts = item.facts
    ended = item.reward.error is None and facts.outcome in TRAINED_ON
    return ended and facts.gate != "closed" and facts.policy_tokens > 0


def may_succeed(item: Sample, max_tries: int) -> bool:
    """Return whether a frozen role's timeout ended a sample that may be run again: the next try may be in time."""
    return item.facts.outcome in TIMEOUTS and item.job.late + 1 < max_tries


def flat(group: Sequence[Sample]) -> bool:
    """Return whether all rewards are the same, so that comparing samples teaches nothing. A group of one never is."""
    totals = [item.reward.total for item in group]
    return len(totals) > 1 and max(totals) - min(totals) < FLAT
