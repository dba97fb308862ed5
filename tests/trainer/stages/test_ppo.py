"""The loop around stand-in actors: bounds, exactly-once, retries and restarts, in seconds."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter

import pytest
from ray.exceptions import RayActorError

from rollout.jobs import Job, NotReady, Outcome, sampling_seed
from rollout.records import Episode, PolicyCall, Problem
from tests.trainer.fakes import Rewarder, Worker
from tests.trainer.loop import GROUPS, make_pipeline, problems, train
from trainer.workers.errors import InfrastructureError, WaitTimeout
from trainer.workers.pipeline import BudgetSpent


@pytest.mark.parametrize("staleness", [0, 1, 3])
@pytest.mark.parametrize("learner_delay", [0.0, 0.02])
def test_staleness_is_bounded_and_every_problem_trained_once(staleness, learner_delay):
    workers = [Worker(1), Worker(2, calls=3)]
    result, group, rows, _ = asyncio.run(train(workers, staleness, learner_delay=learner_delay))
    assert result.version == 12
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
    result, group, rows, pipeline = asyncio.run(train([Worker()], 1, poison_every=5))
    assert result.version == 12
    assert result.dropped > 0
    assert pipeline.counts["reward_errors"] == result.dropped
    assert all("poison" not in item.problem_id for batch in group.batches for item in batch)
    assert rows[-1][1]["reward/errors"] > 0


def test_infrastructure_errors_are_retried_and_lose_nothing():
    _, group, _, pipeline = asyncio.run(train([Worker(3, fail=0.05), Worker(4)], 1))
    assert pipeline.counts["retried"] > 0
    trained = Counter(item.problem_id for batch in group.batches for item in batch)
    assert len(trained) == 12 * 8
    assert set(trained.values()) == {1}


@pytest.mark.parametrize("staleness", [0, 1])
@pytest.mark.parametrize("budget", [0, 5, 8, 44])
def test_with_the_budget_spent_full_batches_are_trained_on_and_the_run_ends_in_order(staleness, budget):
    result, group, rows, pipeline = asyncio.run(train([Worker(1, budget=budget)], staleness))
    assert result.out_of_budget
    assert result.version == len(rows) == budget // 8
    trained = Counter(item.problem_id for batch in group.batches for item in batch)
    assert set(trained.values()) <= {1}
    assert pipeline.idle
    assert pipeline.counts["solver_failures"] == result.dropped == 0


def test_a_budget_that_suffices_changes_nothing():
    # Ahead of the learner, a busy machine makes some samples too stale, and those are paid for twice.
    result, *_ = asyncio.run(train([Worker(1, budget=12 * 8)], 0))
    assert (result.version, result.out_of_budget) == (12, False)


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
    monkeypatch.setattr("trainer.workers.errors.RESTART_POLL_S", 0.001)

    async def both():
        workers = [Worker(5, delay=0.02), Worker(6, delay=0.02)]

        async def disturb():
            for _ in range(3):
                await asyncio.sleep(0.08)
                workers[0].die()

        return workers, await train(workers, 1, steps=30, disturb=disturb, said=said)

    said: list[str] = []
    workers, (result, group, _, pipeline) = asyncio.run(both())
    assert result.version == 30
    assert said == ["rollout-0 died; started again, with the newest weights and its episodes"] * 3
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


class HasSlowEpisode(Worker):
    """Its fourth job takes until somebody releases it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.release = asyncio.Event()

    async def _run(self, job, life):
        first = self.version
        if job.id == 3:
            await self.release.wait()
            sample = PolicyCall("decompose", [1, 2], [3, 4], [-0.5, -0.5], [first, self.version])
            self.done.put_nowait(Outcome(job, Episode(job.problem, "daslam", calls=[sample])))
        else:
            await super()._run(job, life)


@pytest.mark.parametrize("staleness", [1, 10])
def test_a_slow_episode_holds_no_batch_and_goes_on_over_weight_changes(staleness):
    async def go():
        worker = HasSlowEpisode()

        async def release():
            while worker.version < 6:
                await asyncio.sleep(0.001)
            worker.release.set()

        return await train([worker], staleness, disturb=release)

    result, group, *_ = asyncio.run(go())
    assert result.version == 12
    trained = [item for batch in group.batches for item in batch]
    assert len({item.problem_id for item in trained}) == len(trained) == 12 * 8
    (slow,) = (item for item in trained if item.problem_id == "p-3")
    held_up = [number for number, batch in enumerate(group.batches) if slow in batch]
    assert held_up[0] >= 6, "six steps were taken without it"
    if staleness == 1:
        # On a busy machine another may be slow as well.
        assert result.refused >= 1, "begun with weights too old by then, and done anew"
        assert min(slow.rows[0].versions) >= held_up[0] - 1
    else:
        assert result.refused == 0
        assert slow.rows[0].versions[0] == 0 < 6 <= slow.rows[0].versions[1], "one episode, weights of two versions"


