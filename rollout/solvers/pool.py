"""The solver as a pool of Ray actors, shared by all rollout workers.

A rollout worker's client gathers the prompts that its episodes put within a few milliseconds of each other
into one actor call, since a call costs about as much as a token of a small model. Limits, cache and accounting
of a paid API are its one actor's, so they hold over all workers.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import ray

from conf.schema.config import Config
from conf.schema.solver import MixtureSolver, actor_count
from rollout.actor_log import actor_log
from rollout.episode.contracts import Likelihood, Reply, SolverFailure
from rollout.json_lines import write_whole
from rollout.solvers import make_solver, make_verifier
from rollout.solvers.base import SolverBroken, SolverMisconfigured, SolverUnavailable, Usage, for_role, telling

USAGE_EVERY_S = 0.5
# Prompts put within so many seconds go to the solver in one call, and come back together.
WINDOW_S = 0.004
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ask:
    """One prompt; see ``Solver.ask``. With a ``completion`` its log-probability after the prompt is asked for, and no
    reply."""

    prompt: str
    purpose: str
    sample: int = 0
    completion: str | None = None


@dataclass(frozen=True)
class Answer:
    """The outcome of an ``Ask``: a reply or a log-probability, the name of the solver's failure, or why it has to be
    asked again: the solver cannot be reached (``detail``), or its code raised an ``error``."""

    reply: Reply | None = None
    failure: str | None = None
    detail: str = ""
    likelihood: Likelihood | None = None
    error: str | None = None


class UsageFile:
    """A solver's usage, kept in a file so that a restarted actor goes on counting; at most the last
    ``USAGE_EVERY_S`` seconds are lost with a process."""

    def __init__(self, file: Path, usage: Usage) -> None:
        self.file, self.usage = file, usage
        self._written = 0.0
        if file.is_file():
            for name, value in json.loads(file.read_text()).items():
                setattr(usage, name, value)

    def write(self, *, now: bool = False) -> None:
        """Write what was counted; unless it must be ``now``, only if that was not done a moment ago."""
        if not now and time.monotonic() - self._written < USAGE_EVERY_S:
            return
        write_whole(self.file, json.dumps(asdict(self.usage)))
        self._written = time.monotonic()


@ray.remote
class SolverActor:
    """One solver of the pool, or one verifier of a pool of its own. ``role`` is the dotted key of its settings; the
    configuration has them under ``solver``, those of a mixture's solver too, or under ``verifier``."""

    def __init__(self, config: Config, index: int, log_folder: str, role: str = "solver") -> None:
        actor_log(log_folder, f"{role}-{index}")
        self.role = role
        self._failures: Counter[str] = Counter()
        try:
            self.solver = make_verifier(config) if role == "verifier" else make_solver(config)
        except SolverMisconfigured as error:
            raise SolverMisconfigured(for_role(str(error), role)) from None
        self.usage_file = UsageFile(Path(log_folder) / f"{role}-{index}.usage.json", self.solver.usage)

    async def ready(self) -> int:
        """Return once the solver can answer; the process id. Raises SolverMisconfigured, SolverUnavailable."""
        try:
            await self.solver.start()
        except SolverMisconfigured as error:
            raise SolverMisconfigured(for_role(str(error), self.role)) from None
        finally:
            self.usage_file.write(now=True)
        return os.getpid()

    async def check(self) -> str | None:
        """Ask the solver a test question; return what was wrong, None if it answered."""
        try:
            await self.solver.check()
        except (SolverUnavailable, SolverMisconfigured) as error:
            said = for_role(str(error), self.role)
            _LOG.warning("a test question was not answered: %s", said)
            return said
        _LOG.info("a test question was answered")
        self.usage_file.write(now=True)
        return None

    async def ask_many(self, asks: list[Ask]) -> tuple[list[Answer], float]:
        """Answer prompts at once, in their order, and say what share of the budget is left."""
        answers = await asyncio.gather(*(self._ask(ask) for ask in asks))
        self.usage_file.write()
        return answers, self.solver.left

    async def usage(self) -> Usage:
        """Return what was asked since the start of the run, which the file has then too."""
        self.usage_file.write(now=True)
        return self.solver.usage

    async def _ask(self, ask: Ask) -> Answer:
        try:
            if ask.completion is not None:
                return Answer(likelihood=await telling(self.solver).log_likelihood(ask.prompt, ask.completion))
            return Answer(await self.solver.ask(ask.prompt, purpose=ask.purpose, sample=ask.sample))
        except SolverFailure as failure:
            detail = for_role(str(failure), self.role)
            self._note(failure.outcome, detail)
            return Answer(failure=failure.outcome, detail=detail)
        except (SolverUnavailable, SolverMisconfigured) as error:
            return Answer(detail=for_role(str(error), self.role))
        except SolverBroken:
            traceback.print_exc()
            os._exit(1)  # Ray starts a new process and asks again
        except Exception as error:  # noqa: BLE001 - a solver of one's own may raise anything; its neighbours were answered
            traceback.print_exc()
            return Answer(error=for_role(f"{type(error).__name__}: {error}", self.role))

    def _note(self, outcome: str, detail: str) -> None:
        """Write a failure to the log if it is the first of its name, or if their number has doubled."""
        self._failures[outcome] += 1
        count = self._failures[outcome]
        if count.bit_count() == 1:
            _LOG.warning("%s, %s so far: %s", outcome, f"{count} time" + "s" * (count > 1), detail)


