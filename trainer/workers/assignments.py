"""Track where each job is and which workers may get jobs: the pipeline's bookkeeping, without Ray and without waiting.

The life of a worker is as follows. Each loss begins a new life, with the next number:

    running --lose--> lost --ready--> returning --back--> running
                       ^                  |
                       +------lose--------+

Invariants: only running workers get jobs. A worker that is back has its weights, and the jobs that it held are
given to it again, exactly once. Each job is in exactly one place: waiting for a worker, held by a worker, or in hand,
which means that its outcome is being scored or that it is about to be tried again. Only one outcome is taken for each
job; others are ignored.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from rollout.jobs import Job, JobKey


class Life(Enum):
    """The state of a worker's process."""

    RUNNING = "running"
    LOST = "lost"
    RETURNING = "returning"


@dataclass(frozen=True)
class HandIn:
    """Jobs to be handed to a worker in one of its lives."""

    worker: int
    number: int
    jobs: list[Job]


class Assignments:
    """The jobs of all lanes on ``workers`` workers, all of which run at first."""

    def __init__(self, workers: int) -> None:
        self.lives = [Life.RUNNING] * workers
        # How often each was lost. A failed call counts for the life in which it was made.
        self.numbers = [0] * workers
        self.held: list[dict[JobKey, Job]] = [{} for _ in range(workers)]
        self._waiting: dict[JobKey, Job] = {}
        self._in_hand: dict[JobKey, Job] = {}

    def __len__(self) -> int:
        """Return the number of unfinished jobs."""
        return len(self._waiting) + len(self._in_hand) + sum(map(len, self.held))

    @property
    def complete(self) -> bool:
        """Say whether every worker runs."""
        return all(life is Life.RUNNING for life in self.lives)

    def of_lane(self, lane: int) -> bool:
        """Return whether this lane has an unfinished job."""
        return any(lane == own for jobs in (self._waiting, self._in_hand, *self.held) for own, _ in jobs)

    def holders(self, lane: int) -> list[int]:
        """Return the workers that hold jobs of this lane."""
        return [worker for worker, jobs in enumerate(self.held) if any(lane == own for own, _ in jobs)]

    def assign(self, jobs: Sequence[Job]) -> list[HandIn]:
        """Give each job, whether new or a retry, to the running worker with the fewest jobs; if none runs, the jobs
        wait."""
        loads = [(len(self.held[worker]), worker) for worker, life in enumerate(self.lives) if life is Life.RUNNING]
        heapq.heapify(loads)
        shares: dict[int, list[Job]] = {}
        for job in jobs:
            self._in_hand.pop(job.key, None)
            if loads:
                load, worker = loads[0]
                self.held[worker][job.key] = job
                shares.setdefault(worker, []).append(job)
                heapq.heapreplace(loads, (load + 1, worker))
            else:
                self._waiting[job.key] = job
        return [HandIn(worker, self.numbers[worker], share) for worker, share in shares.items()]

    def lose(self, worker: int, number: int) -> None:
        """Note that a call made in this life of the worker failed; only the first report of a life counts."""
        if number == self.numbers[worker]:
            self.numbers[worker] += 1
            self.lives[worker] = Life.LOST

    def ready(self, worker: int) -> None:
        """Note that a lost worker's new process has started, without weights and jobs."""
        assert self.lives[worker] is Life.LOST
        self.lives[worker] = Life.RETURNING

    def back(self, worker: int) -> HandIn:
        """Let a returning worker run, now that it has its weights; return the jobs that it held or that wait."""
        assert self.lives[worker] is Life.RETURNING
        self.lives[worker] = Life.RUNNING
        self.held[worker] |= self._waiting
        self._waiting.clear()
        return HandIn(worker, self.numbers[worker], list(self.held[worker].values()))

    def take(self, worker: int, named: Job | JobKey) -> Job | None:
        """Take a job in hand, because its outcome has come; return None if the worker does not hold this job."""
        found = self.held[worker].pop(named.key, None)
        if found is not None:
            self._in_hand[named.key] = found
        return found

    def finish(self, job: Job) -> None:
        """Forget a job in hand, because its result is delivered."""
        del self._in_hand[job.key]
