"""Test which worker may be given what: by hand, and in random orders of everything that can happen to workers."""

from __future__ import annotations

import pytest

from rollout.jobs import Job
from rollout.records import Problem
from tests.trainer.workers.search_schedules import search
from trainer.workers.assignments import Assignments, HandIn, Life

PROBLEM = Problem("p", "How many?", "1")


def jobs(*ids: int, lane: int = 0) -> list[Job]:
    return [Job(identity, PROBLEM, "daslam", 0, lane=lane) for identity in ids]


def test_jobs_go_to_the_running_worker_with_the_least_to_do():
    found = Assignments(2)
    assert found.assign(jobs(0, 1, 2)) == [HandIn(0, 0, jobs(0, 2)), HandIn(1, 0, jobs(1))]
    found.lose(1, 0)
    assert found.assign(jobs(3)) == [HandIn(0, 0, jobs(3))]
    assert found.holders(0) == [0, 1]


def test_while_no_worker_runs_jobs_wait_for_the_first_that_is_back():
    found = Assignments(1)
    found.assign(jobs(0))
    found.lose(0, 0)
    assert found.assign(jobs(1)) == []
    found.ready(0)
    assert found.assign(jobs(2)) == []
    assert not found.complete
    assert found.back(0) == HandIn(0, 1, jobs(0, 1, 2))
    assert found.complete
    assert len(found) == 3


def test_a_loss_is_of_the_life_in_which_the_call_was_made():
    found = Assignments(1)
    found.lose(0, 0)
    found.lose(0, 0)
    assert found.numbers == [1]
    found.ready(0)
    found.lose(0, 0)
    assert found.lives == [Life.RETURNING]
    found.lose(0, 1)
    assert found.lives == [Life.LOST]


def test_one_outcome_of_a_job_is_taken_and_it_is_of_its_lane_until_it_is_out():
    found = Assignments(1)
    found.assign([*jobs(0), *jobs(0, lane=1)])
    assert found.take(0, *jobs(0)) == jobs(0)[0]
    assert found.take(0, *jobs(0)) is None
    assert found.take(0, *jobs(7)) is None
    assert found.of_lane(0)
    found.finish(*jobs(0))
    assert not found.of_lane(0)
    assert found.of_lane(1)


def test_a_job_that_is_tried_again_is_in_one_place():
    found = Assignments(2)
    found.assign(jobs(0))
    (again,) = found.assign([found.take(0, *jobs(0))])
    assert (len(found), again.jobs) == (1, jobs(0))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_order_every_admitted_group_has_one_outcome_and_nothing_waits_for_ever(seed):
    counts = search(500, seed)
    # The orders are worth something: every kind of event is among them.
    assert min(counts.values()) > 0, counts
