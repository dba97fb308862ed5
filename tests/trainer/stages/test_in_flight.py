"""The ledger of what is in flight: every admitted group is in one place, and a state holds them all."""

from __future__ import annotations

import json
import random
from dataclasses import replace

from rollout.jobs import Job
from rollout.records import Problem
from tests.trainer.samples import scored
from trainer.algorithm.staleness import StalenessManager
from trainer.stages.in_flight import InFlight


def fresh(number: int, ids: range) -> list[Job]:
    return [Job(identity, Problem(f"p-{number}", "How many?", "1"), "daslam", 100 + identity) for identity in ids]


def ledger(groups: int = 0, size: int = 2) -> InFlight:
    made = InFlight(size, StalenessManager(4, 1))
    for _ in range(groups):
        made.admit(fresh)
    return made


def ids(groups):
    return [[item.job.id for item in group] for group in groups]


def test_groups_come_out_whole_whatever_the_order():
    groups = ledger(3)
    assert [groups.add(scored(identity, [0])) for identity in (3, 0, 4)] == [None] * 3
    assert ids([groups.add(scored(2, [0]))]) == [[2, 3]]
    assert ids([groups.add(scored(1, [0]))]) == [[0, 1]]


def test_the_oldest_groups_are_taken_first():
    groups = ledger(4)
    for first in (6, 2, 4):
        groups.keep([scored(first, [0]), scored(first + 1, [0])])
    assert ids(groups.take(2)) == [[2, 3], [4, 5]]
    assert len(groups) == 2, "one runs, one waits"
    assert groups.take(2) == []


def test_a_group_that_was_put_back_is_admitted_with_all_its_tries():
    groups = ledger(1)
    groups.keep([replace(item, job=replace(item.job, tries=2, late=1)) for item in (scored(0, [0]), scored(1, [0]))])
    assert groups.put_back(lambda group: True) == 1
    assert [(job.id, job.tries, job.late) for job in groups.admit(fresh)] == [(2, 0, 0), (3, 0, 0)]


def test_whatever_happens_every_group_is_in_one_place_and_a_state_holds_them_all():
    rng = random.Random(0)
    groups, trained, given_up, put_back = ledger(), 0, 0, 0
    for _ in range(500):
        groups.admit(fresh)
        put_back = max(0, put_back - 1)
        running = [job.id for job in groups.running]
        first = rng.choice(running) // 2 * 2
        done = [group for job in (first, first + 1) if (group := groups.add(scored(job, [rng.randrange(9)])))]
        if rng.random() < 0.8:
            groups.keep(*done)
        else:
            groups.give_up(*done)
            given_up += 1
        put_back += groups.put_back(lambda group: rng.random() < 0.2)
        trained += len(groups.take(rng.randrange(1, 4)))
        assert groups.staleness.admitted == 2 * (trained + len(groups))
        state, waiting = groups.state()
        assert len(state["put_back"]) == put_back
        assert len(groups) == len(state["in_flight"]) + len(waiting) // 2
    again = ledger()
    again.restore(json.loads(json.dumps(state)), waiting)
    assert again.state() == (state, waiting)
    assert again.staleness.admitted == 2 * len(groups)
    assert again.running == groups.running
    assert again.admit(fresh)[0].id == 2 * 500
