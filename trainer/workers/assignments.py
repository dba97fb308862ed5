"""Which job is where, and which workers may be given any: the pipeline's knowledge, without Ray and without waiting.

The life of a worker; every loss begins a new one, with the next number:

    running --lose--> lost --ready--> returning --back--> running
                       ^                  |
                       +------lose--------+

Invariants: jobs go to running workers alone. A worker that is back has its weights, and is given again what it held,
once. A job is in one place: waiting for a worker, held by one, or in hand, where its outcome is scored or it is about
to be tried again. Of every job one outcome is taken; any other is of nobody's job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from rollout.jobs import Job

# A job's lane and id.
Key = tuple[int, int]


class Life(Enum):
    """The state of a worker's process."""

    RUNNING = "running"
    LOST = "lost"
    RETURNING = "returning"


@dataclass(frozen=True)
class HandIn:
    """Jobs for a worker in one of its lives, which are to be handed to it."""

    worker: int
    number: int
    jobs: list[Job]


class Assignments:
    """The jobs of all lanes over ``workers``, which all run at first."""

    def __init__(self, workers: int) -> None:
        self.lives = [Life.RUNNING] * workers
        # How often each was lost: a call that fails is of the life in which it was made.
        self.numbers = [0] * workers
        self.held: list[dict[Key, Job]] = [{} for _ in range(workers)]
        self._waiting: dict[Key, Job] = {}
        self._in_hand: dict[Key, Job] = {}

    def __len__(self) -> int:
        """Return the number of jobs that have not come out."""
        return len(self._waiting) + len(self._in_hand) + sum(map(len, self.held))

    @property
    def complete(self) -> bool:
        """Whether every worker runs."""
        return all(life is Life.RUNNING for life in self.lives)

    def of_lane(self, lane: int) -> bool:
        """Return whether a job of this lane has not come out."""
        return any(lane == own for jobs in (self._waiting, self._in_hand, *self.held) for own, _ in jobs)

    def holders(self, lane: int) -> list[int]:
        """Return the workers that hold jobs of this lane."""
        return [worker for worker, jobs in enumerate(self.held) if any(lane == own for own, _ in jobs)]

    def assign(self, jobs: Sequence[Job]) -> list[HandIn]:
        """Give each job, new or to be tried again, to the running worker with the least to do; while none runs, they
        wait."""
        running = [worker for worker, life in enumerate(self.lives) if life is Life.RUNNING]
        shares: dict[int, list[Job]] = {}
        for job in jobs:
            self._in_hand.pop(_key(job), None)
            if running:
                worker = min(running, key=lambda one: len(self.held[one]))
                self.held[worker][_key(job)] = job
                shares.setdefault(worker, []).append(job)
            else:
                self._waiting[_key(job)] = job
        return [HandIn(worker, self.numbers[worker], share) for worker, share in shares.items()]

    def lose(self, worker: int, number: int) -> None:
        """Note that a call failed that was made in the worker's life with this number, whoever notes it first."""
        if number == self.numbers[worker]:
            self.numbers[worker] += 1
            self.lives[worker] = Life.LOST

    def ready(self, worker: int) -> None:
        """Note that a lost worker's new process is there, without weights and jobs."""
        assert self.lives[worker] is Life.LOST
        self.lives[worker] = Life.RETURNING

    def back(self, worker: int) -> HandIn:
        """Let a returning worker run, which has its weights; return what it is given: what it held, and what waits."""
        assert self.lives[worker] is Life.RETURNING
        self.lives[worker] = Life.RUNNING
        self.held[worker] |= self._waiting
        self._waiting.clear()
        return HandIn(worker, self.numbers[worker], list(self.held[worker].values()))

    def take(self, worker: int, job: Job) -> Job | None:
        """Take a job whose outcome has come into the hand; None if that is of no job that the worker holds."""
        found = self.held[worker].pop(_key(job), None)
        if found is not None:
            self._in_hand[_key(job)] = found
        return found

    def finish(self, job: Job) -> None:
        """Forget a job in the hand: its result goes out."""
        del self._in_hand[_key(job)]


def _key(job: Job) -> Key:
    return job.lane, job.id
