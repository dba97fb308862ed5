"""The learner's ranks as one: every call goes to all of them, together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import ray

from rollout.weights import Update
from trainer.experience import Experience


class LearnerGroup:
    """Ray actors, one a rank."""

    def __init__(self, ranks: Sequence[Any], workers: Sequence[Any] = (), transport: str = "object_store") -> None:
        self.ranks = list(ranks)
        self._workers = list(workers)
        self._nccl = transport == "nccl"
        self._open = False

    async def connect(self) -> list[int]:
        """Bring the ranks together; their process ids."""
        host, port = await self.ranks[0].address.remote()
        return list(await asyncio.gather(*(rank.connect.remote(host, port) for rank in self.ranks)))

    async def setup(self, path: str, stage: str) -> None:
        """Load a model folder on every rank for a stage."""
        await asyncio.gather(*(rank.setup.remote(path, stage) for rank in self.ranks))

    async def sft_step(self, rows: Sequence[tuple[str, str]], decay: float) -> dict[str, float]:
        """One step of stage 1 at ``decay`` times the learning rate; the first rank's metrics, which are of all."""
        parts = [rows[rank :: len(self.ranks)] for rank in range(len(self.ranks))]
        calls = [rank.sft_step.remote(part, decay) for rank, part in zip(self.ranks, parts, strict=True)]
        return dict((await asyncio.gather(*calls))[0])

    async def train_step(self, batch: Sequence[Experience]) -> dict[str, float]:
        """One PPO step on a batch, of which every rank takes its share; metrics of the whole batch."""
        whole = ray.put(list(batch))
        calls = [rank.train_step.remote(whole) for rank in self.ranks]
        return dict((await asyncio.gather(*calls))[0])

    async def weights(self, batch: Sequence[Experience] = ()) -> tuple[Update, Any, Any]:
        """The policy on its way, and probe sequences of the batch with their log-probabilities.

        With the object store the weights lie there, to be loaded by whoever is given the update; with NCCL every
        rollout worker has loaded them.
        """
        update = await (self._send() if self._nccl else self._gather())
        if not batch:
            return update, [], []
        probes = [rank.probe.remote(list(batch[:8])) for rank in self.ranks]
        rows, expected = await probes[0]
        await asyncio.gather(*probes[1:])
        return update, rows, expected

    async def refill(self) -> Update:
        """The whole policy in the object store, for a worker that is back and has no part in the NCCL group. That is
        formed anew for the next push."""
        self._open = False
        return await self._gather(whole=True)

    async def _gather(self, whole: bool = False) -> Update:
        updates: list[Update] = await asyncio.gather(*(rank.gather.remote(whole=whole) for rank in self.ranks))
        return updates[0]

    async def _send(self) -> Update:
        if not self._open:
            host, port = await self.ranks[0].address.remote()
            calls = [rank.open_channel.remote(self._workers, host, port) for rank in self.ranks]
            await asyncio.gather(*calls)
            self._open = True
        updates: list[Update] = await asyncio.gather(*(rank.send.remote() for rank in self.ranks))
        return updates[0]

    async def save(self, folder: str) -> None:
        """Write the policy as a Hugging Face folder."""
        await asyncio.gather(*(rank.save.remote(folder) for rank in self.ranks))
