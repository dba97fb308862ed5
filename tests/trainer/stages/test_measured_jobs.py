"""Whose episodes are measured with the solver's log-probabilities of the gold answer."""

from __future__ import annotations

import asyncio

import pytest

from tests.trainer.fakes import Worker
from tests.trainer.loop import train
from trainer.stages.evaluation import eval_jobs


@pytest.mark.parametrize(("rewards", "asked"), [("bounded", False), ("solver_likelihood", True)])
def test_only_training_episodes_of_a_reward_that_pays_it_are_measured(rewards, asked):
    extra = [f"rewards={rewards}", "controller.max_staleness=0"]
    _, _, rows, _ = asyncio.run(train([Worker(1)], 0, steps=1, learner_delay=0.0, extra=extra))
    jobs = [item.job for _, _, scored in rows for item in scored]
    assert [job.gold_logprobs for job in jobs] == [asked] * 8
    assert not any(job.gold_logprobs for job in eval_jobs([jobs[0].problem], "sft", "daslam"))
