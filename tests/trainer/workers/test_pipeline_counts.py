"""Counts of the pipeline: the episodes that come out of it, by how they ended."""

from __future__ import annotations

import asyncio
from typing import Any

from rollout.jobs import Job, Outcome
from rollout.records import TRAINED_ON, Episode, Problem
from tests.trainer.fakes import Actor, Rewarder, Worker
from trainer.workers.pipeline import Pipeline

OTHERS = ("solver_timeout", "verifier_empty", "episode_timeout")


class Ending(Worker):
    """A worker whose episodes end in the way that their problem's question names."""

    async def _run(self, job: Any, life: int) -> None:
        self.done.put_nowait(Outcome(job, Episode(job.problem, "daslam", outcome=job.problem.question)))


def test_an_episode_that_the_policy_ended_is_no_failure_of_the_solver(tmp_path):
    async def go() -> int:
        pipeline = Pipeline([Actor(Ending())], ["solver"], [Actor(Rewarder())], tmp_path, 5.0, 3)
        pipeline.start()
        try:
            jobs = [Job(n, Problem(f"p-{n}", name, "1"), "daslam", 0) for n, name in enumerate((*TRAINED_ON, *OTHERS))]
            await pipeline.run(jobs)
        finally:
            await pipeline.stop()
        return pipeline.counts["solver_failures"]

    assert asyncio.run(go()) == len(OTHERS)
