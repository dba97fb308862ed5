"""Groups: the samples of one problem, admitted together with consecutive ids and trained on together."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.reward import Scored

# Totals that differ by less are the same: a sum of parts is not exact.
FLAT = 1e-8


class Assembler:
    """Brings the samples of a problem together again, in whatever order they come.

    Invariant: every sample that is put in comes out once, in its whole group.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._partial: dict[int, list[Scored]] = {}

    def add(self, scored: Scored) -> list[Scored] | None:
        """The whole group in order of admission if this was its last sample, else None."""
        key = scored.job.id // self.size
        group = self._partial.setdefault(key, [])
        group.append(scored)
        if len(group) < self.size:
            return None
        return sorted(self._partial.pop(key), key=lambda item: item.job.id)


def usable(group: Sequence[Scored]) -> bool:
    """Whether every sample was scored and holds policy tokens: a group is trained on whole or not at all."""
    return all(
        item.reward.error is None
        # Too long a prompt and too many replies are the plan's doing; every other failure is the solver's own.
        and item.episode.outcome in ("ok", "prompt_too_long", "episode_tokens")
        and item.episode.policy is not None
        and len(item.episode.policy.token_ids) > 0
        for item in group
    )


def flat(group: Sequence[Scored]) -> bool:
    """Whether all rewards are the same, so that comparing samples teaches nothing. A group of one never is."""
    totals = [item.reward.total for item in group]
    return len(totals) > 1 and max(totals) - min(totals) < FLAT