class SlowToReturn(Worker):
    """Loads slowly when it comes back; what it is given before that, or twice in one life, is written down."""

    def __init__(self, seed):
        super().__init__(seed, delay=0.05)
        self.returning = False
        self.early, self.given = 0, Counter()

    def die(self):
        super().die()
        self.returning = True

    async def submit(self, jobs):
        self.early += 0 if self.dead else self.returning * len(jobs)
        self.given.update((self.life, job.lane, job.id, job.tries) for job in jobs if not self.dead)
        await super().submit(jobs)

    async def load_weights(self, update, probe=(), expected=()):
        await asyncio.sleep(0.3 * self.returning)
        loaded = await super().load_weights(update, probe, expected)
        self.returning = False
        return loaded


class SlowRewarder(Rewarder):
    async def score(self, episodes):
        await asyncio.sleep(0.08)
        return await super().score(episodes)


@pytest.mark.parametrize("extra", [[], GROUPS])
def test_admissions_never_reach_a_worker_that_is_coming_back_and_nothing_is_trained_on_twice(monkeypatch, extra):
    monkeypatch.setattr("trainer.workers.errors.RESTART_POLL_S", 0.001)
    monkeypatch.setattr("tests.trainer.loop.Rewarder", SlowRewarder)

    async def go():
        workers = [SlowToReturn(1), SlowToReturn(2)]

        async def disturb():
            for _ in range(4):
                await asyncio.sleep(0.35)
                workers[0].die()

        return workers, await train(workers, 2, steps=15, poison_every=3, disturb=disturb, extra=extra)

    workers, (result, group, _, pipeline) = asyncio.run(go())
    assert result.version == 15
    assert pipeline.counts["restarts"] >= 3
    assert [worker.early for worker in workers] == [0, 0]
    assert set((workers[0].given + workers[1].given).values()) == {1}
    trained = Counter((item.problem_id, tuple(item.rows[0].token_ids)) for batch in group.batches for item in batch)
    assert len(trained) == 15 * 8
    assert set(trained.values()) == {1}
    assert not result.in_flight._scored


class OnlyJustThere(Worker):
    """Ray has a new process, which nobody made ready, before anybody notices that the old one died."""

    async def submit(self, jobs):
        if self.life and not self.restarts:
            raise NotReady("not yet")
        await super().submit(jobs)

    async def collect(self, wait_s):
        if self.life and not self.restarts:
            raise NotReady("not yet")
        return await super().collect(wait_s)

    def die(self):
        super().die()
        self.dead, self.absent, self.restarts = False, 0, 0


def test_a_new_process_that_was_not_made_ready_is_brought_back_whoever_meets_it_first():
    async def go():
        worker = OnlyJustThere(3)

        async def disturb():
            await asyncio.sleep(0.1)
            worker.die()

        return await train([worker], 1, steps=30, disturb=disturb)

    result, group, _, pipeline = asyncio.run(go())
    assert result.version == 30
    assert pipeline.counts["restarts"] == 1
    assert len({item.problem_id for batch in group.batches for item in batch}) == 30 * 8


class DiesAtPush(Worker):
    """Dies while it takes its first weights up."""

    async def load_weights(self, update, probe=(), expected=()):
        if update.version == 1 and not self.restarts - 1:
            await asyncio.sleep(0)
            self.die()
            raise RayActorError
        return await super().load_weights(update, probe, expected)


def test_a_worker_that_dies_at_a_push_does_not_hold_admission_up():
    """The version that all workers have rises when it is back, with nothing else to wake who waits for that."""
    worker = DiesAtPush()
    worker.restarts = 1
    result, group, *_ = asyncio.run(train([worker], 0, steps=4))
    assert result.version == 4
    assert set(group.staleness) == {0}


