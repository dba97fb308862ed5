"""The buffer between rollouts and learner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rewards.reward import Scored


class Buffer:
    """Scored groups that wait, oldest admission first."""

    def __init__(self) -> None:
        self._items: dict[int, list[Scored]] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def groups(self) -> list[list[Scored]]:
        """What waits, oldest first."""
        return [self._items[key] for key in sorted(self._items)]

    def add(self, group: list[Scored]) -> None:
        """Put one in."""
        self._items[group[0].job.id] = group
        self._changed.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._changed.set()

    async def take(
        self, count: int, refuse: Callable[[list[Scored]], bool]
    ) -> tuple[list[list[Scored]], list[list[Scored]]]:
        """Wait until ``count`` groups are there that need not be refused; those, and the refused ones so far.
        Neither, once the buffer is closed and holds too few."""
        refused: list[list[Scored]] = []
        while True:
            for key in [key for key, item in self._items.items() if refuse(item)]:
                refused.append(self._items.pop(key))
            if refused or len(self._items) >= count:
                break
            if self._closed:
                return [], []
            self._changed.clear()
            await self._changed.wait()
        if refused:
            return [], refused
        return [self._items.pop(key) for key in sorted(self._items)[:count]], []
