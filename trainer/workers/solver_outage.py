"""Wait for a solver that has gone away: a server that restarts takes minutes, which is no reason to lose a run.

Invariant: a job that the solver gave no reply to is held here until the solver answers a test question, and then handed
in again, or the wait is used up, which ends the run with SolverGone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from ray.exceptions import RayError

from rollout.jobs import Job
from trainer.workers.errors import WaitTimeout, first_line

# Between two test questions, doubled each time up to the longest.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0
# Between two lines that say that it goes on.
SAY_EVERY_S = 60.0
KEY = "solver.outage_minutes"  # of one solver


class SolverGone(RuntimeError):
    """The solver gave no reply for as long as is allowed. No job is lost: whoever handed them in may do so again."""


class SolverOutage:
    """The jobs that a solver called ``name`` gave no reply to. ``check`` asks it a test question and returns what was
    wrong, None if it answered; ``say`` tells a line. Waits of ``limit_s`` together, with no episode finished between
    them, are too long, which ``key`` sets; a job may fail ``max_tries`` times while test questions are answered at
    once."""

    def __init__(
        self, name: str, limit_s: float, max_tries: int, check: Callable[[], Awaitable[str | None]],
        say: Callable[[str], Any], key: str = KEY,
    ) -> None:  # fmt: skip
        self.name, self.limit_s, self.max_tries, self.key = name, limit_s, max_tries, key
        self._check, self._say = check, say
        self._held: list[tuple[Job, str | None]] = []
        self._waited_s = 0.0

    def hold(self, job: Job, error: str | None) -> bool:
        """Hold a job that has no reply; return whether it is the first, for which ``over`` is to be awaited."""
        self._held.append((job, error))
        return len(self._held) == 1

    def finished(self) -> None:
        """Note that an episode was finished: the solver has answered."""
        self._waited_s = 0.0

    async def over(self) -> list[Job]:
        """Return the held jobs once the solver answers. Raises SolverGone."""
        was_away = await self._wait()
        held, self._held = self._held, []
        return [job if was_away else self._tried(job, error) for job, error in held]

    async def _wait(self) -> bool:
        """Ask test questions until one is answered; return whether it was another than the first. None is asked where
        no wait is allowed."""
        error = await self._check() if self.limit_s > 0 else None
        if error is None:
            return False
        began, before, asked, said_s, since = time.monotonic(), self._waited_s, 1, 0.0, time.strftime("%H:%M:%S")
        allowed = f"for up to {minutes(self.limit_s)} ({self.key})"
        self._say(f"no reply from the solver {self.name} since {since}: {error}; it is asked again {allowed}")
        pause = FIRST_PAUSE_S
        while error is not None:
            seconds = time.monotonic() - began
            if (left := self.limit_s - before - seconds) <= 0:
                raise SolverGone(
                    f"no reply from the solver {self.name} since {since}, in {minutes(seconds)} and {asked} test "
                    f"questions ({self.key}); the last: {error}"
                )
            if seconds - said_s >= SAY_EVERY_S:
                said_s = seconds
                self._say(f"still no reply from the solver {self.name}: {asked} test questions since {since}; {error}")
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_S)
            error = await self._check()
            asked += 1
            self._waited_s = before + time.monotonic() - began
        lasted = minutes(time.monotonic() - began)
        self._say(f"the solver {self.name} answers again after {lasted} and {asked} test questions; the run goes on")
        return True

    def _tried(self, job: Job, error: str | None) -> Job:
        """Return a job that failed though the solver answers, to be tried again. Raises SolverGone if that was the last
        time."""
        if job.tries + 1 >= self.max_tries:
            raise SolverGone(
                f"the solver {self.name} gave problem {job.problem.id} no reply in {self.max_tries} tries, at last "
                f"with: {error}"
            )
        return replace(job, tries=job.tries + 1)


def minutes(seconds: float) -> str:
    """Return a length of time as people say it."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.3g} min"


async def first_failing(
    actors: Iterable[tuple[str, Any]], wait: Callable[[Awaitable[Any], str, str], Awaitable[Any]]
) -> str | None:
    """Return why one of these actors, each with its name, does not answer a test question; None if all do. ``wait``
    waits for a call, with a limit."""
    for name, actor in actors:
        try:
            error: str | None = await wait(actor.check.remote(), name, "check its server")
        except (RayError, WaitTimeout) as gone:
            error = first_line(gone)
        if error is not None:
            return error
    return None
