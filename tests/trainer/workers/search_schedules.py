"""Random orders of everything that can happen to workers and their jobs, run through the very ledgers that the pipeline
and the controller keep, and checked:

    python -m tests.trainer.workers.search_schedules --count 200000 --seed 0

A schedule is a list of choices among the events that are possible: an actor's call arrives, a process ends a job, is
killed, ready, has loaded; a score is there; the learner steps. Checked are: every admitted group has exactly one
outcome (trained on, dropped, replaced, or put back and admitted again); nothing is trained on twice; no job begins
before its worker has the weights that it was to be brought back with; nothing waits for ever.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rollout.jobs import Job
from rollout.records import Problem
from trainer.algorithm.staleness import StalenessManager
from trainer.stages.in_flight import InFlight
from trainer.workers.assignments import Assignments, HandIn, Life

EVENTS_AT_MOST = 5_000
EVALUATION = 1


@dataclass
class Process:
    """A worker's process, as Ray has it: what it was given and what is done, lost when it is killed."""

    ready: bool = True
    version: int = 0
    jobs: list[tuple[Job, int]] = field(default_factory=list)
    done: list[tuple[Job, int, bool]] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """A scored job, as far as the ledger of groups looks at it, with the version that it was sampled by."""

    job: Job
    version: int


