"""Whatever is in a batch, every episode of it comes back, and only what is wrong with one concerns that one."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time

import pytest
import ray

import rewards.total
from conf.schema.places import ROOT
from conf.schema.rewards import Rewards
from rewards.actor import RewardActor, score_batch
from rewards.nouns_and_vectors import TextResources
from rollout.jobs import Job, Outcome
from rollout.records import Attempt, Episode, PackedEpisode, Problem, opened
from tests.rewards.actors import DRIVER, Poison, QuickActor
from trainer.workers.pipeline import Pipeline

SETTINGS = Rewards.for_mode("bounded")
ONE_SECOND = SETTINGS.model_copy(update={"episode_seconds": 1.0})


def episode(name: str, kind: str = "number", final: str = "The answer is 7.") -> Episode:
    return Episode(Problem(name, "How many pens?", "7", kind, solution="3 + 4 = 7"), "daslam", final=Attempt(final))


@pytest.fixture(scope="module")
def resources() -> TextResources:
    return TextResources()


def test_one_episode_that_cannot_be_scored_stays_alone(resources, capsys):
    rewards = score_batch([episode("a"), episode("b", kind="sonnet"), episode("c")], resources, SETTINGS)
    assert [math.isnan(reward.total) for reward in rewards] == [False, True, False]
    assert "unknown answer type 'sonnet'" in (rewards[1].error or "")
    assert "problem b not scored" in capsys.readouterr().out


def test_an_episode_that_comes_packed_goes_packed_with_its_answers_filled_in(resources):
    plain = RewardActor.__ray_metadata__.modified_class
    actor = plain.__new__(plain)
    actor.settings, actor.resources = SETTINGS, resources
    (packed, reward), (other, same) = actor.score([episode("a").packed(), episode("a")])
    assert isinstance(packed, PackedEpisode)
    assert isinstance(other, Episode)
    assert packed.open() == other
    assert packed.facts == other.facts
    assert other.final.answer == "7"
    assert reward == same


def test_one_episode_that_takes_too_long_is_stopped(resources, monkeypatch):
    real = rewards.total.PART_FUNCTIONS["operation_order"]

    def slow(item: Episode, *others):
        while item.problem.id == "slow":
            pass
        return real(item, *others)

    monkeypatch.setitem(rewards.total.PART_FUNCTIONS, "operation_order", slow)
    started = time.perf_counter()
    short = SETTINGS.model_copy(update={"episode_seconds": 0.3})
    found = score_batch([episode("a"), episode("slow"), episode("c")], resources, short)
    assert time.perf_counter() - started < 5
    assert [reward.error is None for reward in found] == [True, False, True]
    assert "rewards.episode_seconds" in (found[1].error or "")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.fixture(scope="module")
def cluster():
    os.environ[DRIVER] = str(os.getpid())
    root = str(ROOT)
    ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": root}})
    yield
    ray.shutdown()


def test_an_episode_that_takes_its_actor_along_costs_no_other_one(cluster, tmp_path):
    actor = ray.remote(QuickActor).options(num_cpus=0, max_restarts=-1).remote(ONE_SECOND)
    ray.get(actor.ready.remote())
    batch = [episode("a"), episode("ends"), episode("hangs"), episode("c")]
    for item in batch[1:3]:
        item.problem.meta["poison"] = Poison(item.problem.id)

    async def run() -> tuple[list, dict[str, int]]:
        pipeline = Pipeline([None], [], [actor], tmp_path, 60, 3, episode_seconds=1.0)
        pipeline.on_restart = said.append
        jobs = [Job(index, item.problem, "daslam", seed=0) for index, item in enumerate(batch)]
        pipeline._running[0].update({(job.lane, job.id): job for job in jobs})
        await pipeline._finish(0, [Outcome(job, item) for job, item in zip(jobs, batch, strict=True)])
        return await pipeline.next(), pipeline.counts

    said: list[str] = []
    scored, counts = asyncio.run(run())
    assert len(said) == counts["reward_retries"]
    assert all(line.startswith("reward-0 di") and line.endswith("; started again") for line in said)
    assert [item.episode.problem.id for item in scored] == ["a", "ends", "hangs", "c"]
    assert [item.reward.error is None for item in scored] == [True, False, False, True]
    assert counts["reward_errors"] == 2
    assert counts["reward_retries"] == 5  # the batch, then each poisoned episode twice


def test_batches_that_a_dead_process_had_are_all_scored_and_its_death_is_said_once(cluster, tmp_path):
    actor = RewardActor.options(num_cpus=0, max_restarts=-1).remote(ONE_SECOND, 0, str(tmp_path))

    async def run() -> None:
        pipeline = Pipeline([None], [], [actor], tmp_path, 60, 3, episode_seconds=1.0)
        pipeline.on_restart = said.append
        for deaths in (1, 2):
            os.kill(await actor.ready.remote(), signal.SIGKILL)
            one_each = [[episode(str(batch)).packed() if batch % 2 else episode(str(batch))] for batch in range(8)]
            pairs = await asyncio.gather(*map(pipeline.scoring.score, one_each))
            good = [opened(one).problem.id for ((one, reward),) in pairs if reward.error is None]
            assert good == [str(batch) for batch in range(8)]
            assert len(said) == deaths

    said: list[str] = []
    asyncio.run(run())
    assert all(line.startswith("reward-0 died") for line in said)
