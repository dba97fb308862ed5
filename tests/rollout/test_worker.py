"""The rollout worker without its engine: which jobs it begins."""

from __future__ import annotations

import asyncio

from launch.compose import compose
from rollout.jobs import Job
from rollout.records import Problem
from rollout.strategies import STRATEGIES
from rollout.worker import RolloutWorker


def test_jobs_that_go_ahead_are_not_held_back_by_the_concurrency(monkeypatch):
    begun, finish = [], asyncio.Event()

    async def strategy(exchange):
        begun.append(exchange.problem.id)
        await finish.wait()

    async def go():
        plain = RolloutWorker.__ray_metadata__.modified_class
        worker = plain.__new__(plain)
        worker.config = compose(["rollout.concurrency=2"])
        worker.engine = type("NoEngine", (), {"version": 0})()
        await worker.ready([])
        problems = [Problem(name, "How many?", "1") for name in ("a", "b", "c", "held out")]
        jobs = [Job(index, problem, "direct", 0, ahead="held" in problem.id) for index, problem in enumerate(problems)]
        await worker.submit(jobs)
        await asyncio.sleep(0.01)
        first = list(begun)
        finish.set()
        found = []
        while len(found) < len(jobs):
            found += await worker.collect(1.0)
        return first, [outcome.job.id for outcome in found]

    monkeypatch.setitem(STRATEGIES, "direct", strategy)
    first, found = asyncio.run(go())
    assert sorted(first) == ["a", "b", "held out"]
    assert sorted(found) == [0, 1, 2, 3]
