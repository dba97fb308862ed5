"""Checkpoints of stage 2, written between two steps: the run's next process goes on from the newest or, when a learner
rank died, this one does. Steps taken since then are taken again.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from conf.schema.config import Config
from rollout.data.source import Source
from trainer.learner.learner_group import LearnerGroup
from trainer.run_folder.checkpoints import WAITING, Checkpoint, check_written, new_checkpoint, newest, read_checkpoint
from trainer.stages.evaluation import Evaluator
from trainer.stages.ppo import Controller, OnStep
from trainer.workers.pipeline import Pipeline
from trainer.workers.recorded_pipeline import Replay
from trainer.workers.scored_episode_json import read_scored, write_scored

# Called with a checkpoint's name and the controller that it is of.
Save = Callable[[str, Controller], Awaitable[None]]


class Recovery:
    """The checkpoints of a run in ``folder``; ``checkpoint`` is the one to go on from, None for stage 2's beginning."""

    def __init__(self, config: Config, folder: Path, source: Source) -> None:
        self.config, self.folder, self.source = config, folder, source
        self.checkpoint: Checkpoint | None = None

    @property
    def version(self) -> int:
        """The learner steps to go on after."""
        return 0 if self.checkpoint is None else self.checkpoint.version

    def find_checkpoint(self) -> dict[str, Any] | None:
        """Find what an earlier process left; return the run's own state in it, None if there is no checkpoint."""
        self.checkpoint = newest(self.folder)
        return None if self.checkpoint is None else dict(self.checkpoint.state["run"])

    async def begin(self, decomposer: str, pipeline: Pipeline, learner: LearnerGroup) -> None:
        """Load the checkpoint's policy into learner and engines, or else ``decomposer``, which stage 2 starts from and
        which is the reference in either case. Where there is no stage 2, nothing is loaded that it alone needs."""
        await learner.setup(decomposer, "ppo" if "ppo" in self.config.stages else "sft")
        if self.checkpoint is not None:
            await learner.restore(str(self.checkpoint.folder))
        weights, _, _ = await learner.weights()
        await pipeline.publish(weights)

    def controller(
        self, pipeline: Pipeline, learner: LearnerGroup, on_step: OnStep, save: Save, evaluator: Evaluator | None = None
    ) -> Controller:
        """Return a controller that goes on where the checkpoint was taken, and has ``save`` called with a name and
        itself whenever the next is due."""
        config = self.config
        drawn = 0 if self.checkpoint is None else self.checkpoint.state["controller"]["drawn"]
        if isinstance(pipeline, Replay):
            problems = pipeline.problems(config.algorithm.group_size)
        else:
            problems = self.source.train(config.seed)
            drawn += config.sft.problems if "sft" in config.stages else 0

        async def on_checkpoint(step: int) -> None:
            await save(f"step-{step}", controller)

        rest = itertools.islice(problems, drawn, None)
        controller = Controller(config, pipeline, learner, rest, on_step, on_checkpoint, evaluator)
        if self.checkpoint is not None:
            controller.restore(self.checkpoint.state["controller"], read_scored(self.checkpoint.folder / WAITING))
        return controller

    async def save(self, name: str, controller: Controller, learner: LearnerGroup, run: dict[str, Any]) -> None:
        """Write a checkpoint between two steps, with the run's own state. Rollouts go on meanwhile."""
        own, waiting = controller.state()
        state = {"version": controller.version, "controller": own, "run": run}
        async with new_checkpoint(self.folder / name, state, self.config.learner.keep_checkpoints) as partial:
            await learner.checkpoint(str(partial))
            write_scored(partial / WAITING, waiting)
            check_written(partial, self.config.learner.ranks, WAITING)
        self.checkpoint = read_checkpoint(self.folder / name)
