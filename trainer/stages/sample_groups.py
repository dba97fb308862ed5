"""Which groups are worth training on: the samples of one problem, which are compared with one another."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.reward import Scored

# Totals that differ by less are the same: a sum of parts is not exact.
FLAT = 1e-8


def usable(group: Sequence[Scored]) -> bool:
    """Return whether every sample can be trained on: a group is, whole, or not at all."""
    return all(map(trainable, group))


def trainable(item: Scored) -> bool:
    """Return whether a sample was scored and holds policy tokens."""
    return (
        item.reward.error is None
        # Too long a prompt and too many replies are the decomposition's doing; every other failure is the solver's own.
        and item.episode.outcome in ("ok", "prompt_too_long", "episode_tokens")
        and item.episode.policy is not None
        and len(item.episode.policy.token_ids) > 0
    )


def flat(group: Sequence[Scored]) -> bool:
    """Return whether all rewards are the same, so that comparing samples teaches nothing. A group of one never is."""
    totals = [item.reward.total for item in group]
    return len(totals) > 1 and max(totals) - min(totals) < FLAT
