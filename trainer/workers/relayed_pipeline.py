"""The pipeline of a run with many rollout workers: relays collect from them, and have their episodes scored.

Everything else is as without them, and so are the invariants: which jobs there are, who holds them and what is tried
again is known here alone. A relay that dies takes along what it had: its workers are made ready anew, and get their
jobs again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from rewards.reward import sample
from trainer.workers.assignments import Life
from trainer.workers.errors import is_gone
from trainer.workers.pipeline import Pipeline
from trainer.workers.relay import COLLECT_S, Arrivals, Unscored, pause
from trainer.workers.scoring import SCORED_AT_ONCE

# All relays together are asked so often a second.
RELAYS_ASKED_PER_S = 32


@dataclass(eq=False)
class RelayedPipeline(Pipeline):
    """A pipeline with ``relays``, which are ready; the worker with index i is asked by the one with i modulo their
    number."""

    _: KW_ONLY
    relays: Sequence[Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        # Relays give each reward actor a batch as well.
        self.scoring.ahead = SCORED_AT_ONCE
        # Set where a worker may be lost.
        self._lost = [asyncio.Event() for _ in self.workers]
        self._lost_with_relay: set[int] = set()

    def start(self) -> None:
        """Begin to collect from every relay."""
        for index in range(len(self.relays)):
            self._spawn(self._collect_from_relay, index)
        for index in range(len(self.workers)):
            self._spawn(self._keep, index)

    async def reset(self) -> None:
        """Forget every job that was submitted, as a pipeline without relays does; they ask no worker any more when
        these begin anew."""
        await self.stop()
        for index, relay in enumerate(self.relays):
            await self._restarted(relay, f"relay-{index}", self.rewarders)
        self._lost_with_relay.clear()
        await super().reset()

    async def _collect_from_relay(self, index: int) -> None:
        """Take what comes to a relay, for as long as the pipeline runs. Whenever the relay is lost, bring back all its
        workers."""
        relay, name = self.relays[index], f"relay-{index}"
        theirs = range(index, len(self.workers), len(self.relays))
        await self._watch(theirs)
        while True:
            try:
                arrivals = await self._answer(relay.collect.remote(COLLECT_S), name, "say what has come", COLLECT_S)
            except Exception as error:
                if not is_gone(error):
                    raise
                # The workers begin anew only after the process that asked them is gone.
                await self._restarted(relay, name, self.rewarders)
                for worker in theirs:
                    if self._assignments.lives[worker] is Life.RUNNING:
                        self._lost_with_relay.add(worker)
                        self._lose(worker, self._assignments.numbers[worker])
                self.on_restart(f"{name} died; started again, and its {len(theirs)} workers begin their episodes anew")
                continue
            self._arrived(arrivals)
            await asyncio.sleep(pause(len(self.relays), RELAYS_ASKED_PER_S))

    async def _watch(self, workers: Sequence[int]) -> None:
        """Have workers of one relay asked by it, in their present lives. Where it is lost, its own loop will know."""
        index = workers[0] % len(self.relays)
        watched = {worker: (self.workers[worker], self._assignments.numbers[worker]) for worker in workers}
        try:
            await self._answer(self.relays[index].watch.remote(watched), f"relay-{index}", "take up workers")
        except Exception as error:
            if not is_gone(error):
                raise

    async def _keep(self, index: int) -> None:
        """Bring a worker back whenever it is lost, and have its relay ask it again."""
        while True:
            await self._lost[index].wait()
            self._lost[index].clear()
            while self._assignments.lives[index] is not Life.RUNNING:
                await self._bring_back(index)
            await self._watch([index])

    def _lose(self, index: int, number: int) -> None:
        super()._lose(index, number)
        self._lost[index].set()

    def _say_returned(self, index: int) -> None:
        if index in self._lost_with_relay:
            self._lost_with_relay.remove(index)
        else:
            super()._say_returned(index)

    def _arrived(self, arrivals: Arrivals) -> None:
        """Deliver what came scored, and do here what the relay could not."""
        if arrivals.scoring:
            self._last_sign = time.perf_counter()
        taken = self._take(arrivals.outcomes)
        if scored := [sample(job, episode, reward) for job, episode, reward in taken if reward is not None]:
            self._deliver(scored)
        for batch in arrivals.unscored:
            self._spawn(self._score_again, batch)
        for index, number in arrivals.lost:
            self._lose(index, number)

    async def _score_again(self, batch: Unscored) -> None:
        """Score a batch that a reward actor died over, and deliver it."""
        if taken := self._take((index, outcome, None) for index, outcome in batch.outcomes):
            episodes = [episode for _, episode, _ in taken]
            pairs = await self.scoring.score_again(episodes, batch.rewarder, batch.reason)
            self._deliver([sample(job, *pair) for (job, _, _), pair in zip(taken, pairs, strict=True)])
