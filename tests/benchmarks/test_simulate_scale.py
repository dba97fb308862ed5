"""The simulated roles hand on what the real ones do, so that the benchmark of scale runs on the present records."""

from __future__ import annotations

import asyncio

import benchmarks.simulate_scale as scale
from rewards.reward import sample
from rollout.jobs import Job
from rollout.records import Problem
from trainer.algorithm.experience import sample_experience


def test_a_simulated_episode_goes_from_the_worker_over_the_reward_actor_into_the_learner(monkeypatch):
    monkeypatch.setattr(scale, "LEARN_S", 0.01)

    async def go():
        worker, job = scale.SimulatedWorker(0, 2, 0.01), Job(0, Problem("p", "How many?", "5"), "daslam", 0)
        worker.submit([job])
        (outcome,) = await worker.collect(5.0)
        ((episode, reward),) = await scale.SimulatedRewards().score([outcome.episode.packed()])
        experience = sample_experience(sample(job, episode, reward), "subquestion", 0)
        return await scale.SimulatedRank().train_step([experience])

    metrics = asyncio.run(go())
    assert metrics["staleness/max"] == 0
    assert metrics["tokens/policy"] == scale.SAMPLE_TOKENS
