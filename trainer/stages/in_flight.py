"""The one ledger of what stage 2 has admitted and neither trained on nor given up.

Invariant: every admitted group is in one place: running until the last of its samples is scored, then waiting until it
is trained on or put back; or it is given up. One that was put back is admitted again, under new ids and with all its
tries, before any other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rewards.reward import Sample
from rollout.jobs import Job
from trainer.algorithm.staleness import StalenessManager
from trainer.workers.scored_episode_json import job_row, row_job

# The samples of one problem.
ScoredGroup = list[Sample]


class InFlight:
    """Groups of ``size`` samples with consecutive ids. Every episode of them is counted in ``staleness``."""

    def __init__(self, size: int, staleness: StalenessManager) -> None:
        self.size, self.staleness = size, staleness
        self.admitted = 0
        # By the id of the first job.
        self._running: dict[int, list[Job]] = {}
        self._waiting: dict[int, ScoredGroup] = {}
        # The samples of running groups that are scored.
        self._scored: dict[int, ScoredGroup] = {}
        self._put_back: deque[list[Job]] = deque()

    def __len__(self) -> int:
        """Return the number of groups that run or wait."""
        return len(self._running) + len(self._waiting)

    @property
    def running(self) -> list[Job]:
        """The jobs of all groups that run."""
        return [job for jobs in self._running.values() for job in jobs]

    def admit(self, fresh: Callable[[int, range], list[Job]]) -> list[Job]:
        """Return the jobs of the group that was put back first, else those that ``fresh`` makes of the group's number
        and its jobs' ids."""
        ids = range(self.admitted * self.size, (self.admitted + 1) * self.size)
        if self._put_back:
            again = zip(self._put_back.popleft(), ids, strict=True)
            jobs = [replace(job, id=identity, tries=0, late=0) for job, identity in again]
        else:
            jobs = fresh(self.admitted, ids)
        self.admitted += 1
        self.staleness.admit(self.size)
        self._running[ids[0]] = jobs
        return jobs

    def add(self, scored: Sample) -> ScoredGroup | None:
        """Note a sample; return its group in order of admission if it was the last, for ``keep`` or ``give_up``."""
        first = scored.job.id - scored.job.id % self.size
        group = self._scored.setdefault(first, [])
        group.append(scored)
        if len(group) < self.size:
            return None
        return sorted(self._scored.pop(first), key=lambda item: item.job.id)

    def keep(self, group: ScoredGroup) -> None:
        """Have a whole group wait to be trained on."""
        del self._running[group[0].job.id]
        self._waiting[group[0].job.id] = group

    def give_up(self, group: ScoredGroup) -> None:
        """Forget a whole group, which makes place for another."""
        del self._running[group[0].job.id]
        self.staleness.give_up(self.size)

    def put_back(self, refuse: Callable[[ScoredGroup], bool]) -> int:
        """Put back the waiting groups that are to be refused; return their number."""
        refused = [first for first, group in self._waiting.items() if refuse(group)]
        for first in refused:
            self._put_back.append([item.job for item in self._waiting.pop(first)])
            self.staleness.give_up(self.size)
        return len(refused)

    def take(self, count: int) -> list[ScoredGroup]:
        """Return the ``count`` waiting groups that were admitted first, to be trained on; none if there are fewer."""
        if len(self._waiting) < count:
            return []
        return [self._waiting.pop(first) for first in sorted(self._waiting)[:count]]

    def state(self) -> tuple[dict[str, Any], list[Sample]]:
        """Return what ``restore`` needs: as JSON, and the scored episodes that wait. Of a group that is not whole yet
        nothing is kept but its jobs."""
        state = {
            "groups": self.admitted,
            "in_flight": [list(map(job_row, jobs)) for jobs in self._running.values()],
            "put_back": [list(map(job_row, jobs)) for jobs in self._put_back],
        }
        return state, [item for first in sorted(self._waiting) for item in self._waiting[first]]

    def restore(self, state: dict[str, Any], waiting: Sequence[Sample]) -> None:
        """Go on from a state: the jobs of ``running`` are to be run again."""
        self.admitted = state["groups"]
        running, put_back = ([list(map(row_job, rows)) for rows in state[name]] for name in ("in_flight", "put_back"))
        self._put_back.extend(put_back)
        self._running = {jobs[0].id: jobs for jobs in running}
        for start in range(0, len(waiting), self.size):
            self._waiting[waiting[start].job.id] = list(waiting[start : start + self.size])
        self.staleness.admit(len(self) * self.size)
