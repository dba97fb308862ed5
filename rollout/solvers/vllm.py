"""The frozen solver on vLLM: a pool of engines, each a Ray actor, shared by all rollout workers.

A rollout worker's client gathers the prompts that its episodes put within a few milliseconds of each other
into one actor call, since a call costs about as much as a token of a small model.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import traceback
from dataclasses import dataclass
from typing import Any

import ray

from rollout.engine import Engine, EngineError, EngineSettings, PromptTooLong, Sampling
from rollout.logs import actor_log
from rollout.strategies.base import Reply, SolverFailure


@dataclass(frozen=True)
class SolverSettings:
    """Engine and limits. ``stop`` by purpose; ``timeout_s`` is the limit of one reply."""

    engine: EngineSettings
    max_tokens: dict[str, int]
    stop: dict[str, tuple[str, ...]]
    temperature: float = 0.0
    timeout_s: float = 120.0

    def sampling(self, purpose: str) -> Sampling:
        """How a reply to this purpose is sampled."""
        return Sampling(self.max_tokens[purpose], self.temperature, self.stop[purpose])


class EngineSolver:
    """A solver over an engine of this process."""

    def __init__(self, settings: SolverSettings) -> None:
        self.settings = settings
        self.engine = Engine(settings.engine)
        self.engine.start()

    async def ask(self, prompt: str, *, purpose: str) -> Reply:
        """Answer one prompt; raises SolverFailure."""
        sampling = self.settings.sampling(purpose)
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                generation = await self.engine.generate(prompt, sampling)
        except PromptTooLong as error:
            raise SolverFailure("prompt_too_long", str(error)) from None
        except TimeoutError:
            raise SolverFailure("solver_timeout", f"no reply in {self.settings.timeout_s:g} s") from None
        return Reply(generation.text.strip(), len(generation.token_ids))


@ray.remote
class SolverActor:
    """One frozen engine of the pool."""

    def __init__(self, settings: SolverSettings, index: int, log_folder: str) -> None:
        actor_log(log_folder, f"solver-{index}")
        self.solver = EngineSolver(settings)

    async def ready(self) -> int:
        """Return once the model is loaded; the process id."""
        return os.getpid()

    async def ask_many(self, prompts: list[str], purposes: list[str]) -> list[tuple[str, str, int]]:
        """Answer prompts at once: ``(outcome, text, tokens)`` each, outcome ``ok`` or a failure's name."""
        return await asyncio.gather(*(self._ask(*pair) for pair in zip(prompts, purposes, strict=True)))

    async def _ask(self, prompt: str, purpose: str) -> tuple[str, str, int]:
        try:
            reply = await self.solver.ask(prompt, purpose=purpose)
        except SolverFailure as failure:
            return failure.outcome, "", 0
        except EngineError:
            traceback.print_exc()
            os._exit(1)  # Ray starts a new process and asks again
        return "ok", reply.text, reply.tokens


class SolverClient:
    """A rollout worker's view of the pool: ``ask`` one prompt, sent together with its neighbours."""

    def __init__(self, actors: list[Any], window_s: float = 0.004) -> None:
        self._actors = itertools.cycle(actors)
        self._window_s = window_s
        self._waiting: list[tuple[str, str, asyncio.Future[tuple[str, str, int]]]] = []
        self._sends: set[asyncio.Task[None]] = set()

    async def ask(self, prompt: str, *, purpose: str) -> Reply:
        """Answer one prompt; raises SolverFailure, or the Ray error of a dead actor."""
        future: asyncio.Future[tuple[str, str, int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((prompt, purpose, future))
        if len(self._waiting) == 1:
            task = asyncio.create_task(self._send())
            self._sends.add(task)
            task.add_done_callback(self._sends.discard)
        outcome, text, tokens = await future
        if outcome != "ok":
            raise SolverFailure(outcome)
        return Reply(text, tokens)

    async def _send(self) -> None:
        await asyncio.sleep(self._window_s)
        batch, self._waiting = self._waiting, []
        prompts, purposes, futures = zip(*batch, strict=True)
        try:
            replies = await next(self._actors).ask_many.remote(list(prompts), list(purposes))
        except Exception as error:  # noqa: BLE001 - belongs to every episode that waits
            for future in futures:
                if not future.done():
                    future.set_exception(error)
            return
        for future, reply in zip(futures, replies, strict=True):
            if not future.done():
                future.set_result(reply)
