"""Jobs in, scored episodes out: the rollout workers and reward actors seen as one.

Invariant: every submitted job comes out exactly once, scored, where it was handed in: ``submit`` and ``next`` are the
training's lane, every ``run`` has one of its own, and they go on side by side. An infrastructure error is retried, a
bounded number of times, and then ends the run: it is raised in every lane. A worker that Ray restarted gets the current
weights and its jobs again, and nothing in between: ``assignments`` knows which worker may be given what.

Every call has a limit of its own. Silence is no error where nothing is expected: the wait for episodes is timed only
while workers that run hold some, from the last sign of any of them.

Episodes pass packed, are held by value and are not opened here: no death of a worker or reward actor loses one that has
arrived. Calls cost this process most, so their number is bounded, and each carries more where there are more episodes:
``pause_s`` lies between two collections from a worker, and what comes while all reward actors work is scored together.

Limits are set with ``asyncio.timeout``: Python 3.11's ``wait_for`` loses a cancellation that comes together with
the result, and a loop that lost it never ends.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

from rewards.reward import Reward, Sample, Scored
from rollout.engine.weight_update import Update
from rollout.jobs import BUDGET, Job, NotReady, Outcome
from rollout.records import TRAINED_ON
from rollout.solvers.base import Usage
from trainer.workers.assignments import Assignments, HandIn, Life
from trainer.workers.errors import (
    SAID_EVERY_S,
    InfrastructureError,
    WaitTimeout,
    answer,
    is_gone,
    last_said,
    log_tail,
    restarted,
)
from trainer.workers.relay import COLLECT_S, pause
from trainer.workers.scoring import AnyEpisode, Scoring
from trainer.workers.solver_outage import KEY, SolverOutage, first_failing
from trainer.workers.weight_publisher import Publisher, Push

TRAINING = 0
# A job whose outcome came, its episode, and its reward if it has one.
Taken = tuple[Job, AnyEpisode, Reward | None]


class BudgetSpent(RuntimeError):
    """The solver's budget is spent: jobs that were not begun came back as they were."""