# -- side by side --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("staleness", [0, 1])
def test_evaluations_go_on_beside_the_training_and_leave_it_as_it_is(staleness, tmp_path):
    workers = [Worker(1, fail=0.05), Worker(2)]
    extra = ["evaluation.every=4"]
    result, group, rows, pipeline = asyncio.run(
        train(workers, staleness, learner_delay=0.02, extra=extra, checkpoints=tmp_path)
    )
    assert result.version == 12
    assert max(group.staleness) <= staleness
    trained = Counter(item.problem_id for batch in group.batches for item in batch)
    assert len(trained) == 12 * 8
    assert set(trained.values()) == {1}
    assert not any("held-out" in name for name in trained)
    assert pipeline.running == 0
    found = [row for _, row, _ in rows if "eval/accuracy" in row]
    assert [row["eval/version"] for row in found] == [4, 8, 12]
    # The stand-in pays every second problem; nothing changes the last policy while it is judged.
    assert {row["eval/accuracy"] for row in found} == {0.5}
    assert found[-1]["eval/version_mean"] == 12
    assert all(row["eval/version_mean"] >= row["eval/version"] for row in found)
    best = json.loads((tmp_path / "best" / "evaluation.json").read_text())
    assert (best["mean"], best["problems"]) == (0.5, 6)
    assert (tmp_path / "best" / "version").read_text() == str(best["version"])
    assert not (tmp_path / "candidate").exists()


def test_a_budget_that_ends_within_an_evaluation_ends_the_training_in_order(tmp_path):
    # 16 for the first two steps, then some for the evaluation after the second.
    workers = [Worker(1, budget=19)]
    result, group, rows, pipeline = asyncio.run(train(workers, 0, extra=["evaluation.every=2"], checkpoints=tmp_path))
    assert result.out_of_budget
    assert result.version == len(group.batches) == len(rows) == 2
    assert pipeline.idle
    assert not list(tmp_path.iterdir())


def test_jobs_come_out_where_they_were_handed_in(monkeypatch):
    """Three lanes with the same ids over workers of which one dies."""
    monkeypatch.setattr("trainer.workers.errors.RESTART_POLL_S", 0.001)

    def jobs(name):
        return [Job(index, Problem(f"{name}-{index}", "How many?", "1"), "daslam", 0) for index in range(20)]

    async def go():
        workers = [Worker(1, delay=0.1, fail=0.05), Worker(2, delay=0.1)]
        pipeline = make_pipeline(workers, max_tries=9)
        pipeline.start()
        await pipeline.submit(jobs("training"))
        runs = [asyncio.create_task(pipeline.run(jobs(name))) for name in ("a", "b", "given up")]
        await asyncio.sleep(0.02)
        runs.pop().cancel()
        workers[0].die()
        training = []
        while not pipeline.idle:
            training += await pipeline.next()
        found = [training, *(await asyncio.gather(*runs))]
        while pipeline.running:
            await asyncio.sleep(0.01)
        await pipeline.stop()
        return found

    for name, scored in zip(("training", "a", "b"), asyncio.run(go()), strict=True):
        assert sorted(item.job.problem.id for item in scored) == sorted(job.problem.id for job in jobs(name))


def test_an_error_of_the_infrastructure_is_raised_in_every_lane():
    async def go():
        pipeline = make_pipeline([Worker(fail=1.0)])
        pipeline.start()
        jobs = [Job(0, next(problems()), "daslam", 0)]
        await pipeline.submit(jobs)
        found = await asyncio.gather(pipeline.next(), pipeline.run(jobs), return_exceptions=True)
        late = await asyncio.gather(pipeline.run(jobs), return_exceptions=True)
        await pipeline.stop()
        return [*found, *late]

    assert [type(error) for error in asyncio.run(go())] == [InfrastructureError] * 3


def test_the_time_without_a_running_episode_is_counted():
    async def go():
        pipeline = make_pipeline([Worker(delay=0.2)])
        pipeline.start()
        await asyncio.sleep(0.1)
        jobs = [Job(index, next(problems()), "daslam", 0) for index in range(20)]
        started = time.perf_counter()
        await pipeline.run(jobs)
        busy = time.perf_counter() - started
        between = pipeline.idle_s
        await asyncio.sleep(0.1)
        await pipeline.stop()
        return between, pipeline.idle_s - between, busy

    before, after, busy = asyncio.run(go())
    assert before == pytest.approx(0.1, abs=0.05) == after
    assert busy > 0.1


@pytest.mark.parametrize(("target", "staleness"), [(0, {0}), (0.3, {0}), (0.5, {0, 1, 2}), (1, {0, 1, 2})])
def test_groups_are_admitted_whole_whatever_part_of_a_version_the_staleness_target_is(target, staleness):
    worker, extra = Worker(1), [*GROUPS, f"controller.staleness_target={target}"]
    result, group, _, _ = asyncio.run(train([worker], 2, extra=extra))
    assert (result.version, len(worker.seen)) == (12, 12 * 8)
    assert set(group.staleness) <= staleness
