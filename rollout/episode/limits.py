"""What one episode may use: time, and tokens that the solver writes. Reaching a limit ends it under a name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from conf.schema.rollout import Rollout
from rollout.episode.contracts import Prompt, Reply, Role, SolverFailure

Result = TypeVar("Result")


class EpisodeBudget:
    """Time and solver tokens of one episode, from now on. It stands before the solver, as a role: ``ask`` counts."""

    def __init__(self, limits: Rollout, solver: Role) -> None:
        self._limits, self._solver = limits, solver
        self._deadline = asyncio.get_running_loop().time() + limits.episode_timeout_s
        self._written = 0

    async def ask(self, prompt: Prompt, *, purpose: str, sample: int = 0) -> Reply:
        """Return the solver's reply. Raises SolverFailure, also ``episode_tokens`` and ``episode_timeout``."""
        most = self._limits.episode_solver_tokens
        if most is not None and self._written >= most:
            raise SolverFailure("episode_tokens", f"{self._written} solver tokens (rollout.episode_solver_tokens)")
        reply = await self.in_time(self._solver.ask(prompt, purpose=purpose, sample=sample))
        self._written += reply.tokens
        return reply

    async def in_time(self, work: Awaitable[Result]) -> Result:
        """Wait for something of the episode's; raises SolverFailure ``episode_timeout`` when its time is over."""
        try:
            async with asyncio.timeout_at(self._deadline) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            detail = f"not over in {self._limits.episode_timeout_s:g} s (rollout.episode_timeout_s)"
            raise SolverFailure("episode_timeout", detail) from None
