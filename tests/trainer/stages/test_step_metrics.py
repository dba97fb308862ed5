"""Check the seconds and the weight push in a step's row."""

from __future__ import annotations

import asyncio

from launch.compose import compose
from rollout.engine.weight_update import Loaded
from tests.trainer import loop
from tests.trainer.fakes import Group, Worker
from trainer.stages.ppo import Controller


class Slow(Worker):
    """A worker that takes longer to load weights than the learner to make new ones."""

    async def load_weights(self, update, probe=(), expected=()):
        await asyncio.sleep(0.15)
        self.version = update.version
        self.loaded.append(update.version)
        return Loaded(update.version, 0.0, nbytes=100 * 2**20, pause_s=0.5)


def seconds(metrics: dict[str, float]) -> float:
    return 8 / metrics["throughput/episodes_s"]


def test_a_steps_seconds_have_the_checkpoint_before_it_and_all_of_its_idle_time():
    config = compose(
        ["algorithm.steps=6", "algorithm.batch_size=8", "controller.max_staleness=0", "learner.checkpoint_every=2"]
    )
    rows = []

    async def on_step(step, metrics, batch):
        rows.append(metrics)

    async def on_checkpoint(step):
        await asyncio.sleep(0.4)

    async def go():
        pipeline = loop.make_pipeline([Worker(delay=0.02)])
        pipeline.start()
        await Controller(config, pipeline, Group(), loop.problems(), on_step, on_checkpoint).run()
        await pipeline.stop()

    asyncio.run(go())
    assert [metrics["time/checkpoint"] > 0 for metrics in rows] == [False, False, True, False, True, False]
    assert all(seconds(metrics) >= metrics["time/checkpoint"] for metrics in rows)
    assert all(seconds(metrics) >= metrics["time/learner_wait"] for metrics in rows)
    assert max(metrics["time/learner_wait"] for metrics in rows) > 0.3


def test_a_step_without_a_load_of_its_own_has_neither_pause_nor_size():
    worker = Slow()
    _, _, rows, _ = asyncio.run(loop.train([worker], 4, steps=10, learner_delay=0.02))
    measured = {"time/pause": 0.5, "throughput/weights_mib": 100.0}
    found = [{name: metrics[name] for name in measured if name in metrics} for _, metrics, _ in rows]
    assert found.count(measured) == len(worker.loaded) < 10
    assert found.count({}) == 10 - len(worker.loaded)
