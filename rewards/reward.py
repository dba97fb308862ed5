"""The reward of an episode, and the value of one of its parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from rollout.jobs import Job
from rollout.records import Episode, EpisodeFacts, PackedEpisode

# Measured of every decomposition and no part of the total; shown wherever the parts are.
MEASURES = {
    "given": "share of sub-questions that hand over a value which only solving the problem gives",
    "gives_answer": "decompositions that hand over the gold answer",
}


@dataclass(frozen=True)
class Part:
    """One part's value (None if absent), and each sub-question's share if the part has shares."""

    value: float | None
    by_subquestion: list[float] | None


@dataclass(frozen=True)
class Reward:
    """A scored episode: every part (None if absent), the total, the penalties, and what each sub-question earned.

    ``by_subquestion[i]`` is sub-question i's share of the total, with weights and clips applied and its penalties
    subtracted; the rest of the total is earned at the end. ``measures`` say what the sub-questions hand over
    (``rewards.leak``). They are not in the total, and are empty if there is no decomposition. ``shares[part][i]`` is
    sub-question i's share of a part's value, for the parts that are divided among sub-questions. ``by_call[k]`` is the
    turn reward of policy call k (empty: none); the total holds their sum. ``counts`` say how the episode
    went, by name (``rewards.counts``).
    """

    parts: dict[str, float | None]
    total: float
    penalties: dict[str, float]
    by_subquestion: list[float]
    correct: float
    correct_initial: float | None
    error: str | None = None
    measures: dict[str, float] = field(default_factory=dict)
    shares: dict[str, list[float]] = field(default_factory=dict)
    by_call: list[float] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)


def mean_measures(rewards: Sequence[Reward]) -> dict[str, float]:
    """Return the mean of every measure over the rewards that have it."""
    columns = {name: [one.measures[name] for one in rewards if name in one.measures] for name in MEASURES}
    return {name: fmean(values) for name, values in columns.items() if values}


def failed(reason: str) -> Reward:
    """Return the reward of an episode that could not be scored: no parts, no total, only the reason."""
    return Reward({}, math.nan, {}, [], 0.0, None, error=reason)


@dataclass(frozen=True)
class Scored:
    """A finished job: its episode and the episode's reward."""

    job: Job
    episode: Episode
    reward: Reward

    @property
    def facts(self) -> EpisodeFacts:
        """What the controller needs to know of the episode."""
        return self.episode.facts

    def open(self) -> Scored:
        """Return it as it is."""
        return self


@dataclass(frozen=True)
class PackedScored:
    """A finished job whose episode is packed. Every look at ``episode`` opens it anew."""

    job: Job
    packed: PackedEpisode
    reward: Reward

    @property
    def facts(self) -> EpisodeFacts:
        """What the controller needs to know of the episode."""
        return self.packed.facts

    @property
    def episode(self) -> Episode:
        """The episode, opened."""
        return self.packed.open()

    def open(self) -> Scored:
        """Return it with its episode open."""
        return Scored(self.job, self.episode, self.reward)


# A finished job as the controller has it: packed as it came from the actors, or open as it was read from a file.
Sample = Scored | PackedScored


def sample(job: Job, episode: Episode | PackedEpisode, reward: Reward) -> Sample:
    """Return a finished job, packed if its episode is."""
    return PackedScored(job, episode, reward) if isinstance(episode, PackedEpisode) else Scored(job, episode, reward)
