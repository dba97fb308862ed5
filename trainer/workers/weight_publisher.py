"""Weights out to the rollout workers: every worker gets the newest version, one load at a time.

Invariants: a worker's version is what it acknowledged; a worker that is slow, or comes back, gets the newest version
next, whatever it missed; a version that is overtaken before its load began is never sent; what is answered after
``forget`` to a call from before it counts for nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from rollout.engine.weight_update import Gap, Loaded, Update
from rollout.jobs import NotReady
from trainer.workers.errors import WaitTimeout, answer, is_gone, is_lost

# How often one load may ask the learner for weights: they went another way, and then their owner died.
REFILLS = 2


@dataclass
class Push:
    """The outcome of one push: seconds until every worker had acknowledged it or a newer one, and of the workers that
    loaded it the largest gap of log-probabilities known by then, mean pause and bytes received. Proofs come later."""

    version: int
    seconds: float
    gap: float
    pause: float
    mib: float
    loads: list[Loaded] = field(default_factory=list)
    proofs: list[asyncio.Task[Gap | None]] = field(default_factory=list)

    async def proven(self) -> Gap | None:
        """Wait for the proofs; return the largest gap of all workers, and the mean; None if none was proven."""
        found = [gap for gap in await asyncio.gather(*self.proofs) if gap is not None]
        return Gap(max(gap.largest for gap in found), fmean(gap.mean for gap in found)) if found else None


async def _nothing_to_refill() -> Update:
    raise RuntimeError("weights were lost, or went over NCCL, and there is no learner to ask for them")


class Publisher:
    """The way of published weights to every worker."""

    def __init__(self, workers: Sequence[Any], log_folder: Path, wait_timeout_s: float) -> None:
        self._workers = list(workers)
        self._log_folder = log_folder
        self._wait_timeout_s = wait_timeout_s
        self._locks = [asyncio.Lock() for _ in workers]
        self._newest: tuple[int, Update, Any, Any] | None = None
        # Goes up with ``forget``: a push that failed leaves loads on other workers under way.
        self._generation = 0
        self._has = [0] * len(self._workers)
        self.versions = [0] * len(self._workers)
        # The whole policy through the object store, for a worker that came back after weights went another way, or that
        # found them lost.
        self.refill: Callable[[], Awaitable[Update]] = _nothing_to_refill

    async def publish(self, update: Update, probe: Any = (), expected: Any = ()) -> Push:
        """Have every worker load the update and prove it on the probe sequences. Returns once each has it, or a newer
        one, or is gone: then it gets the newest from ``catch_up``. The proofs may still wait in the engines, behind
        what is generated. Raises WaitTimeout, WeightMismatch, and what ``refill`` raises."""
        started = time.perf_counter()
        number = self._newest[0] + 1 if self._newest else 1
        self._newest = (number, update, probe, expected)
        turns = (self._deliver(index, number, self._generation) for index in range(len(self._workers)))
        replies = await asyncio.gather(*turns)
        loads = [loaded for loaded in replies if loaded is not None]
        proofs = [
            asyncio.create_task(self._proof(index, loaded.version))
            for index, loaded in enumerate(replies)
            if loaded is not None and probe
        ]
        count = max(1, len(loads))
        return Push(
            update.version,
            time.perf_counter() - started,
            max((loaded.gap for loaded in loads), default=0.0),
            sum(loaded.pause_s for loaded in loads) / count,
            sum(loaded.nbytes for loaded in loads) / count / 2**20,
            loads,
            proofs,
        )

    def forget(self) -> None:
        """Forget what was published and what the workers have: versions that are published next may be older."""
        self._newest = None
        self._generation += 1
        self._has = [0] * len(self._workers)
        self.versions = [0] * len(self._workers)

    async def catch_up(self, index: int) -> bool:
        """Bring a worker that was restarted to the newest version; return False if nothing was published yet. Raises
        NotReady if it dies once more, WaitTimeout, WeightMismatch, and what ``refill`` raises."""
        if self._newest is None:
            return False
        async with self._locks[index]:
            # Whatever the process before had.
            self._has[index] = 0
            await self._load(index)
            if not self._has[index]:
                raise NotReady(f"rollout-{index} died while it loaded")
        return True

    async def _deliver(self, index: int, number: int, generation: int) -> Loaded | None:
        """Have a worker load the newest update, if by its turn it has not reached ``number`` and nothing was
        forgotten."""
        async with self._locks[index]:
            needed = generation == self._generation and self._has[index] < number
            return await self._load(index) if needed else None

    async def _load(self, index: int) -> Loaded | None:
        """Have a worker load the newest update; None if its process is gone, or the update is forgotten by then.
        Weights that are not to be had are asked of the learner: if they were lost because it died, that is what it
        answers."""
        assert self._newest is not None
        newest, update, *proof = self._newest
        generation, refills = self._generation, 0
        while True:
            try:
                loaded = await self._answer(index, update, *proof)
            except Exception as error:
                if is_gone(error):
                    return None
                if not is_lost(error) or refills == REFILLS:
                    raise
                loaded = Loaded(-1)
            if generation != self._generation:
                return None
            if loaded.version == update.version:
                self._has[index], self.versions[index] = newest, loaded.version
                return loaded
            update, proof = await self.refill(), []
            refills += 1

    async def _proof(self, index: int, version: int) -> Gap | None:
        """Return a worker's proof; None if its process is gone, or too busy: a push that is loaded ends no run."""
        call = self._workers[index].proof.remote(version)
        try:
            gap: Gap | None = await answer(
                call, f"rollout-{index}", f"prove version {version}", self._wait_timeout_s, self._log_folder
            )
        except WaitTimeout:
            return None
        except Exception as error:
            if not is_gone(error):
                raise
            return None
        return gap

    def _answer(self, index: int, update: Update, *proof: Any) -> Awaitable[Loaded]:
        call, what = self._workers[index].load_weights.remote(update, *proof), f"load version {update.version}"
        return answer(call, f"rollout-{index}", what, self._wait_timeout_s, self._log_folder)
