"""Groups: trained on whole or not at all, and resampled where they are flat."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from launch.compose import compose
from rollout.jobs import sampling_seed
from tests.trainer.fakes import Group, Worker
from tests.trainer.loop import GROUPS, make_pipeline, problems, train
from tests.trainer.samples import scored
from trainer.stages.ppo import Controller
from trainer.stages.sample_groups import flat


def check_groups(group, steps=12, batch=8, size=4):
    """Every batch holds whole groups of one problem each, sampled with different seeds, and no problem comes again."""
    problems_seen = Counter()
    for found in group.batches:
        assert len(found) == batch
        for number in range(batch // size):
            members = [item for item in found if item.group == number]
            assert len(members) == size
            assert len({item.problem_id for item in members}) == 1
            seeds = {item.rows[0].token_ids[1] for item in members}
            assert len(seeds) == size, "the stand-in's second token is its seed"
            problems_seen[members[0].problem_id] += 1
    assert len(problems_seen) == steps * batch // size
    assert set(problems_seen.values()) <= {1}


@pytest.mark.parametrize("staleness", [0, 2])
def test_groups_are_trained_on_whole_and_once_within_the_bound(staleness):
    workers = [Worker(1, fail=0.05), Worker(2)]
    controller, group, rows, pipeline = asyncio.run(train(workers, staleness, extra=GROUPS))
    assert controller.version == 12
    assert max(group.staleness) <= staleness
    assert pipeline.counts["retried"] > 0
    assert controller.staleness.admitted == 12 * 8
    assert rows[-1][1]["episode/flat_groups"] == 0
    check_groups(group)


def test_a_group_with_an_episode_that_cannot_be_trained_on_is_given_up_whole():
    result, group, _, pipeline = asyncio.run(train([Worker()], 1, poison_every=5, extra=GROUPS))
    assert result.version == 12
    assert result.dropped == pipeline.counts["reward_errors"] > 0
    assert result.dropped % 4 == 0
    check_groups(group)
    assert all("poison" not in item.problem_id for batch in group.batches for item in batch)


def test_flat_groups_make_room_for_others_and_are_counted():
    extra = [*GROUPS, "algorithm.resample_flat_groups=true", "algorithm.resample_limit=100"]
    result, group, rows, _ = asyncio.run(train([Worker()], 1, varied_every=2, extra=extra))
    assert result.version == 12
    assert result.dropped == 0
    check_groups(group)
    assert all("varied" in item.problem_id for batch in group.batches for item in batch)
    # Of 24 groups trained on, every second problem's: 23 flat ones were admitted between them, or a few more.
    assert 20 <= rows[-1][1]["episode/flat_groups"] <= 23 + 4


def test_flat_groups_are_trained_on_where_resampling_is_off_or_has_reached_its_limit():
    _, group, rows, _ = asyncio.run(train([Worker()], 1, varied_every=2, extra=GROUPS))
    assert rows[-1][1]["episode/flat_groups"] == 0
    assert any("varied" not in item.problem_id for batch in group.batches for item in batch)
    # Nothing but flat groups: every step gives up twice its own number of them, and goes on.
    extra = [*GROUPS, "algorithm.resample_flat_groups=true", "algorithm.resample_limit=2"]
    result, group, rows, _ = asyncio.run(train([Worker()], 0, steps=5, extra=extra))
    assert result.version == 5
    assert rows[-1][1]["episode/flat_groups"] == 5 * 2 * 2
    check_groups(group, steps=5)


@pytest.mark.parametrize(("budget", "steps"), [(7, 0), (8, 1), (23, 2)])
def test_with_the_budget_spent_no_part_of_a_group_is_trained_on(budget, steps):
    extra = [*GROUPS, "algorithm.resample_flat_groups=true"]
    result, group, _, pipeline = asyncio.run(train([Worker(1, budget=budget)], 1, varied_every=1, extra=extra))
    assert result.out_of_budget
    assert result.version == steps
    assert pipeline.idle
    check_groups(group, steps=steps)


def test_a_group_is_flat_when_all_its_rewards_are_the_same():
    assert flat([scored(0, [0], 0.1 + 0.2), scored(1, [0], 0.3)])
    assert not flat([scored(0, [0], 0.3), scored(1, [0], 0.3001)])
    assert not flat([scored(0, [0], 0.3)])


def test_a_group_with_one_sample_that_is_too_stale_is_put_back_whole():
    async def refuse():
        config = compose([*GROUPS, "algorithm.group_size=2", "algorithm.batch_size=2", "controller.max_staleness=1"])
        controller = Controller(config, make_pipeline([Worker()]), Group(), problems(), lambda *_: None)
        controller.version = 3
        for versions in ([[3, 3], [1, 3]], [[2, 3], [3]]):
            jobs = controller.in_flight.admit(controller._fresh_group)
            controller.in_flight.keep([scored(job.id, sampled) for job, sampled in zip(jobs, versions, strict=True)])
        return controller, await controller._take()

    controller, groups = asyncio.run(refuse())
    assert [[item.job.id for item in group] for group in groups] == [[2, 3]]
    assert controller.refused == 2
    assert controller.staleness.admitted == 2
    again = controller.in_flight.admit(controller._fresh_group)
    assert [(job.problem.id, job.seed) for job in again] == [("p-0", 100), ("p-0", 101)]
    fresh = controller.in_flight.admit(controller._fresh_group)
    assert {job.problem.id for job in fresh} == {"p-2"}
    assert [job.id for job in [*again, *fresh]] == [4, 5, 6, 7]


def test_with_groups_of_one_a_problems_seed_is_that_of_its_admission():
    config = compose(["seed=7"])
    controller = Controller(config, make_pipeline([Worker()]), Group(), problems(), lambda *_: None)
    jobs = [job for _ in range(3) for job in controller.in_flight.admit(controller._fresh_group)]
    assert [(job.id, job.seed) for job in jobs] == [(i, sampling_seed(7, f"p-{i}", i)) for i in range(3)]


def test_the_samples_of_a_group_have_seeds_of_their_own():
    assert len({sampling_seed(0, "a", epoch, sample) for epoch in range(3) for sample in range(8)}) == 24
    # The first sample of a problem keeps the seed it has where it is the only one.
    assert sampling_seed(0, "a", 0, 0) == sampling_seed(0, "a", 0) == 668558283
