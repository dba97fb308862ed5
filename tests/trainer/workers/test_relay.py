"""Relays between workers and the driver: every episode comes out once, scored, whichever process dies on the way."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from pathlib import Path

import pytest
from ray.exceptions import ActorUnavailableError, RayActorError

import trainer.workers.relay
import trainer.workers.scoring
from launch.compose import compose
from rollout.jobs import Job, NotReady
from rollout.records import Problem
from tests.trainer.fakes import Actor, Worker
from tests.trainer.loop import problems
from tests.trainer.workers.test_packed_episodes import FarGroup, FarRewarder, FarWorker, trained
from trainer.stages.ppo import Controller
from trainer.workers.errors import WaitTimeout
from trainer.workers.relay import Relay, relay_count
from trainer.workers.relayed_pipeline import RelayedPipeline

LOGS = Path("logs")


class FarRelay(Relay):
    """A relay in a process of its own, which dies when told to. Its actors are the fakes of this process."""

    def __init__(self, index: int, count: int, wait_timeout_s: float = 5.0, episode_seconds: float = 10.0) -> None:
        self.index, self.count, self.log_folder = index, count, LOGS
        self.wait_timeout_s, self.start_timeout_s, self.episode_seconds = wait_timeout_s, 5.0, episode_seconds
        self._watching, self.absent, self.begun = None, 0, 0

    def die(self) -> None:
        for task in self._watching.collecting | self._watching.scoring:
            task.cancel()
        self._watching, self.absent = None, 2

    async def ready(self, rewarders):
        if self.absent:
            self.absent -= 1
            raise ActorUnavailableError("its new process is not there yet", bytes(16))
        self.begun += 1
        return await super().ready(rewarders)

    async def collect(self, wait_s):
        watching = self._begun()
        arrivals = await super().collect(min(wait_s, 0.05))
        if self._watching is not watching:
            raise RayActorError
        return pickle.loads(pickle.dumps(arrivals))


class Slow(FarRewarder):
    """A reward actor that hangs with the first batch, and is a new process when that was ended."""

    hangs = True

    async def score(self, episodes):
        if self.hangs:
            self.hangs = False
            await asyncio.Event().wait()
        return await super().score(episodes)


async def relayed(workers, rewarders, count=2, wait_timeout_s=5.0, episode_seconds=10.0):
    relays = [FarRelay(index, count, wait_timeout_s, episode_seconds) for index in range(count)]
    rewarders = [Actor(one) for one in rewarders]
    for relay in relays:
        await relay.ready(rewarders)
    settings = [Actor(one) for one in workers], ["solver"], rewarders, LOGS, wait_timeout_s, 3, episode_seconds
    pipeline = RelayedPipeline(*settings, relays=[Actor(one) for one in relays])
    pipeline.said = []
    pipeline.on_restart = pipeline.said.append
    return pipeline, relays


async def train_relayed(workers, rewarders, disturb=None, **named):
    config = compose(["algorithm.steps=6", "algorithm.batch_size=8", "controller.max_staleness=1"])
    pipeline, relays = await relayed(workers, rewarders, **named)
    group, steps = FarGroup(), []
    pipeline.start()
    disturbing = asyncio.create_task(disturb(relays)) if disturb else None
    try:
        async with asyncio.timeout(60):
            await Controller(
                config, pipeline, group, problems(), lambda *row: asyncio.sleep(0, steps.append(row))
            ).run()
    finally:
        await pipeline.stop()
    if disturbing is not None:
        await disturbing
    assert len(trained(group)) == 6 * 8
    assert set(trained(group).values()) == {1}
    assert pipeline.counts["reward_errors"] == 0
    return pipeline, relays


def jobs(count, first=0):
    return [Job(index, Problem(f"p-{index}", "How many?", "1"), "daslam", 0) for index in range(first, first + count)]


async def some(pipeline, count):
    found = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await pipeline.next()
    return found


@pytest.mark.parametrize(
    ("workers", "rewarders", "count"), [(1, 1, 0), (32, 8, 0), (33, 8, 2), (64, 1, 1), (64, 4, 2), (256, 4, 4)]
)
def test_there_are_relays_where_there_are_many_workers_and_each_has_reward_actors_of_its_own(workers, rewarders, count):
    assert relay_count(workers, rewarders) == count


def test_all_episodes_are_trained_on_once_and_each_relay_has_its_own_workers_and_reward_actors():
    workers, rewarders = [FarWorker(seed) for seed in range(4)], [FarRewarder() for _ in range(3)]
    pipeline, relays = asyncio.run(train_relayed(workers, rewarders))
    assert [sorted(relay._watching.workers) for relay in relays] == [[0, 2], [1, 3]]
    assert all(worker.seen for worker in workers)
    assert all(rewarder.batches for rewarder in rewarders)
    assert not pipeline.said


def test_episodes_that_fail_are_tried_again():
    pipeline, _ = asyncio.run(train_relayed([FarWorker(1, fail=0.1), FarWorker(2)], [FarRewarder()], count=1))
    assert pipeline.counts["retried"] > 0


def test_a_worker_that_dies_is_brought_back_and_asked_again():
    workers = [FarWorker(1), FarWorker(2), FarWorker(3)]

    async def disturb(relays):
        await asyncio.sleep(0.05)
        workers[0].die()

    pipeline, _ = asyncio.run(train_relayed(workers, [FarRewarder(), FarRewarder()], disturb))
    assert pipeline.counts["restarts"] == 1
    assert pipeline.said == ["rollout-0 died; started again, with the newest weights and its episodes"]


def test_a_relay_that_dies_costs_no_episode_and_none_comes_twice():
    async def disturb(relays):
        await asyncio.sleep(0.05)
        relays[0].die()

    workers = [FarWorker(seed) for seed in range(4)]
    pipeline, relays = asyncio.run(train_relayed(workers, [FarRewarder(), FarRewarder()], disturb))
    assert [relay.begun for relay in relays] == [2, 1]
    assert [worker.restarts for worker in workers] == [1, 0, 1, 0]
    assert pipeline.counts["restarts"] == 0, "no worker died"
    assert pipeline.said == ["relay-0 died; started again, and its 2 workers begin their episodes anew"]


def test_what_a_reward_actor_dies_over_is_scored_again_by_the_driver():
    rewarders = [FarRewarder([RayActorError()]), FarRewarder()]
    pipeline, _ = asyncio.run(train_relayed([FarWorker(1), FarWorker(2)], rewarders))
    assert pipeline.counts["reward_retries"] == 1
    assert pipeline.said == ["reward-0 died (RayActorError); started again"]


def test_a_reward_actor_that_hangs_is_ended_once_and_its_batch_scored_again(monkeypatch):
    ended = []
    monkeypatch.setattr(trainer.workers.scoring.ray, "kill", lambda actor, no_restart: ended.append(actor))
    pipeline, _ = asyncio.run(train_relayed([FarWorker(1)], [Slow()], count=1, episode_seconds=0.02))
    assert len(ended) == pipeline.counts["reward_retries"] == 1
    assert pipeline.said == ["reward-0 did not answer within 0.02 s an episode and was ended; started again"]


def test_a_reward_actor_that_takes_longer_to_come_back_than_the_wait_is_waited_for_by_relay_and_driver():
    class SlowToReturn(FarRewarder):
        async def ready(self):
            await asyncio.sleep(0.3)
            return await super().ready()

    async def go():
        rewarder = SlowToReturn([RayActorError()])
        pipeline, relays = await relayed([FarWorker(1, delay=0.0)], [rewarder], count=1, wait_timeout_s=0.1)
        pipeline.start()
        await pipeline.submit(jobs(2))
        found = await some(pipeline, 2)
        await pipeline.submit(jobs(2, first=2))
        found += await some(pipeline, 2)
        await pipeline.stop()
        return sorted(item.job.id for item in found), relays[0]._watching.error

    assert asyncio.run(go()) == ([0, 1, 2, 3], None)


def test_nothing_of_before_a_reset_comes_out():
    async def go():
        workers, rewarder = [FarWorker(1, delay=0.0), FarWorker(2, delay=0.0)], FarRewarder()
        rewarder.free.clear()
        pipeline, _ = await relayed(workers, [rewarder], count=1)
        pipeline.start()
        await pipeline.submit(jobs(8))
        await asyncio.sleep(0.1)  # the relay has them, and the reward actor does not answer
        await pipeline.reset()
        rewarder.free.set()
        await pipeline.submit(jobs(4, first=4))
        found = await some(pipeline, 4)
        await asyncio.sleep(0.2)
        await pipeline.stop()
        return Counter(item.job.id for item in found), pipeline.running, pipeline.idle

    assert asyncio.run(go()) == (Counter(range(4, 8)), 0, True)


def test_scoring_that_takes_longer_than_the_wait_is_no_silence_and_a_silent_worker_is():
    async def go(delay):
        rewarder = FarRewarder()
        rewarder.free.clear()
        pipeline, _ = await relayed([FarWorker(1, delay=delay)], [rewarder], count=1, wait_timeout_s=0.3)
        pipeline.start()
        await pipeline.submit(jobs(2))
        asyncio.get_running_loop().call_later(0.8, rewarder.free.set)
        try:
            return len(await some(pipeline, 2))
        finally:
            await pipeline.stop()

    assert asyncio.run(go(0.0)) == 2
    with pytest.raises(WaitTimeout, match=r"no episode finished in 0\.3 s with 2 running"):
        asyncio.run(go(60.0))


def test_a_new_process_of_a_relay_is_not_asked_before_it_is_ready():
    async def go():
        relay = FarRelay(0, 1)
        with pytest.raises(NotReady):
            await relay.collect(0.1)
        with pytest.raises(NotReady):
            await relay.watch({0: (Actor(Worker()), 0)})

    asyncio.run(go())


def test_a_worker_that_does_not_answer_is_an_error(monkeypatch):
    class Deaf(FarWorker):
        async def collect(self, wait_s):
            await asyncio.Event().wait()

    async def go():
        relay = FarRelay(0, 1, wait_timeout_s=0.1)
        await relay.ready([Actor(FarRewarder())])
        await relay.watch({0: (Actor(Deaf()), 0)})
        while True:
            await relay.collect(0.05)

    monkeypatch.setattr(trainer.workers.relay, "COLLECT_S", 0.1)
    with pytest.raises(WaitTimeout, match=r"rollout-0 did not say what is done in 0\.2 s"):
        asyncio.run(go())


def test_an_episode_comes_with_its_worker_and_its_reward():
    async def go():
        relay = FarRelay(0, 1)
        worker = FarWorker(1, delay=0.0)
        await relay.ready([Actor(FarRewarder())])
        await relay.watch({3: (Actor(worker), 0)})
        await worker.submit(jobs(1))
        while not (arrivals := await relay.collect(0.05)).outcomes:
            pass
        return arrivals

    ((index, outcome, reward),) = asyncio.run(go()).outcomes
    assert (index, outcome.job, outcome.episode.open().problem.id, reward.total) == (3, jobs(1)[0].key, "p-0", 0.0)
