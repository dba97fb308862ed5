"""Real actor processes that are killed: what has arrived stays, what had not is run or scored again, all of it once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import pytest
import ray

from conf.schema.places import ROOT
from rollout.jobs import Job
from rollout.records import Problem
from tests.trainer.workers.killable import COUNT, Fetches, Owns, Runs, Scores
from trainer.learner.learner_group import LearnerDied, LearnerGroup
from trainer.workers.errors import is_gone
from trainer.workers.pipeline import Pipeline
from trainer.workers.relay import Relay
from trainer.workers.relayed_pipeline import RelayedPipeline
from trainer.workers.weight_publisher import Publisher


@pytest.fixture(scope="module")
def cluster():
    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False, runtime_env=environment)
    yield
    ray.shutdown()


@pytest.mark.parametrize("killed", ["worker", "reward actor", "relay"])
def test_a_killed_process_costs_no_episode_and_none_comes_twice(cluster, tmp_path, killed):
    options = {"num_cpus": 0, "max_restarts": -1}
    worker = (
        ray.remote(Runs).options(max_concurrency=100, **options).remote(str(tmp_path / "notes"), killed == "worker")
    )
    rewarder = ray.remote(Scores).options(**options).remote(killed == "reward actor")

    processes = {}

    async def go():
        await worker.ready.remote([])
        settings = [worker], [], [rewarder], tmp_path, 120.0, 3
        pipeline = Pipeline(*settings)
        if killed == "relay":
            relay = ray.remote(Relay).options(**options).remote(0, 1, str(tmp_path), 120.0, 120.0, 10.0)
            processes["relay"] = await relay.ready.remote([rewarder])
            pipeline = RelayedPipeline(*settings, relays=[relay])
        pipeline.start()
        await pipeline.submit([Job(index, Problem(f"p-{index}", "?", "1"), "daslam", 0) for index in range(COUNT)])
        found = []
        while len(found) < COUNT // 4:
            found += await pipeline.next()
        early = [item.job.id for item in found]
        processes["worker"] = await worker.process.remote()
        processes["reward actor"] = await rewarder.process.remote()
        os.kill(processes[killed], signal.SIGKILL)
        while len(found) < COUNT:
            found += await pipeline.next()
        await pipeline.stop()
        return early, found, pipeline.counts

    early, found, counts = asyncio.run(go())
    assert sorted(item.job.id for item in found) == list(range(COUNT))
    assert all(item.episode.calls[0].token_ids == [item.job.id] for item in found)
    assert all(item.reward.error is None for item in found)
    runs = Counter(int(line) for line in (tmp_path / "notes").read_text().split())
    assert all(runs[identity] == 1 for identity in early), "what had arrived was run again"
    assert counts["restarts"] == (killed == "worker")
    if killed == "reward actor":
        assert counts["reward_retries"] >= 1
        assert set(runs.values()) == {1}
    for actor in (worker, rewarder):
        ray.kill(actor)


def test_a_push_whose_weights_died_with_a_killed_learner_is_its_death(cluster, tmp_path):
    rank, worker = (ray.remote(role).options(num_cpus=0).remote() for role in (Owns, Fetches))
    process = ray.get(rank.process.remote())

    async def go():
        learner = LearnerGroup(lambda: [rank], log_folder=tmp_path)
        publisher = Publisher([worker], tmp_path, 60.0)
        publisher.refill = learner.refill
        update, *_ = await learner.weights()
        await publisher.publish(update)
        os.kill(process, signal.SIGKILL)
        async with asyncio.timeout(60):
            while True:  # until the worker's side knows of the death
                await publisher.publish(update)

    with pytest.raises(LearnerDied, match="learner-0"):
        asyncio.run(go())
    ray.kill(worker)


def test_a_process_that_ray_ends_for_want_of_memory_is_gone():
    assert is_gone(ray.exceptions.OutOfMemoryError("the node ran low on memory"))
    assert not is_gone(RuntimeError("the node ran low on memory"))
