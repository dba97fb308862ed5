"""Weights out to the rollout workers: every worker gets the newest version, one load at a time.

Invariants: a worker's version is what it acknowledged; a worker that is slow, or comes back, gets the newest version
next, whatever it missed; a version that is overtaken before its load began is never sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.exceptions import RayActorError

from rollout.engine.weight_update import Loaded, Update
from trainer.workers.errors import WaitTimeout, log_tail


@dataclass
class Push:
    """The outcome of one push: seconds until every worker had acknowledged it or a newer one, and of the workers that
    loaded it the largest gap of log-probabilities, mean pause and bytes received."""

    version: int
    seconds: float
    gap: float
    pause: float
    mib: float
    loads: list[Loaded] = field(default_factory=list)


async def _nothing_to_refill() -> Update:
    raise RuntimeError("weights that went over NCCL were lost, and there is no learner to ask for them")


class Publisher:
    """The way of published weights to every worker."""

    def __init__(self, workers: Sequence[Any], log_folder: Path, wait_timeout_s: float) -> None:
        self._workers = list(workers)
        self._log_folder = log_folder
        self._wait_timeout_s = wait_timeout_s
        self._locks = [asyncio.Lock() for _ in workers]
        self._newest: tuple[int, Update, Any, Any] | None = None
        self._has = [0] * len(self._workers)
        self.versions = [0] * len(self._workers)
        # The whole policy through the object store, for a worker that came back after weights went another way.
        self.refill: Callable[[], Awaitable[Update]] = _nothing_to_refill

    async def publish(self, update: Update, probe: Any = (), expected: Any = ()) -> Push:
        """Have every worker load the update and prove it on the probe sequences. Returns once each has it, or a newer
        one, or is gone: then it gets the newest from ``catch_up``. Raises WaitTimeout, WeightMismatch."""
        started = time.perf_counter()
        number = self._newest[0] + 1 if self._newest else 1
        self._newest = (number, update, probe, expected)
        replies = await asyncio.gather(*(self._deliver(index, number) for index in range(len(self._workers))))
        loads = [loaded for loaded in replies if loaded is not None]
        count = max(1, len(loads))
        return Push(
            update.version,
            time.perf_counter() - started,
            max((loaded.gap for loaded in loads), default=0.0),
            sum(loaded.pause_s for loaded in loads) / count,
            sum(loaded.nbytes for loaded in loads) / count / 2**20,
            loads,
        )

    def forget(self) -> None:
        """Forget what was published and what the workers have: versions that are published next may be older."""
        self._newest = None
        self._has = [0] * len(self._workers)
        self.versions = [0] * len(self._workers)

    async def catch_up(self, index: int) -> bool:
        """Bring a worker that was restarted to the newest version; return False if nothing was published yet."""
        if self._newest is None:
            return False
        self._has[index] = 0
        await self._deliver(index, self._newest[0])
        return True

    async def _deliver(self, index: int, number: int) -> Loaded | None:
        """Have a worker load the newest update, if it has not reached ``number`` by its turn."""
        async with self._locks[index]:
            if self._has[index] >= number:
                return None
            assert self._newest is not None
            newest, update, probe, expected = self._newest
            name = f"rollout-{index}"
            try:
                async with asyncio.timeout(self._wait_timeout_s):
                    loaded: Loaded = await self._workers[index].load_weights.remote(update, probe, expected)
                    if loaded.version != update.version:
                        update = await self.refill()
                        loaded = await self._workers[index].load_weights.remote(update)
            except RayActorError:
                return None
            except TimeoutError:
                raise WaitTimeout(
                    f"{name} did not load version {update.version} in {self._wait_timeout_s:g} s; the end of its "
                    f"log:\n{log_tail(self._log_folder, name)}"
                ) from None
            self._has[index], self.versions[index] = newest, loaded.version
            return loaded
