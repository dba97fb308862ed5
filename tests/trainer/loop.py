"""The controller over stand-in actors, for the tests of its loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

from launch.compose import compose
from rollout.records import Problem
from tests.trainer.fakes import Actor, Group, Rewarder
from trainer.stages.evaluation import Evaluator
from trainer.stages.ppo import Controller
from trainer.workers.pipeline import Pipeline

GROUPS = ["algorithm=grpo", "algorithm.group_size=4", "algorithm.minibatches=1"]


def problems(poison_every: int = 0, varied_every: int = 0):
    index = 0
    while True:
        name = "poison" if poison_every and index % poison_every == 0 else "p"
        if varied_every and index % varied_every == 0:
            name = "varied"
        yield Problem(f"{name}-{index}", "How many?", "1")
        index += 1


def make_pipeline(workers, wait_timeout_s=5.0, max_tries=3):
    return Pipeline(
        [Actor(w) for w in workers], ["solver"], [Actor(Rewarder())], Path("logs"), wait_timeout_s, max_tries
    )


async def train(
    workers,
    staleness,
    steps=12,
    batch=8,
    poison_every=0,
    learner_delay=0.01,
    disturb=None,
    varied_every=0,
    extra=(),
    checkpoints=None,
    said=None,
):
    config = compose(
        [f"algorithm.steps={steps}", f"algorithm.batch_size={batch}", f"controller.max_staleness={staleness}", *extra]
    )
    pipeline, group, rows = make_pipeline(workers), Group(learner_delay), []
    held_out = [Problem(f"held-out-{index}", "How many?", "1") for index in range(6)]
    evaluator = Evaluator(config, pipeline, group, held_out, checkpoints) if checkpoints else None

    async def on_step(step, metrics, scored):
        rows.append((step, metrics, scored))

    if said is not None:
        pipeline.on_restart = said.append
    pipeline.start()
    controller = Controller(config, pipeline, group, problems(poison_every, varied_every), on_step, evaluator=evaluator)
    tasks = [asyncio.create_task(disturb())] if disturb else []
    try:
        async with asyncio.timeout(60):
            await controller.run()
    finally:
        for task in tasks:
            task.cancel()
        await pipeline.stop()
    return controller, group, rows, pipeline
