"""The rollout worker without its engine: which jobs it begins."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from launch.compose import compose
from rollout.engine.vllm_engine import PromptTooLong
from rollout.engine.weight_update import Entry, Loaded, Update, WeightMismatch
from rollout.jobs import Job, NotReady
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

        version, loads_parts, context = 0, True, 8

        def __init__(self):
            self.free = asyncio.Event()

        async def load_weights(self, named, version, *, verify):
            self.version = version
            return Loaded(version)

        async def logprobs(self, prompt, completion):
            await self.free.wait()
            if len(prompt) + len(completion) + 1 > self.context:
                raise PromptTooLong
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
        full = ([1] * 5, [2, 3, 4]), [-0.9, -0.9, -0.9]
        await worker.load_weights(Update(2), [full[0], probe[1]], [full[1], [-0.4]])
        beside = await worker.proof(2)
        await worker.load_weights(Update(3), [full[0]], [full[1]])
        alone = await worker.proof(3)
        await worker.load_weights(Update(4), probe, expected)
        engine.version = 5
        return without, early, other, proof, beside, alone, await worker.proof(4)

    without, early, other, proof, beside, alone, overtaken = asyncio.run(go())
    assert (without, early, other, overtaken) == (None, False, None, None)
    assert (proof.largest, proof.mean) == pytest.approx((0.2, 0.2 / 3))
    # A completion that was cut by the context cannot be scored, and proves nothing.
    assert (beside.largest, alone) == (pytest.approx(0.1), None)


class Stuck:
    """An engine in which a step of a transfer does not end, because its learner is gone."""

    def __init__(self, stuck: str) -> None:
        self.stuck, self.steps, self.free = stuck, [], asyncio.Lock()
        self.waits_for_learner = False

    async def transfer(self, step, argument=None):
        async with self.free:
            self.steps.append(step)
            if step == self.stuck:
                self.waits_for_learner = True
                await asyncio.Event().wait()


def ends(monkeypatch):
    """Have the end of the worker's process raise instead."""

    def end(code):
        raise SystemExit(code)

    monkeypatch.setattr("rollout.worker.os._exit", end)


def test_a_step_of_a_transfer_that_hangs_ends_the_process_and_says_so(monkeypatch, capfd):
    """It cannot be ended otherwise; Ray starts the worker again."""
    ends(monkeypatch)

    async def go():
        worker = worker_without_engine(None, ["controller.wait_timeout_s=0.2"], engine=Stuck("update"))
        await worker.transfer("init", {})
        await worker.transfer("start")
        try:
            await worker.transfer("update")
        except SystemExit as end:
            return end.code
        return None

    assert asyncio.run(go()) == 1
    said = "step update of a weight transfer did not end in 0.2 s (controller.wait_timeout_s)"
    assert said in capfd.readouterr().err


def test_a_transfer_that_is_given_up_while_it_hangs_ends_the_process_after_a_moment(monkeypatch, capfd):
    ends(monkeypatch)
    monkeypatch.setattr("rollout.worker.GIVE_UP_S", 0.1)

    async def go():
        worker = worker_without_engine(None, engine=Stuck("update"))
        await worker.transfer("init", {})
        hanging = asyncio.create_task(worker.transfer("update"))
        await asyncio.sleep(0.02)
        try:
            await worker.transfer("give_up")
        except SystemExit as end:
            return end.code
        finally:
            hanging.cancel()
        return None

    assert asyncio.run(go()) == 1
    assert (
        "step give_up of a weight transfer did not end in 0.1 s (the transfer was given up)" in capfd.readouterr().err
    )


def test_a_process_that_was_started_again_is_in_no_transfer():
    async def go():
        worker = worker_without_engine(None, engine=Stuck(""))
        await worker.transfer("give_up")
        with pytest.raises(NotReady, match="has not met the learner"):
            await worker.transfer("start")
        await worker.transfer("init", {})
        await worker.transfer("start")
        return worker.engine.steps

    assert asyncio.run(go()) == ["give_up", "init", "start"]


def test_weights_that_came_from_gpu_to_gpu_and_are_damaged_are_asked_for_another_way(capfd):
    class Damaged:
        version, stats = 5, SimpleNamespace(loads=1)

        async def prove(self, proofs):
            raise WeightMismatch("embed was loaded as other than it was sent")

    config = compose([])
    update = Update(5, sent=True, proofs=(Entry("embed", "float32", (1,), "d"),))
    loaded = asyncio.run(worker_without_engine(config, engine=Damaged()).load_weights(update))
    assert loaded.version == -1
    assert "embed was loaded as other than it was sent" in capfd.readouterr().err
