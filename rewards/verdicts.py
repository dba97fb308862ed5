"""The reward of a verifier's verdicts, a turn reward for the policy call that wrote the sub-question.

After LM2 (Juneja et al., arXiv 2404.02255), section 3: sub-question k earns gamma^k times the sum of the weights of the
classes that the verdict on its reply names. k counts from 0; a sub-question that was written again has the same k as
the one in its place. A verdict that cannot be read counts as no mistake. No gold answer is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from conf.schema.rewards import Rewards
from rollout.records import Episode, Turn


@dataclass(frozen=True)
class JudgedTurn:
    """A turn with a verdict: its sub-question's number ``k``, whether it was written again, and what it earns."""

    turn: Turn
    k: int
    refused: bool
    value: float

    @property
    def call(self) -> int | None:
        """The policy call that earns it: the one that wrote the sub-question, or where that was none, the reply."""
        return self.turn.policy_call


def judged_turns(episode: Episode, settings: Rewards) -> list[JudgedTurn]:
    """Return what each judged turn earns, the episode's turns first and then those that were written again."""
    if not settings.verdicts:
        return []
    numbered = [(turn, k, False) for k, turn in enumerate(episode.turns)]
    numbered += [(turn, episode.place_of(turn), True) for turn in episode.refused]
    return [
        JudgedTurn(turn, k, refused, settings.verdict_gamma**k * _value(turn, settings))
        for turn, k, refused in numbered
        if turn.verdicts
    ]


def by_call(episode: Episode, judged: list[JudgedTurn]) -> list[float]:
    """Return the turn reward of each policy call; nothing where no call has one."""
    values = [0.0] * len(episode.calls)
    earning = [(one.call, one.value) for one in judged if one.call is not None and one.call < len(values)]
    for call, value in earning:
        values[call] += value
    return values if earning else []


def _value(turn: Turn, settings: Rewards) -> float:
    found = ("no_mistake" if name == "unreadable" else name for name in turn.verdicts)
    return sum(settings.verdicts.get(name, 0.0) for name in found)
