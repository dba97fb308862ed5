"""Episodes pass through the controller packed: it opens none, loses none, and what comes out is what went in."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from dataclasses import replace

import pytest
from ray.exceptions import ObjectLostError, RayActorError

from launch.compose import compose
from rewards.reward import PackedScored, Reward, Scored
from rollout.jobs import Job, JobKey, Outcome
from rollout.records import (
    Attempt,
    Decomposition,
    Episode,
    EpisodeFacts,
    PackedEpisode,
    PolicyCall,
    Problem,
    Turn,
    opened,
)
from tests.trainer.fakes import Actor, Group, Rewarder, Worker
from tests.trainer.loop import problems, train
from trainer.algorithm.experience import make_experience, sample_experience
from trainer.stages.ppo import Controller
from trainer.tracking.metrics_catalogue import episode_metrics
from trainer.tracking.tracker import episode_record
from trainer.workers.pipeline import Pipeline
from trainer.workers.scored_episode_json import job_row, row_job, row_scored, scored_row
from trainer.workers.scoring import SCORED_AT_ONCE

PROBLEM = Problem("p-1", "How many?", "1", meta={"steps": 3})
REWARD = Reward({"correctness": 0.5}, 0.25, {}, [0.25, 0.0], 1.0, 0.0, measures={"given": 0.5})


def episode(tokens: int = 3) -> Episode:
    versions = [4, 2, 7][:tokens]
    call = PolicyCall("decompose", [1, 2], list(range(tokens)), [-0.1] * tokens, versions, subquestion_ends=[0, 2])
    plan = Decomposition("a?\nb?", ["a?", "b?"], invalid="too_many")
    return Episode(
        PROBLEM, "daslam", Attempt("?"), plan, [Turn("a?", "1", "1")], Attempt("2", "2"), 2, "ok", [call], 40, 1.5
    )


def travelled(value):
    return pickle.loads(pickle.dumps(value))


def test_the_facts_are_what_the_controller_needs():
    assert episode().facts == EpisodeFacts("ok", "too_many", 2, 3, 40, (2, 7), 1)
    assert Episode(PROBLEM, "direct", outcome="solver_timeout").facts == EpisodeFacts(
        "solver_timeout", None, None, 0, 0, ()
    )
    assert episode(0).facts.versions == ()


def test_an_outcome_arrives_with_its_jobs_name_and_its_episode_packed():
    job = Job(5, PROBLEM, "daslam", 1, lane=2)
    came = travelled(Outcome(job, episode()))
    assert came.job == came.job.key == job.key == JobKey(2, 5)
    assert isinstance(came.episode, PackedEpisode)
    assert came.episode.facts == episode().facts
    assert opened(came.episode) == episode()
    assert travelled(came) == came
    assert travelled(Outcome(job, None, "ConnectionError: gone")) == Outcome(job.key, None, "ConnectionError: gone")


def test_packed_and_open_samples_give_the_same_files_metrics_and_experience():
    job = Job(5, PROBLEM, "daslam", 1)
    packed, plain = PackedScored(job, episode().packed(), REWARD), Scored(job, episode(), REWARD)
    assert packed.open() == plain == plain.open()
    assert packed.facts == plain.facts
    assert scored_row(packed) == scored_row(plain)
    assert episode_record(packed) == episode_record(plain)
    assert episode_metrics([packed]) == episode_metrics([plain])
    experience = sample_experience(packed, "subquestion", 4)
    assert travelled(experience).open() == make_experience(episode(), REWARD, "subquestion", 4)
    assert sample_experience(plain, "subquestion", 4) == experience.open()


def test_episodes_of_several_calls_arrive_whole_and_are_paid_by_call():
    calls = [
        PolicyCall("next", [1, 2], [3, 4], [-0.1, -0.2], [4, 4], text="a?"),
        PolicyCall("next", [1, 2, 3, 4, 9], [5], [-0.3], [5], text="b?"),
        PolicyCall("solve", [7, 8], [6, 6], [-0.4, -0.5], [5, 6], text="1"),
    ]
    spoken = replace(episode(), calls=calls)
    reward = replace(REWARD, total=1.0, by_call=[0.25, 0.5, 0.0])
    packed = PackedScored(Job(5, PROBLEM, "lm2", 1), spoken.packed(), reward)
    assert packed.facts == EpisodeFacts("ok", "too_many", 2, 5, 40, (4, 6), 3)
    assert travelled(packed).open() == Scored(packed.job, spoken, reward)
    experience = travelled(sample_experience(packed, "call", 4)).open()
    assert experience == make_experience(spoken, reward, "call", 4)
    assert [(row.pair, row.gaps, row.rewards) for row in experience.rows] == [
        (([1, 2], [3, 4, 9, 5]), [(2, 3)], [0.0, 0.25, 0.0, 0.5]),
        (([7, 8], [6, 6]), [], [0.0, 0.25]),
    ]
    assert episode_metrics([packed])["episode/calls"] == 3
    assert episode_record(packed)["token_versions"] == [4, 6]
    assert [call["text"] for call in episode_record(packed)["calls"]] == ["a?", "b?", "1"]


# -- through the pipeline ------------------------------------------------------------------------------------------


class FarWorker(Worker):
    """A worker in a process of its own, as its outcomes have it; ``lost`` of its answers never arrive."""

    def __init__(self, *arguments, lost: int = 0, **named) -> None:
        super().__init__(*arguments, **named)
        self.lost = lost

    async def collect(self, wait_s):
        outcomes = await super().collect(wait_s)
        if outcomes and self.lost:
            self.lost -= 1
            raise ObjectLostError("00" * 28, None, "")
        return travelled(outcomes)

    async def ready(self, solvers):
        self.life += 1  # what ran before is not handed out
        self.done = asyncio.Queue()
        return await super().ready(solvers)


class FarRewarder(Rewarder):
    """A reward actor in a process of its own, whose first calls end with ``errors``."""

    def __init__(self, errors=()) -> None:
        self.errors, self.batches, self.free = list(errors), [], asyncio.Event()
        self.free.set()
        self.processes = 0

    async def ready(self):
        self.processes += 1
        return self.processes

    async def score(self, episodes):
        self.batches.append(len(episodes))
        await self.free.wait()
        if self.errors:
            raise self.errors.pop()
        pairs = await super().score([pickle.loads(one.data) for one in travelled(episodes)])
        return [(one.packed(), reward) for one, reward in pairs]


class FarGroup(Group):
    """A learner in a process of its own."""

    async def train_step(self, batch):
        return await super().train_step([item.open() for item in travelled(batch)])


async def train_far(workers, rewarders, group=None, staleness=1):
    config = compose(["algorithm.steps=6", "algorithm.batch_size=8", f"controller.max_staleness={staleness}"])
    pipeline = Pipeline([Actor(one) for one in workers], [], [Actor(one) for one in rewarders], None, 5.0, 3)
    group, rows = group or FarGroup(), []
    pipeline.start()
    try:
        async with asyncio.timeout(60):
            await Controller(config, pipeline, group, problems(), lambda *row: asyncio.sleep(0, rows.append(row))).run()
    finally:
        await pipeline.stop()
    return group, rows, pipeline


def trained(group):
    return Counter(item.problem_id for batch in group.batches for item in batch)


class Closed(Group):
    """A learner that looks at nothing."""

    async def train_step(self, batch):
        self.batches.append(batch)
        self.version += 1
        return {"staleness/max": 0.0, "throughput/learner_tokens_s": 1.0, "time/learn": 1.0}


def test_the_controller_opens_no_episode(monkeypatch):
    places = []
    monkeypatch.setattr(PackedEpisode, "open", places.append)
    group, rows, _ = asyncio.run(train_far([FarWorker(1)], [FarRewarder()], Closed()))
    assert len(rows) == len(group.batches) == 6
    assert all(isinstance(item, PackedScored) for _, _, batch in rows for item in batch)
    assert not places


def test_packed_episodes_are_trained_on_once_each_and_reported_open():
    group, rows, _ = asyncio.run(train_far([FarWorker(1), FarWorker(2)], [FarRewarder(), FarRewarder()]))
    assert len(trained(group)) == 6 * 8
    assert set(trained(group).values()) == {1}
    for _, _, batch in rows:
        assert [item.episode.problem.id for item in batch] == [item.job.problem.id for item in batch]


def test_open_and_packed_episodes_are_trained_on_alike():
    _, near, _, _ = asyncio.run(train([Worker(1)], 0, steps=6))
    far, _, _ = asyncio.run(train_far([FarWorker(1)], [FarRewarder()], staleness=0))
    assert {item.problem_id for item in near.batches[0]} == {item.problem_id for item in far.batches[0]}
    assert {len(batch) for batch in (*near.batches, *far.batches)} == {8}


def test_an_answer_that_is_lost_with_its_node_is_given_again():
    workers = [FarWorker(1, lost=2), FarWorker(2)]
    group, _, pipeline = asyncio.run(train_far(workers, [FarRewarder()]))
    assert pipeline.counts["restarts"] == 2
    assert len(trained(group)) == 6 * 8
    assert set(trained(group).values()) == {1}


@pytest.mark.parametrize("error", [RayActorError(), ObjectLostError("00" * 28, None, "")])
def test_what_a_dying_reward_actor_had_is_scored_again_and_what_was_scored_stays(error):
    rewarders = [FarRewarder([error]), FarRewarder()]
    group, _, pipeline = asyncio.run(train_far([FarWorker(1), FarWorker(2)], rewarders))
    assert pipeline.counts["reward_retries"] == 1
    assert pipeline.counts["reward_errors"] == 0
    assert len(trained(group)) == 6 * 8
    assert set(trained(group).values()) == {1}


def test_a_worker_that_dies_takes_nothing_along_that_has_arrived():
    async def go():
        worker, rewarder = FarWorker(1, delay=0.0), FarRewarder()
        rewarder.free.clear()
        pipeline = Pipeline([Actor(worker)], [], [Actor(rewarder)], None, 5.0, 3)
        pipeline.start()
        await pipeline.submit([Job(index, Problem(f"p-{index}", "How many?", "1"), "daslam", 0) for index in range(4)])
        while any(pipeline._assignments.held):
            await asyncio.sleep(0.005)
        worker.die()  # with its episodes at the reward actor
        rewarder.free.set()
        found = []
        while len(found) < 4:
            found += await pipeline.next()
        await asyncio.sleep(0.1)
        await pipeline.stop()
        return worker, [item.job.id for item in found], pipeline.running

    worker, found, running = asyncio.run(go())
    assert sorted(found) == [0, 1, 2, 3]
    assert Counter(worker.seen) == Counter(range(4)), "run once"
    assert running == 0


def test_what_comes_while_all_reward_actors_work_is_scored_together():
    async def go():
        rewarders = [FarRewarder(), FarRewarder()]
        for one in rewarders:
            one.free.clear()
        pipeline = Pipeline([None], [], [Actor(one) for one in rewarders], None, 5.0, 3)
        jobs = [Job(index, PROBLEM, "daslam", 0) for index in range(42)]
        pipeline._assignments.assign(jobs)
        tasks = [asyncio.create_task(pipeline._finish(0, [Outcome(job.key, episode().packed())])) for job in jobs]
        await asyncio.sleep(0.05)
        before = [one.batches[:] for one in rewarders]
        for one in rewarders:
            one.free.set()
        await asyncio.gather(*tasks)
        found = []
        while len(found) < 42:
            found += await pipeline.next()
        return before, [size for one in rewarders for size in one.batches], found

    before, sizes, found = asyncio.run(go())
    assert before == [[1], [1]], "each has one batch at a time"
    assert sum(sizes) == 42
    assert len(sizes) == 5
    assert max(sizes) == SCORED_AT_ONCE
    assert sorted(item.job.id for item in found) == list(range(42))


@pytest.mark.parametrize(("workers", "calls"), [(1, 128), (2, 128), (64, 128), (1000, 1000)])
def test_workers_are_asked_for_episodes_so_often_together_and_each_once_a_second_at_least(workers, calls):
    assert workers / Pipeline([None] * workers, [], [], None, 5.0, 3).pause_s == calls


@pytest.mark.parametrize("measured", [False, True])
def test_a_recorded_job_and_episode_say_what_was_measured_only_where_it_was(measured):
    job = Job(3, PROBLEM, "daslam", 5, gold_logprobs=measured)
    assert row_job(job_row(job)) == job
    written = replace(episode(), gold_logprobs=[-3.5, -0.5] if measured else [])
    row = scored_row(Scored(job, written, REWARD))
    assert ("gold_logprobs" in row["job"], "gold_logprobs" in row["episode"]) == (measured, measured)
    again = row_scored(row)
    assert (again.job, again.episode.gold_logprobs) == (job, written.gold_logprobs)
