"""The loop around stand-in actors: bounds, exactly-once, retries and restarts, in seconds."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from ray.exceptions import RayActorError

from launch.compose import compose
from rollout.records import Problem
from rollout.worker import Job
from tests.trainer.fakes import Actor, Group, Rewarder, Worker
from trainer.controller import Controller, sampling_seed
from trainer.pipeline import BudgetSpent, InfrastructureError, Pipeline, WaitTimeout


def problems(poison_every: int = 0):
    index = 0
    while True:
        name = "poison" if poison_every and index % poison_every == 0 else "p"
        yield Problem(f"{name}-{index}", "How many?", "1")
        index += 1


def make_pipeline(workers, wait_timeout_s=5.0, max_tries=3):
    return Pipeline(
        [Actor(w) for w in workers], ["solver"], [Actor(Rewarder())], Path("logs"), wait_timeout_s, max_tries
    )


async def train(workers, staleness, steps=12, batch=8, poison_every=0, learner_delay=0.01, disturb=None):
    config = compose(
        [f"algorithm.steps={steps}", f"algorithm.batch_size={batch}", f"controller.max_staleness={staleness}"]
    )
    pipeline, group, rows = make_pipeline(workers), Group(learner_delay), []

    async def on_step(step, metrics, scored):
        rows.append((step, metrics, scored))

    pipeline.start()
    controller = Controller(config, pipeline, group, problems(poison_every), on_step)
    tasks = [asyncio.create_task(disturb())] if disturb else []
    try:
        async with asyncio.timeout(60):
            result = await controller.run()
    finally:
        for task in tasks:
            task.cancel()
        await pipeline.stop()
    return result, group, rows, controller, pipeline


@pytest.mark.parametrize("staleness", [0, 1, 3])
@pytest.mark.parametrize("learner_delay", [0.0, 0.02])
def test_staleness_is_bounded_and_every_problem_trained_once(staleness, learner_delay):
    workers = [Worker(1), Worker(2)]
    result, group, rows, _, _ = asyncio.run(train(workers, staleness, learner_delay=learner_delay))
    assert result.steps == result.version == 12
    assert [row[0] for row in rows] == list(range(1, 13))
    assert max(group.staleness) <= staleness
    assert result.max_staleness <= staleness
    trained = Counter(item.problem_id for batch in group.batches for item in batch)
    assert len(trained) == 12 * 8
    assert set(trained.values()) == {1}
    if staleness == 0:
        assert set(group.staleness) == {0}
    elif learner_delay:
        assert max(group.staleness) > 0


def test_poisoned_episodes_are_dropped_and_counted_and_the_run_goes_on():
    result, group, rows, _, pipeline = asyncio.run(train([Worker()], 1, poison_every=5))
    assert result.steps == 12
    assert result.dropped > 0
    assert pipeline.counts["reward_errors"] == result.dropped
    assert all("poison" not in item.problem_id for batch in group.batches for item in batch)
    assert rows[-1][1]["reward/errors"] > 0


def test_infrastructure_errors_are_retried_and_lose_nothing():
    _, group, _, _, pipeline = asyncio.run(train([Worker(3, fail=0.05), Worker(4)], 1))
    assert pipeline.counts["retried"] > 0
    trained = Counter(item.problem_id for batch in group.batches for item in batch)
    assert len(trained) == 12 * 8
    assert set(trained.values()) == {1}


@pytest.mark.parametrize("staleness", [0, 1])
@pytest.mark.parametrize("budget", [0, 5, 8, 44])
def test_with_the_budget_spent_full_batches_are_trained_on_and_the_run_ends_in_order(staleness, budget):
    result, group, rows, _, pipeline = asyncio.run(train([Worker(1, budget=budget)], staleness))
    assert result.out_of_budget
    assert result.steps == result.version == len(rows) == budget // 8
    trained = Counter(item.problem_id for batch in group.batches for item in batch)
    assert set(trained.values()) <= {1}
    assert pipeline.idle
    assert pipeline.counts["solver_failures"] == result.dropped == 0


def test_a_budget_that_suffices_changes_nothing():
    result, *_ = asyncio.run(train([Worker(1, budget=12 * 8)], 1))
    assert (result.steps, result.out_of_budget) == (12, False)


def test_a_budget_that_ends_an_evaluation_gives_no_figure():
    async def go():
        pipeline = make_pipeline([Worker(budget=3)])
        pipeline.start()
        try:
            with pytest.raises(BudgetSpent):
                await pipeline.run([Job(index, next(problems()), "daslam", 0) for index in range(6)])
            return pipeline.idle
        finally:
            await pipeline.stop()

    assert asyncio.run(go())


def test_a_job_that_always_fails_ends_the_run_by_name():
    with pytest.raises(InfrastructureError, match="failed 3 times, at last with: ConnectionError: gone"):
        asyncio.run(train([Worker(fail=1.0)], 1))


def test_a_worker_that_dies_gets_its_weights_and_jobs_again(monkeypatch):
    monkeypatch.setattr("trainer.pipeline.RESTART_POLL_S", 0.001)

    async def both():
        workers = [Worker(5, delay=0.02), Worker(6, delay=0.02)]

        async def disturb():
            for _ in range(3):
                await asyncio.sleep(0.08)
                workers[0].die()

        return workers, await train(workers, 1, steps=30, disturb=disturb)

    workers, (result, group, _, _, pipeline) = asyncio.run(both())
    assert result.steps == 30
    assert workers[0].restarts == pipeline.counts["restarts"] == 3
    trained = Counter(item.problem_id for batch in group.batches for item in batch)
    assert len(trained) == 30 * 8
    assert set(trained.values()) == {1}
    assert max(group.staleness) <= 1


def test_a_wait_has_a_limit_and_says_what_for():
    async def hang():
        worker = Worker(delay=1e4)
        pipeline = make_pipeline([worker], wait_timeout_s=0.2)
        pipeline.start()
        try:
            await pipeline.run([Job(0, next(problems()), "daslam", 0)])
        finally:
            await pipeline.stop()

    with pytest.raises(WaitTimeout, match=r"no episode finished in 0\.2 s with 1 running"):
        asyncio.run(hang())


def test_sampling_seeds_depend_on_run_problem_and_epoch_alone():
    seeds = {sampling_seed(run, problem, epoch) for run in (0, 1) for problem in ("a", "b") for epoch in (0, 1)}
    assert len(seeds) == 8
    assert sampling_seed(0, "a", 0) == sampling_seed(0, "a", 0) < 2**31


class DiesAtPush(Worker):
    """Dies while it takes its first weights up."""

    async def load_weights(self, weights, version, probe=(), expected=()):
        if version == 1 and not self.restarts - 1:
            await asyncio.sleep(0)
            self.die()
            raise RayActorError
        return await super().load_weights(weights, version, probe, expected)


def test_a_worker_that_dies_at_a_push_does_not_hold_admission_up():
    """The version that all workers have rises when it is back, with nothing else to wake who waits for that."""
    worker = DiesAtPush()
    worker.restarts = 1
    result, group, *_ = asyncio.run(train([worker], 0, steps=4))
    assert result.steps == 4
    assert set(group.staleness) == {0}