@dataclass(eq=False)
class Pipeline:
    """The workers as one place to run jobs. ``start`` its loops before, ``stop`` them after."""

    workers: Sequence[Any]
    solvers: Sequence[Any]
    rewarders: Sequence[Any]
    log_folder: Path
    wait_timeout_s: float
    max_tries: int
    episode_seconds: float = 10.0
    _: KW_ONLY
    # For how long an actor that Ray starts again is waited for.
    start_timeout_s: float = 600.0
    # What the solver is called, and for how long one that has gone away is waited for.
    solver_name: str = ""
    outage_s: float = 0.0
    verifiers: Sequence[Any] = ()
    # What the solvers' actors and logs are called, and the key of that wait.
    solver_names: Sequence[str] = ()
    outage_key: str = KEY

    def __post_init__(self) -> None:
        self.solver_names = self.solver_names or [f"solver-{index}" for index in range(len(self.solvers))]
        # Workers that have no verifiers are told of none.
        self._pools = (self.solvers, self.verifiers) if self.verifiers else (self.solvers,)
        self.pause_s = pause(len(self.workers))
        self._lanes = itertools.count(TRAINING + 1)
        self._idle_s = 0.0
        self._idle_since = self._last_sign = self._last_said = time.perf_counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._publisher = Publisher(self.workers, self.log_folder, self.wait_timeout_s)
        # Called when a worker that was brought back has caught up, outside of any publishing.
        self.on_version: Callable[[], None] = lambda: None
        # Told in one line when a process died and Ray started it again, of a solver that has gone away, and of silence.
        self.on_restart: Callable[[str], None] = lambda line: None
        self.counts = {"retried": 0, "restarts": 0, "reward_errors": 0, "reward_retries": 0, "solver_failures": 0}
        self.scoring = Scoring(
            self.rewarders, self.log_folder, self.start_timeout_s, self.episode_seconds, self.counts,
            lambda line: self.on_restart(line),
        )  # fmt: skip
        self._begin()

    def _begin(self) -> None:
        """Begin with no jobs and no error."""
        self._assignments = Assignments(len(self.workers))
        self._running = self._assignments.held
        self.scoring.forget()
        self._done: dict[int, asyncio.Queue[list[Sample] | Exception]] = {TRAINING: asyncio.Queue()}
        self._failure: Exception | None = None
        say, check = (lambda line: self.on_restart(line)), self._check_solvers
        self._outage = SolverOutage(self.solver_name, self.outage_s, self.max_tries, check, say, self.outage_key)

    @property
    def running(self) -> int:
        """Jobs of all lanes that have not come out yet."""
        return len(self._assignments)

    @property
    def idle(self) -> bool:
        """Whether every job of the training has been handed out by ``next``."""
        return not self._assignments.of_lane(TRAINING) and self._done[TRAINING].empty()

    @property
    def idle_s(self) -> float:
        """Seconds in which no job of any lane was running."""
        return self._idle_s + (0.0 if self.running else time.perf_counter() - self._idle_since)

    @property
    def version(self) -> int:
        """The version that every worker has acknowledged; 0 without workers."""
        return min(self._publisher.versions, default=0)

    def start(self) -> None:
        """Begin to collect from every worker."""
        for index in range(len(self.workers)):
            self._spawn(self._collect, index)

    async def stop(self) -> None:
        """End all loops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reset(self) -> None:
        """Forget every job that was submitted: nothing of them comes out any more. Weights are to be published next:
        the workers may hold newer ones than whoever asks for this, and one that is only now back none."""
        await self.stop()
        for index, worker in enumerate(self.workers):
            await self._restarted(worker, f"rollout-{index}", *self._pools)
        self._begin()
        self._publisher.forget()
        self.start()

    async def submit(self, jobs: Sequence[Job]) -> None:
        """Hand jobs to the workers with the least to do. Raises WaitTimeout."""
        self._idle_s, self._idle_since = self.idle_s, time.perf_counter()
        self._last_sign = time.perf_counter()
        await asyncio.gather(*(self._hand_in(share) for share in self._assignments.assign(jobs)))

    async def submit_again(self, jobs: Sequence[Job]) -> None:
        """Hand in jobs that are tried once more, and count them. Raises WaitTimeout."""
        self.counts["retried"] += len(jobs)
        await self.submit(jobs)

    async def next(self, lane: int = TRAINING) -> list[Sample]:
        """Return scored episodes of a lane as they come, packed; while none is running, wait for as long as it takes.
        Raises WaitTimeout, InfrastructureError."""
        queue = self._done[lane]
        while True:
            left = self._last_sign + self.wait_timeout_s - time.perf_counter()
            try:
                async with asyncio.timeout(min(left if left > 0 else self.wait_timeout_s, SAID_EVERY_S)):
                    item = await queue.get()
            except TimeoutError:
                self._check_silence(lane)
                continue
            if isinstance(item, Exception):
                raise item
            return item

    def _check_silence(self, lane: int) -> None:
        """Say now and then that workers that run hold episodes of a lane and give no sign, and raise WaitTimeout when
        that takes too long. A worker that is brought back, and scoring, have limits of their own."""
        now = time.perf_counter()
        silent_s, holders = now - self._last_sign, self._assignments.holders(lane)
        if not (holders and self._assignments.complete):
            return
        name = f"rollout-{holders[0]}"
        if silent_s >= self.wait_timeout_s:
            raise WaitTimeout(
                f"no episode finished in {self.wait_timeout_s:g} s with {self.running} running "
                f"(controller.wait_timeout_s); the end of the log of {name}:\n{log_tail(self.log_folder, name)}"
            )
        if min(silent_s, now - self._last_said) >= SAID_EVERY_S:
            self._last_said = now
            self.on_restart(f"  no episode has ended for {silent_s:.0f} s; {name}: {last_said(self.log_folder, name)}")

    async def run(self, jobs: Sequence[Job], progress: Callable[[int], Any] = lambda done: None) -> list[Scored]:
        """Run exactly these jobs, beside any others; return the results in their order, with their episodes open.
        ``progress`` is called with the number that are back. Raises BudgetSpent, once all are back, if some were not
        begun."""
        if self._failure is not None:
            raise self._failure
        lane = next(self._lanes)
        self._done[lane] = asyncio.Queue()
        found: dict[int, Scored] = {}
        try:
            await self.submit([replace(job, lane=lane) for job in jobs])
            while len(found) < len(jobs):
                found |= {item.job.id: item.open() for item in await self.next(lane)}
                progress(len(found))
        finally:
            del self._done[lane]
        if any(scored.episode.outcome == BUDGET for scored in found.values()):
            raise BudgetSpent
        return [found[job.id] for job in jobs]

    async def solver_usage(self) -> Usage:
        """Return what the solvers were asked since the start, summed."""
        return sum((await self.usage_by_solver()).values(), Usage())

    async def usage_by_solver(self) -> dict[str, Usage]:
        """Return what each of the solvers' actors was asked since the start, by its name."""
        named = zip(self.solver_names, self.solvers, strict=True)
        calls = (self._answer(solver.usage.remote(), name, "tell its usage") for name, solver in named)
        return dict(zip(self.solver_names, await asyncio.gather(*calls), strict=True))

    async def publish(self, weights: Update, probe: Any = (), expected: Any = ()) -> Push:
        """Have every worker load the weights and prove them on the probe sequences; see ``Publisher``."""
        return await self._publisher.publish(weights, probe, expected)

    def refill_from(self, refill: Callable[[], Awaitable[Update]]) -> None:
        """Set whom to ask for weights that a restarted worker cannot get as the others did."""
        self._publisher.refill = refill

    def _spawn(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        task = asyncio.create_task(self._guard(function, *arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        try:
            await function(*arguments)
        except Exception as error:  # noqa: BLE001 - raised again by next()
            self._failure = error
            for queue in self._done.values():
                queue.put_nowait(error)

    async def _restarted(self, actor: Any, name: str, *arguments: Any) -> Any:
        return await restarted(actor, name, self.start_timeout_s, self.log_folder, *arguments)

    def _answer(self, call: Awaitable[Any], name: str, what: str, more_s: float = 0.0) -> Awaitable[Any]:
        return answer(call, name, what, self.wait_timeout_s + more_s, self.log_folder)

    async def _collect(self, index: int) -> None:
        """Take outcomes from one worker, for as long as the pipeline runs; bring it back whenever it was lost."""
        while True:
            while self._assignments.lives[index] is not Life.RUNNING:
                await self._bring_back(index)
            number, call = self._assignments.numbers[index], self.workers[index].collect.remote(COLLECT_S)
            try:
                outcomes = await self._answer(call, f"rollout-{index}", "say what is done", COLLECT_S)
            except Exception as error:
                if not is_gone(error):
                    raise
                self._lose(index, number)
                continue
            if outcomes:
                self._spawn(self._finish, index, outcomes)
                await asyncio.sleep(self.pause_s)

    def _lose(self, index: int, number: int) -> None:
        """Note that a worker is lost, as a call made in this life of it shows."""
        self._assignments.lose(index, number)

    def _say_returned(self, index: int) -> None:
        """Count and say that a worker that died is back."""
        self.counts["restarts"] += 1
        self.on_restart(f"rollout-{index} died; started again, with the newest weights and its episodes")

    async def _hand_in(self, share: HandIn) -> None:
        """Give a worker its jobs. If it is lost on the way, its collecting loop brings it back and gives them again."""
        call = self.workers[share.worker].submit.remote(share.jobs)
        try:
            await self._answer(call, f"rollout-{share.worker}", "take its episodes")
        except Exception as error:
            if not is_gone(error):
                raise
            self._lose(share.worker, share.number)

    async def _finish(self, index: int, outcomes: list[Outcome]) -> None:
        """Have what came from a worker scored and delivered."""
        taken = self._take((index, outcome, None) for outcome in outcomes)
        await self.scoring.add([(job, episode) for job, episode, _ in taken], self._deliver)

    def _take(self, came: Iterable[tuple[int, Outcome, Reward | None]]) -> list[Taken]:
        """Return the jobs whose outcomes came, each with its episode and its reward if it has one; hand in again what
        an infrastructure error stopped. What is nobody's is passed over."""
        taken, again = list[Taken](), list[Job]()
        for index, outcome, reward in came:
            self._last_sign = time.perf_counter()
            job = self._assignments.take(index, outcome.job)
            if job is None:
                continue
            if outcome.episode is not None:
                taken.append((job, outcome.episode, reward))
            elif not outcome.no_reply:
                again.append(self._tried(job, outcome.error))
            elif self._outage.hold(job, outcome.error):
                self._spawn(self._wait_for_solver)
        self._again(again)
        return taken

    def _deliver(self, scored: list[Sample]) -> None:
        """Hand scored episodes out in their lanes, and count what there was of them."""
        self._last_sign = time.perf_counter()
        for item in scored:
            self._assignments.finish(item.job)
            self.counts["reward_errors"] += item.reward.error is not None
            self.counts["solver_failures"] += item.facts.outcome not in (*TRAINED_ON, BUDGET)
        if any(item.facts.outcome == "ok" for item in scored):
            self._outage.finished()
        if not self.running:
            self._idle_since = time.perf_counter()
        # Where a ``run`` was cancelled, nobody waits for its lane any more.
        for lane in self._done.keys() & {item.job.lane for item in scored}:
            self._done[lane].put_nowait([item for item in scored if item.job.lane == lane])

    def _again(self, jobs: list[Job]) -> None:
        if jobs:
            self._spawn(self.submit_again, jobs)

    async def _wait_for_solver(self) -> None:
        self._again(await self._outage.over())

    async def _check_solvers(self) -> str | None:
        """Return why a solver or a verifier does not answer a test question; None if all do."""
        verifiers = ((f"verifier-{index}", actor) for index, actor in enumerate(self.verifiers))
        return await first_failing([*zip(self.solver_names, self.solvers, strict=True), *verifiers], self._answer)

    def _tried(self, job: Job, error: str | None) -> Job:
        """Return a job that failed, to be tried again. Raises InfrastructureError if that was the last time."""
        if job.tries + 1 >= self.max_tries:
            raise InfrastructureError(f"problem {job.problem.id} failed {self.max_tries} times, at last with: {error}")
        return replace(job, tries=job.tries + 1)

    async def _bring_back(self, index: int) -> None:
        """Wait for Ray to restart a worker that is lost; then give it its weights, and last its jobs again."""
        await self._restarted(self.workers[index], f"rollout-{index}", *self._pools)
        self._assignments.ready(index)
        self._say_returned(index)
        number = self._assignments.numbers[index]
        try:
            caught_up = await self._publisher.catch_up(index)
        except NotReady:  # it died once more on the way
            self._assignments.lose(index, number)
            return
        self._last_sign = time.perf_counter()
        await self._hand_in(self._assignments.back(index))
        if caught_up:
            self.on_version()