class Schedule:
    """One run in small: ``steps`` batches of two groups, and an evaluation, over workers that are killed."""

    def __init__(self, rng: random.Random, counts: Counter[str]) -> None:
        self.rng, self.counts = rng, counts
        self.size, self.workers, self.steps = rng.choice((1, 2, 3)), rng.choice((1, 2, 3)), rng.choice((2, 3, 5))
        self.kills, self.failures = rng.randrange(6), rng.randrange(6)
        self.version = self.published = self.evaluated = 0
        self.staleness = StalenessManager(2 * self.size, rng.choice((0, 1, 2)))
        self.groups = InFlight(self.size, self.staleness)
        self.assignments = Assignments(self.workers)
        self.processes = [Process() for _ in range(self.workers)]
        self.has, self.brought = [0] * self.workers, [0] * self.workers
        self.calls: list[tuple[HandIn, Process]] = []  # on their way to a worker
        self.collecting: list[tuple[int, Process] | None] = [None] * self.workers
        self.came: list[tuple[int, list[tuple[Job, int, bool]]]] = []  # not looked at yet
        self.scoring: list[Sample] = []
        self.trained: Counter[int] = Counter()
        self.outcomes: Counter[int] = Counter()
        self.awaited = rng.choice((0, 3))  # of an evaluation
        if self.awaited:
            self._hand_in([_job(identity, EVALUATION) for identity in range(self.awaited)])

    # -- what the driver does ------------------------------------------------------------------------------

    def _hand_in(self, jobs: list[Job]) -> None:
        for share in self.assignments.assign(jobs):
            assert self.assignments.lives[share.worker] is Life.RUNNING, "jobs went to a worker that does not run"
            self.calls.append((share, self.processes[share.worker]))

    def _admit(self) -> None:
        self._hand_in(self.groups.admit(lambda _, ids: [_job(identity) for identity in ids]))

    def _collect(self, worker: int) -> None:
        """Ask a worker for what is done."""
        self.collecting[worker] = self.assignments.numbers[worker], self.processes[worker]

    def _collected(self, worker: int) -> None:
        """Get a worker's answer, or the error of a process that is gone."""
        asked = self.collecting[worker]
        assert asked is not None
        self.collecting[worker], process = None, self.processes[worker]
        if asked[1] is not process or not process.ready:
            self.assignments.lose(worker, asked[0])
        elif process.done:
            self.came.append((worker, list(process.done)))
            process.done.clear()

    def _look(self) -> None:
        """Take what came: send what is good to be scored, try again what failed."""
        worker, outcomes = self.came.pop(self.rng.randrange(len(self.came)))
        again = []
        for job, version, good in outcomes:
            found = self.assignments.take(worker, job)
            if found is None:
                self.counts["of nobody's job"] += 1
            elif good:
                self.scoring.append(Sample(found, version))
            else:
                again.append(replace(found, tries=found.tries + 1))
        self._hand_in(again)

    def _scored(self) -> None:
        """Hand a score out: to the evaluation, or to its group, which is kept, dropped or replaced."""
        sample = self.scoring.pop(self.rng.randrange(len(self.scoring)))
        self.assignments.finish(sample.job)
        if sample.job.lane == EVALUATION:
            self.evaluated += 1
            return
        self.outcomes[sample.job.id] += 1
        assert self.outcomes[sample.job.id] == 1, "a job had two outcomes"
        group = self.groups.add(sample)  # type: ignore[arg-type]
        if group is None:
            return
        if self.rng.random() < 0.25:
            self.counts["dropped or replaced"] += 1
            self.groups.give_up(group)
        else:
            self.groups.keep(group)

    def _train(self) -> None:
        """Put back what is too stale, and take a step if there is a batch."""
        self.counts["put back"] += self.groups.put_back(self._too_stale)
        batch = self.groups.take(2)
        self.trained.update(sample.job.id for group in batch for sample in group)
        self.version += bool(batch)

    def _too_stale(self, group: list[Any]) -> bool:
        return any(self.staleness.too_stale([sample.version], self.version) for sample in group)

    def _load(self, worker: int) -> None:
        """Have a worker load what is published: in its turn, or to be brought back."""
        process = self.processes[worker]
        process.version = self.has[worker] = self.version
        if self.assignments.lives[worker] is Life.RETURNING:
            self.brought[worker] = self.version
            share = self.assignments.back(worker)
            self.calls.append((share, process))

    def _ready(self, worker: int) -> None:
        process = self.processes[worker]
        process.ready = True
        process.jobs.clear()
        process.done.clear()
        self.assignments.ready(worker)

    # -- what happens to it --------------------------------------------------------------------------------

    def _arrive(self) -> None:
        """Let a call with jobs reach its worker, or fail."""
        share, process = self.calls.pop(self.rng.randrange(len(self.calls)))
        now = self.processes[share.worker]
        late = now is not process or share.number != self.assignments.numbers[share.worker]
        if not now.ready or (late and self.rng.random() < 0.5):
            # It failed with the process, or reached the next one before that was ready.
            self.assignments.lose(share.worker, share.number)
            return
        self.counts["reached the next process"] += late
        assert late or now.version >= self.brought[share.worker], "jobs began before the weights were there"
        now.jobs += [(job, now.version) for job in share.jobs]

    def _kill(self, worker: int) -> None:
        self.kills -= 1
        self.counts["killed"] += 1
        self.processes[worker] = Process(ready=False)

    def _end_job(self, worker: int) -> None:
        process = self.processes[worker]
        job, version = process.jobs.pop(self.rng.randrange(len(process.jobs)))
        good = not (self.failures and self.rng.random() < 0.3)
        self.failures -= not good
        self.counts["failed"] += not good
        process.done.append((job, version, good))

    # -- the schedule --------------------------------------------------------------------------------------

    def possible(self) -> list[Callable[[], None]]:
        """Return what can happen now."""
        events: list[Callable[[], None]] = []
        needed = self.steps * 2 * self.size
        room = min(self.staleness.capacity(min(self.has)), needed - self.staleness.admitted)
        if room > 0:
            events.append(self._admit)
        events += [self._arrive] * bool(self.calls) + [self._look] * bool(self.came)
        events += [self._scored] * bool(self.scoring)
        if self.groups._waiting:
            stale = any(map(self._too_stale, self.groups._waiting.values()))
            events += [self._train] * (stale or len(self.groups._waiting) >= 2)
        for worker, process in enumerate(self.processes):
            events += self._of_worker(worker, process)
        return events

    def _of_worker(self, worker: int, process: Process) -> list[Callable[[], None]]:
        life = self.assignments.lives[worker]
        events: list[Callable[[], None]] = []
        if self.collecting[worker] is not None:
            gone = self.collecting[worker][1] is not process  # type: ignore[index]
            if gone or not process.ready or process.done or life is not Life.RUNNING:
                events.append(lambda: self._collected(worker))
        elif life is Life.RUNNING:
            events.append(lambda: self._collect(worker))
        elif life is Life.LOST:
            events.append(lambda: self._ready(worker))
        elif process.ready:
            events.append(lambda: self._load(worker))
        else:  # it died while it was to load, as the load says
            number = self.assignments.numbers[worker]
            events.append(lambda: self.assignments.lose(worker, number))
        if life is Life.RUNNING and process.ready and self.has[worker] < self.version:
            events.append(lambda: self._load(worker))
        if process.jobs:
            events.append(lambda: self._end_job(worker))
        if self.kills and self.rng.random() < 0.2:
            events.append(lambda: self._kill(worker))
        return events

    @property
    def over(self) -> bool:
        """Return whether all steps are taken and the evaluation has ended."""
        return self.version >= self.steps and self.evaluated >= self.awaited

    def run(self) -> None:
        """Let one thing after another happen until the run is over, and look at what became of everything."""
        for _ in range(EVENTS_AT_MOST):
            if self.over:
                break
            events = self.possible()
            assert events, "nothing can happen any more, and the run is not over"
            self.rng.choice(events)()
        assert self.over, "the run does not end"
        assert set(self.trained.values()) <= {1}, "a sample was trained on twice"
        assert sum(self.trained.values()) == self.steps * 2 * self.size
        assert self.evaluated == self.awaited
        assert len(self.groups) == len(self.assignments) == 0, "something was left"


def _job(identity: int, lane: int = 0) -> Job:
    return Job(identity, _PROBLEM, "daslam", 0, lane=lane)


_PROBLEM = Problem("p", "How many?", "1")


def search(count: int, seed: int) -> Counter[str]:
    """Run this many schedules; return what happened in them. Raises AssertionError, with the schedule's seed."""
    counts: Counter[str] = Counter()
    for number in range(count):
        own = f"{seed} {number}"
        try:
            Schedule(random.Random(own), counts).run()
        except AssertionError as error:
            raise AssertionError(f"schedule {own!r}: {error}") from error
    return counts


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    counts = search(options.count, options.seed)
    print(f"{options.count} schedules in {time.perf_counter() - started:.0f} s, none wrong: {dict(counts)}")  # noqa: T201


if __name__ == "__main__":
    main()