def split_pool(config: Config, actors: Sequence[Any]) -> dict[str | None, list[Any]]:
    """Return the solvers' actors by the name of their solver in the mixture, in whose order they were started; under
    None where there is one solver."""
    if not isinstance(config.solver, MixtureSolver):
        return {None: list(actors)}
    rest = iter(actors)
    return {name: list(itertools.islice(rest, actor_count(one))) for name, one in config.solver.mixture.items()}


class SolverClient:
    """A rollout worker's view of the pool: ``ask`` one prompt, sent together with its neighbours, or at once if
    ``window_s`` is 0. ``left``: the share of the budget that was left when the last reply came; None before that."""

    def __init__(self, actors: list[Any], window_s: float = WINDOW_S) -> None:
        self._actors = itertools.cycle(actors)
        self._window_s = window_s
        self._waiting: list[tuple[Ask, asyncio.Future[Answer]]] = []
        self._sends: set[asyncio.Task[None]] = set()
        self.left: float | None = None

    @property
    def spent(self) -> bool:
        """Tell whether the budget was spent when the last reply came."""
        return self.left is not None and self.left <= 0

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt; raises SolverFailure, SolverUnavailable, or the Ray error of a dead actor."""
        answer = await self._answered(Ask(prompt, purpose, sample))
        assert answer.reply is not None
        return answer.reply

    async def log_likelihood(self, prompt: str, completion: str) -> Likelihood:
        """Return the log-probability of ``completion`` after ``prompt``; raises as ``ask`` does."""
        answer = await self._answered(Ask(prompt, "likelihood", completion=completion))
        assert answer.likelihood is not None
        return answer.likelihood

    async def _answered(self, ask: Ask) -> Answer:
        answer = await (self._with_neighbours(ask) if self._window_s else self._alone(ask))
        if answer.failure is not None:
            raise SolverFailure(answer.failure, answer.detail)
        if answer.error is not None:
            raise RuntimeError(answer.error)
        if answer.reply is None and answer.likelihood is None:
            raise SolverUnavailable(answer.detail)
        return answer

    async def _alone(self, ask: Ask) -> Answer:
        (answer,), self.left = await next(self._actors).ask_many.remote([ask])
        return cast(Answer, answer)

    async def _with_neighbours(self, ask: Ask) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, future))
        if len(self._waiting) == 1:
            task = asyncio.create_task(self._send())
            self._sends.add(task)
            task.add_done_callback(self._sends.discard)
        return await future

    async def _send(self) -> None:
        await asyncio.sleep(self._window_s)
        batch, self._waiting = self._waiting, []
        asks, futures = zip(*batch, strict=True)
        try:
            answers, self.left = await next(self._actors).ask_many.remote(list(asks))
        except Exception as error:  # noqa: BLE001 - belongs to every episode that waits
            for future in futures:
                if not future.done():
                    future.set_exception(error)
            return
        for future, answer in zip(futures, answers, strict=True):
            if not future.done():
                future.set_result(answer)
