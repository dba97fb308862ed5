"""The learner's ranks as one: every call goes to all of them, together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import ray

from trainer.experience import Experience


class LearnerGroup:
    """Ray actors, one a rank."""

    def __init__(self, ranks: Sequence[Any]) -> None:
        self.ranks = list(ranks)

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

    async def weights(self, batch: Sequence[Experience] = ()) -> tuple[Any, Any, Any]:
        """A reference to the gathered weights, and probe sequences of the batch with their log-probabilities.

        The weights stay in the object store; only the reference comes here.
        """
        gathered = [rank.weights.remote() for rank in self.ranks]
        if not batch:
            return gathered[0], [], []
        probes = [rank.probe.remote(list(batch[:8])) for rank in self.ranks]
        rows, expected = await probes[0]
        await asyncio.gather(*probes[1:])
        return gathered[0], rows, expected

    async def save(self, folder: str) -> None:
        """Write the policy as a Hugging Face folder."""
        await asyncio.gather(*(rank.save.remote(folder) for rank in self.ranks))
