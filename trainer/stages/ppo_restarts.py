"""Stage 2 with a learner that may die: its ranks are started again and go on from the newest checkpoint.

Steps taken since that checkpoint are taken again; their rows are taken out of the run's files first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rewards.reward import Sample
from trainer.learner.learner_group import LearnerDied, LearnerGroup
from trainer.run_folder.files import read_rows
from trainer.stages.engine_gap import ALARM, alarm_line, largest_healthy
from trainer.stages.evaluation import Evaluator
from trainer.stages.ppo import Controller, OnStep
from trainer.stages.ppo_checkpoints import Recovery, Save
from trainer.tracking.ending import stopping
from trainer.tracking.live_view import View
from trainer.tracking.tracker import METRICS, Tracker
from trainer.workers.errors import START_KEY, answer
from trainer.workers.pipeline import BudgetSpent, Pipeline


@dataclass
class RestartedPpo:
    """Stage 2 of a run, from ``decomposer`` or the newest checkpoint on; it keeps the run's ``summary`` up to date.

    ``restarted`` is called when new learner ranks are there.
    """

    recovery: Recovery
    decomposer: str
    pipeline: Pipeline
    learner: LearnerGroup
    view: View
    tracker: Tracker
    summary: dict[str, Any]
    on_step: OnStep
    save: Save
    restarted: Callable[[], object]
    _differs: bool = False

    async def run(self) -> None:
        """Take all steps and write the last checkpoint. Raises BudgetSpent if the solver's budget ended it, SolverGone
        if the solver did not come back, once every step taken is in a checkpoint, LearnerDied if a learner dies once
        more than ``controller.learner_restarts``. Cancelled, it writes that checkpoint if there is time for it."""
        config, died = self.recovery.config, False
        while True:
            self.view.stage("stage 2, asynchronous PPO", config.algorithm.steps)
            try:
                if died:
                    await self._restart_learner()
                return await self._try()
            except LearnerDied as death:
                if self.summary["learner_restarts"] >= config.controller.learner_restarts:
                    raise
                self.summary["learner_restarts"] += 1
                died = True
                self.view.say(f"{death}; the learner is started again and goes on after step {self.recovery.version}")

    async def _try(self) -> None:
        """Take all steps with the learner there is."""
        config = self.recovery.config
        evaluator: Evaluator | None = None
        if config.evaluation.every and not config.rollout.replay:  # a replay has no engines to evaluate with
            problems = self.recovery.source.held_out(config.evaluation.subset)
            evaluator = Evaluator(config, self.pipeline, self.learner, problems, self.recovery.folder)
        controller = self.recovery.controller(self.pipeline, self.learner, self._on_step, self.save, evaluator)
        controller.say = self.view.say
        try:
            if evaluator is not None:
                await self._evaluate_again(evaluator)
            await controller.run()
        except asyncio.CancelledError:
            if controller.between_steps and controller.version > self.recovery.version:
                saving = self.save(f"step-{controller.version}", controller)
                await self._save_by(controller.stop_by, saving)
            raise
        finally:
            self.summary |= {
                "weight_version": self.pipeline.version,
                "max_staleness_seen": controller.max_staleness,
                "refused": controller.refused,
                "dropped": controller.dropped,
                "dropped_by_outcome": dict(controller.drops.by_outcome),
            }
        self.summary["steps"] = controller.version
        if evaluator is not None and evaluator.best is not None:
            self.summary["best"] = evaluator.best
        gone = controller.solver_gone
        if gone is not None and controller.version < config.algorithm.steps:
            if controller.version > self.recovery.version:
                await self._save(f"step-{controller.version}", controller)
            raise gone
        await self._save("ppo", controller)
        if controller.out_of_budget:
            raise BudgetSpent

    async def _evaluate_again(self, evaluator: Evaluator) -> None:
        """Begin the evaluation that is due at the version to go on from, unless a row that counts has it: the process
        or the learner may have ended before it was told. After the last step no row will come: wait, and add it to
        that step's."""
        version = self.recovery.version
        if not version or any(row.get("eval/version") == version for row in read_rows(self.tracker.folder / METRICS)):
            return
        try:
            await evaluator.keep(version)
            evaluator.begin(version)
            if version == self.recovery.config.algorithm.steps:
                self.tracker.add(version, await evaluator.metrics(wait=True))
        except BaseException:
            await evaluator.stop()
            raise

    async def _save(self, name: str, controller: Controller) -> None:
        """Write a checkpoint; cancelled meanwhile, complete it first if there is time for it."""
        saving = asyncio.ensure_future(self.save(name, controller))
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError:
            limit = self.recovery.config.controller.stop_timeout_s
            self.view.say(stopping(limit))
            await self._save_by(asyncio.get_running_loop().time() + limit, saving)
            raise

    async def _save_by(self, deadline: float, saving: Awaitable[None]) -> None:
        """Wait for a checkpoint of a run that is stopped, until the loop's time is ``deadline``. A learner that dies
        then is not started again: the run goes on from the checkpoint before."""
        with suppress(TimeoutError, LearnerDied):
            async with asyncio.timeout_at(deadline):
                await saving

    async def _on_step(self, step: int, metrics: dict[str, float], batch: list[Sample]) -> None:
        """Report a step; say it, here and at W&B, when the engines begin to differ from the learner."""
        await self.on_step(step, metrics, batch)
        before, self._differs = self._differs, bool(metrics.get(ALARM, self._differs))
        if self._differs and not before:
            line = alarm_line(step, metrics, largest_healthy(self.recovery.config))
            self.view.say(line)
            self.tracker.alert("engine and learner differ", line)

    async def _restart_learner(self) -> None:
        """Start new ranks with the newest checkpoint or stage 2's beginning; nothing is left of the steps since."""
        await self.pipeline.reset()
        limit, logs = self.recovery.config.controller.start_timeout_s, self.recovery.folder.parent / "logs"
        await answer(self.learner.restart(), "learner-0", "start again", limit, logs, START_KEY)
        self.restarted()
        self.tracker.rewind(self.recovery.version, self.summary["accuracy"])
        await self.recovery.begin(self.decomposer, self.pipeline, self.learner)
