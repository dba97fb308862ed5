"""The rollout worker without its engine: which jobs it begins."""

from __future__ import annotations

import asyncio

import pytest

from launch.compose import compose
from rollout.engine.weight_update import Loaded, Update
from rollout.jobs import Job
from rollout.records import Problem
from rollout.strategies import STRATEGIES
from rollout.worker import RolloutWorker
from tests.rollout.fakes import worker_without_engine


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


def test_weights_are_acknowledged_when_they_are_loaded_and_the_proof_is_had_when_it_is_there():
    class Engine:
        """Loads at once, and scores probes when it is let."""

        version, loads_parts = 0, True

        def __init__(self):
            self.free = asyncio.Event()

        async def load_weights(self, named, version, *, verify):
            self.version = version
            return Loaded(version)

        async def logprobs(self, prompt, completion):
            await self.free.wait()
            return [-0.5 for _ in completion]

    async def go():
        engine = Engine()
        worker = worker_without_engine(None, engine=engine)
        probe, expected = [([1], [2, 3]), ([4], [5])], [[-0.5, -0.7], [-0.5]]
        without = await worker.proof(0)
        async with asyncio.timeout(5):
            await worker.load_weights(Update(1), probe, expected)
        proving = asyncio.ensure_future(worker.proof(1))
        await asyncio.sleep(0.01)
        early, other = proving.done(), await worker.proof(7)
        engine.free.set()
        proof = await proving
        await worker.load_weights(Update(2), probe, expected)
        engine.version = 3
        return without, early, other, proof, await worker.proof(2)

    without, early, other, proof, overtaken = asyncio.run(go())
    assert (without, early, other, overtaken) == (None, False, None, None)
    assert (proof.largest, proof.mean) == pytest.approx((0.2, 0.2 / 3))
