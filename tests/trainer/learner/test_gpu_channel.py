"""The way from GPU to GPU when something on it dies or hangs: real actors and vLLM's own trainer, a broadcast that
blocks in NCCL's place."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
import ray

from conf.schema.places import ROOT
from launch.compose import compose
from tests.trainer.learner.lossy import Group, LossyRank, LossyWorker, trainer_of
from trainer.learner.learner_group import LearnerGroup
from trainer.workers.errors import WaitTimeout, WorkerLost
from trainer.workers.weight_publisher import Publisher


@pytest.fixture(scope="module")
def cluster():
    environment = {"env_vars": {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}}
    ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False, runtime_env=environment)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def rank(cluster, tiny_model):
    config = compose(
        [
            f"model.path={tiny_model}", "rollout.weights.transport=nccl", "rollout.gpus=1", "learner.gpus_per_rank=1",
            "model.dtype=float32", "learner.dtype=float32",
        ]
    )  # fmt: skip
    return ray.remote(LossyRank).options(num_cpus=0).remote(config, 0)


async def until(condition):
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("step", ["start", "update", "finish", "before"])
def test_a_worker_that_dies_in_a_push_costs_no_learner_and_the_others_get_the_weights(rank, tmp_path, step):
    """This push goes through the object store, to the worker that is back too; the next from GPU to GPU."""

    async def go():
        options = {"num_cpus": 0, "max_restarts": -1, "max_concurrency": 100}
        workers = [ray.remote(LossyWorker).options(**options).remote(step * (index == 1)) for index in range(2)]
        learner = LearnerGroup(lambda: [rank], workers, "nccl", 120.0, tmp_path)
        publisher = Publisher(workers, tmp_path, 60.0)
        publisher.refill = learner.refill
        process = (await learner.connect())[0]
        victim = [(await worker.seen.remote())[0] for worker in workers][1]
        await rank.set.remote(1, step in ("start", "update"))
        if step == "before":
            os.kill(victim, signal.SIGKILL)
            push = asyncio.create_task(learner.weights())
        else:
            push = asyncio.create_task(learner.weights())

            async def reached():
                return step in (await workers[1].seen.remote())[1]

            await until(reached)
            os.kill(victim, signal.SIGKILL)
        async with asyncio.timeout(60):
            update, *_ = await push
        assert not update.sent
        await publisher.publish(update)

        async def back():
            try:
                await workers[1].seen.remote()
            except ray.exceptions.RayActorError:
                return False
            return True

        await until(back)
        await publisher.catch_up(1)
        await rank.set.remote(2, False)
        update, *_ = await learner.weights()
        await publisher.publish(update)
        found = [await worker.seen.remote() for worker in workers]
        return process, (await learner.connect())[0], update.sent, found, publisher.versions

    before, after, sent, ((_, first, _), (_, second, _)), versions = asyncio.run(go())
    assert before == after
    assert sent
    assert versions == [2, 2]
    whole = ["init", "start", "update", "finish"]
    assert first[-4:] == second[-4:] == whole
    # The survivor was told to give up what did not end.
    assert "give_up" in first[first.index("start") if step != "before" else 0 :]


def channel(monkeypatch, tiny_model, group, workers, timeout_s=0.2, port=0):
    import torch

    from tests.trainer.ranks import configure
    from trainer.learner import gpu_channel
    from trainer.learner.actor_critic import ActorCritic
    from trainer.learner.weight_sender import SendingRank

    rank = SendingRank(configure(tiny_model, f"controller.wait_timeout_s={timeout_s}"), 0)
    rank.model = ActorCritic(str(tiny_model), torch.float32, None)
    monkeypatch.setattr(gpu_channel, "LATE_S", 0.0)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(gpu_channel, "WeightTransferTrainerFactory", trainer_of(group))
    return gpu_channel.Channel(rank, workers, "nccl", "127.0.0.1", port)


def test_a_worker_that_hangs_in_a_broadcast_aborts_it_and_is_named(cluster, monkeypatch, tiny_model):
    worker = ray.remote(LossyWorker).options(num_cpus=0, max_concurrency=9).remote("update")
    ray.get(worker.seen.remote())
    way = channel(monkeypatch, tiny_model, Group(), [worker], timeout_s=2.0)
    with pytest.raises(WaitTimeout, match=r"rollout-0 did not take step update of a weight transfer in 2 s \(contr"):
        way.send(1)
    ray.kill(worker)


def answers(worker) -> bool:
    try:
        ray.get(worker.seen.remote())
    except ray.exceptions.ActorDiedError:
        return False
    return True


def test_a_worker_that_is_gone_is_named(cluster, monkeypatch, tiny_model):
    workers = [ray.remote(LossyWorker).options(num_cpus=0, max_concurrency=9).remote("") for _ in range(2)]
    way = channel(monkeypatch, tiny_model, Group(), workers, timeout_s=20.0)
    ray.get(workers[1].seen.remote())
    ray.kill(workers[1])
    # A kill returns before the worker is dead, which may answer a call or two until then.
    while answers(workers[1]):
        time.sleep(0.05)
    with pytest.raises(WorkerLost, match="rollout-1 ended in step start of a weight transfer: The actor"):
        way.send(1)
    ray.kill(workers[0])


def test_a_rank_whose_broadcast_cannot_be_aborted_ends_itself(cluster, monkeypatch, tiny_model, caplog):
    """Its supervisor starts it again then, as one that died."""
    from trainer.learner import gpu_channel

    worker = ray.remote(LossyWorker).options(num_cpus=0, max_concurrency=9).remote("update")
    ray.get(worker.seen.remote())
    group, ended = Group(aborts=False), []

    def end(code):
        ended.append((code, time.monotonic()))
        group.received.set()

    monkeypatch.setattr(gpu_channel, "ABORT_S", 0.3)
    monkeypatch.setattr(gpu_channel.os, "_exit", end)
    way = channel(monkeypatch, tiny_model, group, [worker], timeout_s=2.0)
    with pytest.raises(WaitTimeout):
        way.send(1)
    assert [code for code, _ in ended] == [1]
    assert "rollout-0 did not take step update of a weight transfer in 2 s" in caplog.text
    assert "this process hangs 0.3 s later, and ends" in caplog.text
    time.sleep(0.5)
    assert len(ended) == 1
    ray.kill(worker)


def test_an_error_of_vllms_own_is_told_before_those_of_workers_that_wait_for_it():
    from trainer.learner.gpu_channel import Workers

    waited = RuntimeError("wait timeout after 300000ms")

    def broken(workers):
        with workers.watched():
            workers.error = waited
            raise OSError("Address already in use")

    with pytest.raises(OSError, match="already in use"):
        broken(Workers([], 1, 1.0))
    opened = Workers([], 1, 1.0)
    opened.abort = lambda: None
    with pytest.raises(RuntimeError, match="wait timeout"):
        broken(opened)
    waited = WorkerLost("rollout-1 ended")
    with pytest.raises(WorkerLost):
        broken(Workers([], 1, 1.0))
