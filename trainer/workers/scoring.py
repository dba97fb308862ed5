"""Have episodes scored by the reward actors, a batch a call, with a limit for each.

Invariant: every episode gets a reward. If a batch ends or hangs its actor's process, each of its episodes is scored
alone, in a new one; the one that does it again gets an error as its reward, and no other does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError

from rewards.reward import Reward, Sample, failed, sample
from rollout.jobs import Job
from rollout.records import Episode, PackedEpisode
from trainer.workers.errors import restarted

SCORED_AT_ONCE = 16
AnyEpisode = Episode | PackedEpisode
Pair = tuple[AnyEpisode, Reward]


async def score_with(
    rewarder: Any, name: str, episodes: Sequence[AnyEpisode], episode_seconds: float, ahead: int = 0
) -> list[Pair] | str:
    """Have a reward actor score episodes, behind up to ``ahead`` others; return why if its process ended, or hung and
    was ended."""
    try:
        # The actor has a limit an episode of its own; this one is for a process that no longer obeys it.
        async with asyncio.timeout((len(episodes) + ahead + 2) * episode_seconds):
            return list(await rewarder.score.remote(list(episodes)))
    except TimeoutError:
        ray.kill(rewarder, no_restart=False)
        return f"{name} did not answer within {episode_seconds:g} s an episode and was ended"
    except (RayActorError, ObjectLostError) as error:
        return f"{name} died ({type(error).__name__})"


@dataclass(eq=False)
class Scoring:
    """The reward actors as one. ``counts`` has calls that were repeated; ``say`` is told in a line when an actor was
    started again. Others, too, may have each score up to ``ahead`` episodes at once."""

    rewarders: Sequence[Any]
    log_folder: Path
    start_timeout_s: float
    episode_seconds: float
    counts: dict[str, int]
    say: Callable[[str], Any]
    ahead: int = 0

    def __post_init__(self) -> None:
        self._waiting: deque[tuple[Job, AnyEpisode]] = deque()
        self._free = asyncio.Semaphore(max(1, len(self.rewarders)))
        # How many batches each is scoring.
        self._running = [0] * len(self.rewarders)
        self._processes: dict[int, int] = {}  # of those that died, by index: the process id since then

    def forget(self) -> None:
        """Forget the episodes that wait."""
        self._waiting.clear()

    async def add(self, episodes: Sequence[tuple[Job, AnyEpisode]], deliver: Callable[[list[Sample]], object]) -> None:
        """Have episodes scored, and ``deliver`` called with each batch. What comes while all actors are at work is
        scored together."""
        self._waiting += episodes
        while self._waiting:
            async with self._free:
                # Those before this one may have taken them.
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), SCORED_AT_ONCE))]
                if batch:
                    pairs = await self.score([episode for _, episode in batch])
                    deliver([sample(job, *pair) for (job, _), pair in zip(batch, pairs, strict=True)])

    async def score(self, episodes: Sequence[AnyEpisode], tries: int = 2) -> list[Pair]:
        """Score episodes together, where least is being scored."""
        index = min(range(len(self.rewarders)), key=self._running.__getitem__)
        self._running[index] += 1
        try:
            found = await score_with(
                self.rewarders[index], f"reward-{index}", episodes, self.episode_seconds, self.ahead
            )
            if not isinstance(found, str):
                return found
            await self._renewed(index, found)
        finally:
            self._running[index] -= 1
        return await self._again(episodes, found, tries)

    async def score_again(self, episodes: Sequence[AnyEpisode], index: int, reason: str) -> list[Pair]:
        """Score the episodes of a batch that a reward actor was given by others, once there is a new process of it:
        ``reason`` says what became of the one before."""
        await self._renewed(index, reason)
        return await self._again(episodes, reason, 2)

    async def _again(self, episodes: Sequence[AnyEpisode], reason: str, tries: int) -> list[Pair]:
        """Score the episodes of a failed batch, each alone; one that was alone and has no tries left gets an error."""
        if len(episodes) > 1:
            return [pair for episode in episodes for pair in await self.score([episode], tries)]
        if tries > 1:
            return await self.score(episodes, tries - 1)
        return [(episodes[0], failed(reason))]

    async def _renewed(self, index: int, reason: str) -> None:
        """Wait for the new process of a reward actor. Several batches are with a process when it dies: each is scored
        again, and one of them says so."""
        self.counts["reward_retries"] += 1
        process = await restarted(self.rewarders[index], f"reward-{index}", self.start_timeout_s, self.log_folder)
        if self._processes.get(index) != process:
            self._processes[index] = process
            self.say(f"{reason}; started again")
