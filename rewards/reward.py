"""What a reward is made of: the names of the five parts, the four modes, and one part's value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from conf.schema.rewards import MODES, PARTS
from rollout.jobs import Job
from rollout.records import Episode


@dataclass(frozen=True)
class Part:
    """One part's value, None where it is absent, and each sub-question's share where it has shares."""

    value: float | None
    by_subquestion: list[float] | None


@dataclass(frozen=True)
class RewardSettings:
    """The Hydra group ``rewards``: mode, weights and clips a part, penalties, the correctness baseline.

    ``clip[part]`` is (low, high) or absent. Penalties are taken off the total under their own names.
    """

    mode: str = "bounded"
    weights: dict[str, float] = field(default_factory=dict)
    clip: dict[str, tuple[float, float]] = field(default_factory=dict)
    penalty: dict[str, float] = field(default_factory=dict)
    correctness_baseline: str = "none"

    @property
    def formulas(self) -> str:
        """The mode whose formulas the parts follow: ``outcome`` is ``bounded`` under other weights."""
        return "bounded" if self.mode == "outcome" else self.mode

    def clipped(self, part: str, value: float) -> float:
        """A part's value within its clip."""
        low, high = self.clip.get(part, (value, value))
        return min(max(value, low), high)

    @classmethod
    def for_mode(cls, mode: str) -> RewardSettings:
        """The mode's own settings, as conf/rewards has them."""
        if mode not in MODES:
            raise ValueError(f"unknown rewards mode {mode!r}; allowed: {', '.join(MODES)}")
        if mode == "bounded":
            weights = dict.fromkeys(PARTS, 0.15) | {"correctness": 1.0}
            clip = dict.fromkeys(PARTS, (0.0, 1.0)) | {"cot_proximity": (-1.0, 1.0), "correctness": (-1.0, 1.0)}
            return cls(mode, weights, clip, {"copy": 0.3, "repeat": 0.5, "invalid": 0.2})
        if mode == "outcome":
            return cls(mode, dict.fromkeys(PARTS, 0.0) | {"correctness": 1.0}, penalty={"invalid": 0.2})
        return cls(mode, dict.fromkeys(PARTS, 1.0))


@dataclass(frozen=True)
class Reward:
    """A scored episode: every part (None where absent), the total, penalties, and what each sub-question earned.

    ``by_subquestion[i]`` is sub-question i's share of the total, weights and clips applied and its penalties taken
    off; the rest of the total is earned at the end. ``shares[part][i]`` is its share of a part's value, for the
    parts that belong to sub-questions.
    """

    parts: dict[str, float | None]
    total: float
    penalties: dict[str, float]
    by_subquestion: list[float]
    correct: float
    correct_initial: float | None
    error: str | None = None
    shares: dict[str, list[float]] = field(default_factory=dict)


def failed(reason: str) -> Reward:
    """The reward of an episode that could not be scored: no part, no total, the reason."""
    return Reward({}, math.nan, {}, [], 0.0, None, error=reason)


@dataclass(frozen=True)
class Scored:
    """A finished job."""

    job: Job
    episode: Episode
    reward: Reward
