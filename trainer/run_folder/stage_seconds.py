"""Seconds of the stages of a run, counted while they go on."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


class StageSeconds(dict[str, float]):
    """Seconds by the name of a stage; the one under way has those up to the last ``count``."""

    def __init__(self) -> None:
        super().__init__()
        self._under_way = ("", 0.0)

    async def timed(self, name: str, work: Awaitable[Result]) -> Result:
        """Wait for a part of the run, and count its seconds under a name."""
        self._under_way = name, time.perf_counter()
        try:
            return await work
        finally:
            self.count()
            self._under_way = "", 0.0

    def count(self) -> None:
        """Add what the part under way has taken since it was last counted, as a checkpoint within it has to."""
        name, since = self._under_way
        if name:
            now = time.perf_counter()
            self[name] = round(self.get(name, 0.0) + now - since, 1)
            self._under_way = name, now
