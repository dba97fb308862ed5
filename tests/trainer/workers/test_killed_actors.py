"""Real actor processes that are killed: what has arrived stays, what had not is run or scored again, all of it once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import pytest
import ray

from conf.schema.places import ROOT
from rewards.reward import Reward
from rollout.jobs import Job, NotReady, Outcome
from rollout.records import Episode, PolicyCall, Problem, opened
from trainer.workers.pipeline import Pipeline
from trainer.workers.relay import Relay
from trainer.workers.relayed_pipeline import RelayedPipeline

COUNT = 40


def stalls() -> bool:
    """Return whether this process is to be killed, in the middle of its work; the next one does all of it."""
    return not ray.get_runtime_context().was_current_actor_reconstructed


class Runs:
    """A rollout worker whose episodes take a moment each, one after the other, and which notes those it has run."""

    def __init__(self, notes: str, killed: bool) -> None:
        self.notes, self.done, self.running = notes, None, set()
        # Where it is the relay that dies, what did not arrive is run twice.
        self.runs = COUNT // 2 if killed and stalls() else 2 * COUNT

    async def ready(self, solvers):
        self.done = asyncio.Queue()
        return os.getpid()

    async def process(self):
        return os.getpid()

    async def submit(self, jobs):
        if self.done is None:
            raise NotReady("not yet")
        task = asyncio.create_task(self._run(jobs, self.done))
        self.running.add(task)

    async def _run(self, jobs, done):
        for job in jobs:
            if self.runs == 0:
                await asyncio.Event().wait()
            self.runs -= 1
            await asyncio.sleep(0.05)
            with open(self.notes, "a") as notes:
                notes.write(f"{job.id}\n")
            sample = PolicyCall("decompose", [1], [job.id], [-0.5], [0])
            done.put_nowait(Outcome(job, Episode(job.problem, "daslam", calls=[sample])))

    async def collect(self, wait_s):
        if self.done is None:
            raise NotReady("not yet")
        outcomes = [await self.done.get()]
        while not self.done.empty():
            outcomes.append(self.done.get_nowait())
        return outcomes


class Scores:
    """A reward actor that takes a moment for a batch."""

    def __init__(self, killed: bool) -> None:
        self.scores = COUNT // 2 if killed and stalls() else 2 * COUNT

    async def ready(self):
        return os.getpid()

    process = ready

    async def score(self, episodes):
        if self.scores <= 0:
            await asyncio.Event().wait()
        self.scores -= len(episodes)
        await asyncio.sleep(0.1)
        return [(opened(one).packed(), Reward({}, 1.0, {}, [], 1.0, None)) for one in episodes]


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
            relay = ray.remote(Relay).options(**options).remote(0, 1, str(tmp_path), 120.0, 10.0)
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
