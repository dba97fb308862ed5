"""The relay: an actor that asks many rollout workers for finished episodes and has them scored, where that would be too
many calls for the driver. It runs beside the driver, which asks a few relays in place of all workers.

Invariant: an outcome that a worker handed out is in the answer to one ``collect``: scored, or with the reason why it
could not be. A relay that dies takes along what it has; the driver then makes all its workers ready anew, so that they
run their jobs again.

It knows neither jobs nor retries. What it cannot do as usual, it reports: a worker whose process is gone is not asked
again until ``watch`` names a later life of it, and a batch that ended its reward actor's process is the driver's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rewards.reward import Reward
from rollout.actor_log import actor_log
from rollout.jobs import NotReady, Outcome
from trainer.workers.errors import answer, is_gone, restarted
from trainer.workers.scoring import SCORED_AT_ONCE, score_with

COLLECT_S = 5.0
# Whoever collects asks all its workers together so often a second; each at least as often as the longest pause allows.
COLLECTIONS_PER_S = 128
LONGEST_PAUSE_S = 1.0
# Up to so many workers are asked by the driver itself.
WORKERS_A_RELAY = 32


def pause(asked: int, per_second: int = COLLECTIONS_PER_S) -> float:
    """Return the seconds between two calls to one of so many actors, all of which are asked in turn."""
    return min(asked / per_second, LONGEST_PAUSE_S)


def relay_count(workers: int, rewarders: int) -> int:
    """Return the number of relays for so many rollout workers; each has reward actors of its own."""
    return 0 if workers <= WORKERS_A_RELAY else min(-(-workers // WORKERS_A_RELAY), rewarders)


@dataclass(frozen=True)
class Unscored:
    """A batch whose reward actor, by its index, died over it or hung; the outcomes with their workers."""

    rewarder: int
    reason: str
    outcomes: list[tuple[int, Outcome]]


@dataclass(frozen=True)
class Arrivals:
    """Everything since the last answer: outcomes with their workers, and with their rewards if they have an episode;
    and workers whose processes are gone, each with the number of that life. ``scoring``: more is being scored."""

    outcomes: list[tuple[int, Outcome, Reward | None]] = field(default_factory=list)
    unscored: list[Unscored] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    scoring: bool = False


class _Watch:
    """The state between one ``ready`` and the next."""

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self.arrived, self.over = asyncio.Event(), False
        self.unscored: asyncio.Queue[tuple[int, Outcome]] = asyncio.Queue()
        self.workers: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        self.named: dict[int, asyncio.Event] = {}
        self.collecting: set[asyncio.Task[None]] = set()
        self.scoring: set[asyncio.Task[None]] = set()
        self.error: Exception | None = None
        # Reward actors that are at work, or started again.
        self.scored_now = 0


class Relay:
    """One of ``count`` relays, which share the reward actors among them."""

    def __init__(
        self, index: int, count: int, log_folder: str, wait_timeout_s: float, start_timeout_s: float,
        episode_seconds: float,
    ) -> None:  # fmt: skip
        actor_log(log_folder, f"relay-{index}")
        self.index, self.count, self.log_folder = index, count, Path(log_folder)
        self.wait_timeout_s, self.start_timeout_s = wait_timeout_s, start_timeout_s
        self.episode_seconds = episode_seconds
        self._watching: _Watch | None = None

    async def ready(self, rewarders: Sequence[Any]) -> int:
        """Take up the reward actors, with no worker to ask: what was before is forgotten. Returns, once no call to a
        worker is under way, the process id."""
        if self._watching is not None:
            await self._end(self._watching)
        watching = self._watching = _Watch()
        for index in range(self.index, len(rewarders), self.count):
            self._spawn(watching, watching.scoring, self._score(watching, index, rewarders[index]))
        return os.getpid()

    async def watch(self, workers: Mapping[int, tuple[Any, int]]) -> None:
        """Ask these workers for finished episodes from now on: of each its actor and the number of its life. Raises
        NotReady."""
        watching = self._begun()
        for index, (worker, number) in workers.items():
            watching.numbers[index] = number
            if index in watching.workers:
                watching.named[index].set()
            else:
                watching.workers[index], watching.named[index] = worker, asyncio.Event()
                self._spawn(watching, watching.collecting, self._collect(watching, index))

    async def collect(self, wait_s: float) -> Arrivals:
        """Return what has come since the last call; wait up to ``wait_s`` for something. Raises NotReady, and
        WaitTimeout if a worker does not answer."""
        watching = self._begun()
        try:
            async with asyncio.timeout(wait_s):
                await watching.arrived.wait()
        except TimeoutError:
            return Arrivals(scoring=watching.scored_now > 0)
        if watching.error is not None:
            raise watching.error
        watching.arrived.clear()
        arrivals, watching.arrivals = watching.arrivals, Arrivals()
        return replace(arrivals, scoring=watching.scored_now > 0)

    def _begun(self) -> _Watch:
        if self._watching is None:
            raise NotReady("this process was started again and has not been told to begin")
        return self._watching

    def _spawn(self, watching: _Watch, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if isinstance(error, Exception):
                watching.error = error
                watching.arrived.set()

        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(ended)

    async def _end(self, watching: _Watch) -> None:
        """End all that goes on. A call to a worker is waited for: one that reached it only after its own ``ready``
        would take what is for another."""
        watching.over = True
        for named in watching.named.values():
            named.set()
        for task in watching.scoring:
            task.cancel()
        tasks = watching.collecting | watching.scoring
        if tasks:
            await asyncio.wait(tasks)

    async def _collect(self, watching: _Watch, index: int) -> None:
        """Take outcomes from one worker; report it whenever it was lost, and wait for its next life."""
        worker, named = watching.workers[index], watching.named[index]
        while not watching.over:
            number = watching.numbers[index]
            try:
                outcomes: list[Outcome] = await answer(
                    worker.collect.remote(COLLECT_S), f"rollout-{index}", "say what is done",
                    self.wait_timeout_s + COLLECT_S, self.log_folder,
                )  # fmt: skip
            except Exception as error:
                if not is_gone(error):
                    raise
                watching.arrivals.lost.append((index, number))
                watching.arrived.set()
                while watching.numbers[index] == number and not watching.over:
                    named.clear()
                    await named.wait()
                continue
            self._sort(watching, index, outcomes)
            if outcomes:
                await asyncio.sleep(pause(len(watching.workers)))

    def _sort(self, watching: _Watch, index: int, outcomes: Sequence[Outcome]) -> None:
        """Keep what failed for the driver, and the rest to be scored."""
        for outcome in outcomes:
            if outcome.episode is None:
                watching.arrivals.outcomes.append((index, outcome, None))
                watching.arrived.set()
            else:
                watching.unscored.put_nowait((index, outcome))

    async def _score(self, watching: _Watch, index: int, rewarder: Any) -> None:
        """Have a reward actor score what waits, a batch after the other."""
        name = f"reward-{index}"
        while True:
            batch = [await watching.unscored.get()]
            while not watching.unscored.empty() and len(batch) < SCORED_AT_ONCE:
                batch.append(watching.unscored.get_nowait())
            episodes = [outcome.episode for _, outcome in batch if outcome.episode is not None]
            # The driver may have it score a batch, too, that could not be scored here.
            watching.scored_now += 1
            found = await score_with(rewarder, name, episodes, self.episode_seconds, SCORED_AT_ONCE)
            watching.arrived.set()
            if isinstance(found, str):
                watching.arrivals.unscored.append(Unscored(index, found, batch))
                await restarted(rewarder, name, self.start_timeout_s, self.log_folder)
                watching.scored_now -= 1
                continue
            watching.scored_now -= 1
            watching.arrivals.outcomes.extend(
                (worker, Outcome(outcome.job, episode), reward)
                for (worker, outcome), (episode, reward) in zip(batch, found, strict=True)
            )
