"""Recorded episodes in place of generated ones: no engine, solver or reward actor is needed.

Invariant: the job with id i comes back as the i-th episode of the file, whatever it asked for, so that the learner
meets the recorded episodes in their order. Everything after the rollout is the real thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from conf.schema.config import Config
from rewards.reward import Scored
from rollout.engine.weight_update import Update
from rollout.jobs import Job
from rollout.records import Problem, RecordError
from trainer.workers.pipeline import TRAINING, Pipeline
from trainer.workers.scored_episode_json import read_scored
from trainer.workers.weight_publisher import Push


class Replay(Pipeline):
    """A pipeline without workers, whose episodes are there already."""

    def __init__(self, episodes: Sequence[Scored], wait_timeout_s: float) -> None:
        super().__init__([], [], [], Path(), wait_timeout_s, max_tries=1)
        self._episodes = episodes
        self._version = 0

    @property
    def version(self) -> int:
        """The version published last."""
        return self._version

    def problems(self, group_size: int) -> Iterator[Problem]:
        """Return the recorded problems, one a group."""
        return (item.job.problem for item in self._episodes[::group_size])

    async def submit(self, jobs: Sequence[Job]) -> None:
        """Have the recorded episodes of these ids come out."""
        found = [(job.id, self._episodes[job.id]) for job in jobs]
        self._done[TRAINING].put_nowait([replace(item, job=replace(item.job, id=number)) for number, item in found])

    async def publish(self, weights: Update, probe: Any = (), expected: Any = ()) -> Push:
        """Note the version: nobody generates, so it alone counts."""
        self._version = weights.version
        return Push(weights.version, 0.0, 0.0, 0.0, 0.0)


def read_recording(path: Path, config: Config) -> list[Scored]:
    """Return the episodes that a run with this configuration trains on, from a file that ``rollout.record`` wrote.

    Raises RecordError if there are too few, or if they were not sampled by the weights that the bound allows.
    """
    algorithm, bound = config.algorithm, config.controller.max_staleness
    episodes = read_scored(path)
    needed = algorithm.steps * algorithm.batch_size
    if len(episodes) < needed:
        raise RecordError(
            f"rollout.replay: {path} holds {len(episodes)} episodes; algorithm.steps times algorithm.batch_size asks "
            f"for {needed}"
        )
    for index, item in enumerate(episodes[:needed]):
        version = index // algorithm.batch_size
        first = index - index % algorithm.group_size
        if item.job.problem.id != episodes[first].job.problem.id:
            raise RecordError(
                f"rollout.replay: {path}, line {index + 1} is of another problem than line {first + 1}; "
                "algorithm.group_size must be that of the recorded run"
            )
        sampled = item.episode.token_versions
        if max(sampled) > version or version - min(sampled) > bound:
            raise RecordError(
                f"rollout.replay: {path}, line {index + 1} was sampled by weight versions {min(sampled)} to "
                f"{max(sampled)} and would be trained on at version {version}; algorithm.batch_size and "
                f"controller.max_staleness (now {bound}) must be those of the recorded run"
            )
    return episodes
