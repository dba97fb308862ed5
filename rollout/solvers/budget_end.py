"""The end of a budget: as it comes near, fewer and fewer episodes are in flight, so that little is spent beyond it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class BudgetEnd:
    """Holds a worker's episodes back. ``left`` tells the share of the budget that is left, None before the first reply.

    All that was used since the first reply is taken for what this worker's episodes cost, those in flight counted half.
    With several workers that is more than theirs, and what theirs in flight will cost then stands for all in flight:
    the workers have alike ones.
    """

    def __init__(self, left: Callable[[], float | None]) -> None:
        self._left = left
        self._at_first: float | None = None
        self._running = self._finished = 0
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def episode(self, *, ahead: bool = False) -> AsyncIterator[None]:
        """Wait until one more episode may be in flight, and count it; one that goes ``ahead`` does not wait."""
        while not ahead and not self._room():
            self._ended.clear()
            await self._ended.wait()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._finished += 1
            self._ended.set()

    def _room(self) -> bool:
        """Return whether what is in flight and one more would cost no more than is left, had they all just begun. One
        alone may run until nothing is."""
        left = self._left()
        if left is None or left <= 0 or not self._running:  # nothing begins once nothing is left
            return True
        if self._at_first is None:
            self._at_first = left
        each = (self._at_first - left) / (self._finished + self._running / 2)
        return (self._running + 1) * each <= left
