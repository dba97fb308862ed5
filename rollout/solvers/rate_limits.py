"""Requests and tokens a minute, over a sliding window.

Invariant: within any ``window_s`` no more requests begin, and no more tokens are reserved or used, than allowed.
A request reserves an upper bound of its tokens when it begins and gives back what it did not use. Requests begin
in the order in which they came.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass


@dataclass
class Permit:
    """A request that has begun: when (``time.monotonic``), and its tokens, reserved or used."""

    at: float
    tokens: int


class Paused(Exception):
    """The server lets nothing begin for longer than may be waited; the message says why, and how long."""


class RateLimits:
    """Shared by everybody who uses one account. None is no limit."""

    def __init__(self, requests: int | None, tokens: int | None, window_s: float = 60.0) -> None:
        self.requests, self.tokens, self.window_s = requests, tokens, window_s
        self._begun: deque[Permit] = deque()
        self._resume, self._why = 0.0, ""
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    async def admit(self, tokens: int, longest_pause_s: float = math.inf) -> Permit:
        """Wait until a request of at most ``tokens`` may begin. One that alone exceeds the limit has a window alone.
        Raises Paused as soon as there is a pause that is longer than ``longest_pause_s``."""
        if self.tokens is not None:
            tokens = min(tokens, self.tokens)
        async with self._turn:
            while (wait := self._wait_s(tokens)) > 0:
                if (pause := self._resume - time.monotonic()) > longest_pause_s:
                    raise Paused(f"{self._why}; it asked for a pause that lasts {pause:.0f} s more")
                self._changed.clear()
                # Not wait_for, which may swallow that the caller's own time is up.
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
            permit = Permit(time.monotonic(), tokens)
            self._begun.append(permit)
            return permit

    def settle(self, permit: Permit, tokens: int) -> None:
        """Give back what the request did not use: it used this many tokens."""
        permit.tokens = tokens
        self._changed.set()

    def pause(self, seconds: float, why: str = "") -> None:
        """Let nothing begin for so long; ``why`` is what the server said."""
        if (resume := time.monotonic() + seconds) > self._resume:
            self._resume, self._why = resume, why
            self._changed.set()

    def _wait_s(self, tokens: int) -> float:
        now = time.monotonic()
        while self._begun and self._begun[0].at <= now - self.window_s:
            self._begun.popleft()
        wait = self._resume - now
        if self.requests is not None and len(self._begun) >= self.requests:
            wait = max(wait, self._begun[len(self._begun) - self.requests].at + self.window_s - now)
        if self.tokens is not None:
            over = sum(permit.tokens for permit in self._begun) + tokens - self.tokens
            for permit in self._begun:
                if over <= 0:
                    break
                over -= permit.tokens
                wait = max(wait, permit.at + self.window_s - now)
        return wait
