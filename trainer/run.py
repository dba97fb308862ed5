"""The main job: fine-tune, run PPO, evaluate. The stages hand their results on as model folders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from ray.exceptions import RayTaskError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from conf.schema.config import Config
from conf.schema.override_text import command, resumed
from rewards.reward import Sample, Scored
from rollout.data.source import check_source, make_source, what_was_read
from rollout.json_lines import write_whole
from rollout.records import Problem
from rollout.signals import Stopped, cancel_on_signals, exit_status, held_signals, kept_handlers
from rollout.solvers.base import Usage
from trainer.cluster.placement import in_words
from trainer.cluster.ray_cluster import note_processes, start_ray, stop_ray
from trainer.cluster.roles import for_actors, start_roles
from trainer.learner.learner_group import LearnerGroup
from trainer.learner.process_group import NonFiniteLoss
from trainer.reports.model_card import write_cards
from trainer.reports.run_page import write_pages
from trainer.run_folder.code_version import code_version
from trainer.run_folder.files import write_json
from trainer.run_folder.full_disk import full_disk, give_up_partial
from trainer.run_folder.mirror import Mirror
from trainer.run_folder.resume import CONFIG, OVERRIDES, holds_run
from trainer.run_folder.stage_seconds import StageSeconds
from trainer.stages.evaluation import changes_of, earlier_results, evaluate, kinds_at_start, kinds_before
from trainer.stages.fine_tuning import FineTuning
from trainer.stages.ppo import Controller
from trainer.stages.ppo_checkpoints import Recovery
from trainer.stages.ppo_restarts import RestartedPpo
from trainer.tracking.ending import NOTHING_TO_LEARN, RunLength, ending, nothing_to_learn, unmeasured_command
from trainer.tracking.labels import label
from trainer.tracking.live_view import View, result_table
from trainer.tracking.metrics_catalogue import solver_metrics
from trainer.tracking.tracker import Tracker, resident_gib
from trainer.tracking.wandb_run import kept_id
from trainer.workers.errors import reason, whole
from trainer.workers.pipeline import BudgetSpent, Pipeline
from trainer.workers.recorded_pipeline import Replay, read_recording
from trainer.workers.solver_account import SolverAccount
from trainer.workers.solver_outage import SolverGone

EPISODES_KEPT = 100


class Run:
    """One run and its folder. ``asked`` is what the solver was asked before the start."""

    def __init__(
        self, config: Config, folder: Path, console: Console, overrides: list[str], mirror: Mirror | None = None,
        asked: Usage | dict[str, Usage] | None = None,
    ) -> None:  # fmt: skip
        self.config, self.folder, self.mirror = config, folder, mirror
        self.console, self.overrides = console, overrides
        self.source = make_source(config.data)
        check_source(config, self.source)
        self.seconds = StageSeconds()
        self.account = SolverAccount(config, folder / "logs", asked or {})
        self.evaluated: list[tuple[str, Scored]] = []
        self.summary: dict[str, Any] = {
            "status": "running", "seed": config.seed, "steps": 0, "seconds": self.seconds, "n_eval": 0,
            "accuracy": {}, "rescued": None, "broken": None, "weight_version": 0, "max_staleness_seen": 0,
            "data": self.source.report, "learner_restarts": 0, "code": code_version(),
            **self.account.summary(),
        }  # fmt: skip
        self.recovery = Recovery(config, folder / "checkpoints", self.source)
        self.stopped_by, self.solver_gone = 0, False
        self.written: set[str] = set()  # checkpoints and results, by name: what the model cards are to say
        self.fine_tuning = FineTuning(config, folder, self.source, self._copy) if "sft" in config.stages else None
        sft = folder / "checkpoints" / "sft"
        self.fine_tuned = config.resume is not None and (sft / "config.json").is_file()
        given = for_actors(config)
        self.decomposer = str(sft) if self.fine_tuned else given.start_from or given.model.path

    def execute(self) -> int:
        """Do everything; return the exit status: 0, 1 after an error, 128 + the number of a signal that stopped it."""
        resumed = self.config.resume is not None and holds_run(self.folder)
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        (self.folder / "checkpoints").mkdir(exist_ok=True)
        code = 1
        tracker: Tracker | None = None
        try:
            wandb_id = self._resume() if resumed else None
            self.summary |= self.account.begin()
            settings = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False)
            write_whole(self.folder / OVERRIDES, yaml.safe_dump(self.overrides))
            write_whole(self.folder / CONFIG, settings)
            self._copy()
            with View(self.console, cost=self.account.cost_line) as view:
                tracker = Tracker(self.config, self.folder, wandb_id, self._say)
                if resumed:
                    tracker.rewind(self.recovery.version, self.summary["accuracy"])
                    if self.fine_tuning is not None and not self.fine_tuned:
                        tracker.rewind_fine_tuning(self.fine_tuning.begun)
                with kept_handlers():
                    asyncio.run(self._stages(view, tracker))
            code = 0
            if self.summary["status"] == "running":
                self.summary["status"] = "finished"
        except BaseException as error:  # noqa: BLE001 - the run's end: said on the screen, kept in logs/error.log
            code = self._ended(error)
        with held_signals() as held:
            code = self._end(tracker, code)
        return 128 + held[0] if held else code

    def _ended(self, error: BaseException) -> int:
        """Keep why the run ends before its time; return the exit status. What fails after a signal is its doing."""
        if isinstance(error, Exception) and not self.stopped_by:
            self._failed(error)
            return 1
        self.summary["status"] = "interrupted"
        return exit_status(Stopped(self.stopped_by) if self.stopped_by else error)

    def _failed(self, error: Exception) -> None:
        """Keep what went wrong, first in the summary: a disk that is full takes no more files."""
        full = full_disk(error, self.folder)
        self.summary |= {"status": "failed", "error": full or reason(error)}
        self.solver_gone = isinstance(error, SolverGone)
        if full is not None:
            give_up_partial(self.folder / "checkpoints")
        with suppress(OSError):
            self._keep_non_finite(error)
            (self.folder / "logs" / "error.log").write_text(whole(error))

    def _end(self, tracker: Tracker | None, code: int) -> int:
        """Write what there is, stop the actors, and say how it went; the results are safe before anything is ended.
        Return the exit status, 1 if not all could be written."""
        wrote = self._wrote(partial(self._write_results, tracker))
        if tracker is not None and code > 128:  # whoever stops a run may kill it before all else is done
            self._wrote(partial(tracker.close_stopped, code))
        stop_ray(self.config)
        give_up_partial(self.folder / "checkpoints")  # that there was no time for, and nobody writes any more
        if tracker is not None:
            pages = partial(write_pages, self.folder, tracker.image, self._say)
            settle = partial(self._settle_account, tracker)
            for write in (settle, pages, tracker.episodes_table, partial(tracker.close, code)):
                wrote = self._wrote(write) and wrote
        if self.mirror is not None:
            self.mirror.end()
        code = code if wrote or code else 1
        self._show_ending(code)
        return code

    def _show_ending(self, code: int) -> None:
        """Say on the screen how the run ended."""
        more = self.account.larger_budget() if self.summary["status"] == "out_of_budget" else []
        if self.summary["status"] == NOTHING_TO_LEARN:
            more = ["evaluation.stop_if_hopeless=false"]
        fine_tuning = {} if self.fine_tuning is None else self.fine_tuning.report
        alone = unmeasured_command(self.summary, self.config, self.overrides, self.folder)
        shows = ending(
            self.summary, fine_tuning, code, self.folder, self.account.line(), self.resume_command(*more),
            gone=self.solver_gone, kept=self.recovery.version, unmeasured=alone,
        )  # fmt: skip
        for shown in shows:
            self.console.print(shown) if isinstance(shown, Table) else self._say(shown)

    def _wrote(self, write: Callable[[], object]) -> bool:
        """Write something at the end of the run; return whether that succeeded. The first error of the run is the one
        that is said."""
        try:
            write()
        except Exception as error:  # noqa: BLE001 - whatever cannot be written, the actors must be stopped
            if "error" not in self.summary and self.summary["status"] != "interrupted":
                self._failed(error)
            return False
        return True

    def _write_results(self, tracker: Tracker | None) -> None:
        summary = self.folder / "summary.json"
        if tracker is not None:
            tracker.summary(self.summary)
            write_cards(self.folder, self.written)
        elif not summary.exists():  # else it is that of the run which was to be gone on with
            write_json(summary, self.summary)

    def _settle_account(self, tracker: Tracker) -> None:
        """Have the summary say what the solvers' files say: replies may have come while the results were written."""
        if self.account.settle():
            self.summary |= self.account.summary()
            tracker.summary(self.summary)

    def _copy(self) -> None:
        """Have the copy elsewhere, if there is to be one, brought up to date."""
        if self.mirror is not None:
            self.mirror.begin()

    def resume_command(self, *more: str) -> str:
        """Return the command that goes on from the newest checkpoint, with ``more`` overrides."""
        return command("launch.train", resumed(self.overrides, str(self.folder), "resume=auto", *more))

    def _resume(self) -> str | None:
        """Go on with what an earlier process of this run did, as far as its newest checkpoint says, or what stage 1
        kept at its end; return its W&B id."""
        before, done = self.recovery.find_checkpoint(), f"{self.recovery.version} learner steps"
        if self.fine_tuning is not None:
            earlier = self.fine_tuning.find_checkpoint()
            if not self.fine_tuned or before is None:
                before = earlier
            if not self.fine_tuned:
                done = f"{self.fine_tuning.begun} steps of stage 1"
        self._say(f"goes on after {done}")
        if before is not None:
            self.seconds.update(before["summary"]["seconds"])
            self.summary |= before["summary"] | {name: self.summary[name] for name in ("seconds", "code")}
            self.account.restore(before)
        self.summary |= earlier_results(self.folder, self.recovery.version, self.summary)
        return (before["wandb_id"] if before is not None else None) or kept_id(self.folder)

    def _say(self, text: str | Text) -> None:
        """Print a text as it is: paths, commands and errors are for copying, so a terminal may wrap them and we do
        not."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _keep_non_finite(self, error: BaseException) -> None:
        """Write down the step, and the problems if they are known, of a loss or gradient that is not finite."""
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, NonFiniteLoss):
            problems = {"problems": cause.problems} if cause.problems else {}
            write_json(self.folder / "non_finite.json", {"step": cause.step, **problems, "error": str(cause)})

    # -- stages ----------------------------------------------------------------------------------------------

    async def _stages(self, view: View, tracker: Tracker) -> None:
        config, logs = self.config, self.folder / "logs"
        self._cancel_on_signals()
        for line in what_was_read(self.source):
            view.say(line)
        view.stage(f"starting Ray, {in_words(config)}", 4)
        pipeline, learner = await self.seconds.timed("start", self._start(view, logs))
        stages = set(config.stages)
        try:
            held_out = self.source.held_out(config.evaluation.problems) if "evaluate" in stages else []
            if learner is not None:  # something is trained
                if self.fine_tuning is not None and not self.fine_tuned:
                    if held_out and not self.fine_tuning.begun and (kinds := kinds_at_start(config, held_out)):
                        await self.seconds.timed("evaluate", self._evaluate(view, pipeline, held_out, kinds))
                        self._keep_evaluation(tracker)
                    await self.seconds.timed("sft", self._sft(self.fine_tuning, view, tracker, pipeline, learner))
                if "ppo" in stages or pipeline.workers:  # else nobody is to have the policy
                    await self.seconds.timed("start", self.recovery.begin(self.decomposer, pipeline, learner))
            if self.fine_tuning is not None and self.recovery.checkpoint is None:
                self.summary["sft"] = self.fine_tuning.report
                self.fine_tuning.forget_checkpoints()
                await self.seconds.timed("sft", self.fine_tuning.compare("after", pipeline, view))
            if held_out and self.recovery.checkpoint is None:
                kinds, self.summary["not_evaluated"] = kinds_before(config, held_out)
                await self.seconds.timed("evaluate", self._evaluate(view, pipeline, held_out, kinds))
                self._keep_evaluation(tracker)
                self._show_evaluation(view)
            if learner is not None and "ppo" in stages and self.summary["status"] != NOTHING_TO_LEARN:
                await self.seconds.timed("ppo", self._ppo(view, tracker, pipeline, learner))
                if held_out:
                    await self.seconds.timed("evaluate", self._evaluate(view, pipeline, held_out, ["ppo"]))
        except BudgetSpent:
            await self._out_of_budget(view, pipeline)
        finally:
            await self.account.close(pipeline)
            self.summary |= self.account.summary()
            await pipeline.stop()
            self.summary["resident_gib"] = round(max(self.summary.get("resident_gib", 0.0), resident_gib()), 2)
        self._keep_evaluation(tracker)

    def _cancel_on_signals(self) -> None:
        """Have a signal cancel the stages, which end what they have begun."""

        def stopped(number: int) -> None:
            self.stopped_by = self.stopped_by or number

        cancel_on_signals(stopped)

    async def _out_of_budget(self, view: View, pipeline: Pipeline) -> None:
        """Say how a run ends whose solver's budget is spent: what was done is kept, what needs the solver is not
        begun."""
        await self.account.ask(pipeline)
        self.summary |= {"status": "out_of_budget"} | self.account.summary()
        view.finish(done=False)
        view.say(f"{self.account.spent_line()}: stopped after {self.summary['steps']} learner steps")

    async def _start(self, view: View, logs: Path) -> tuple[Pipeline, LearnerGroup | None]:
        """Start Ray and every actor that is needed; return the pipeline over the workers, and the learner, if any."""
        start_ray(self.config)
        config = self.config
        recorded = config.rollout.replay
        episodes = read_recording(Path(recorded), config) if recorded else []
        roles = await start_roles(config, logs)
        learner = roles.learner
        await roles.ready(config.controller.start_timeout_s, lambda done: view.advance(done, 4, {}), say=view.say)
        note_processes(config)
        pipeline = Replay(episodes, config.controller.wait_timeout_s) if recorded else roles.pipeline(config)
        if learner is not None:
            pipeline.refill_from(learner.refill)
        pipeline.on_restart = view.say
        pipeline.start()
        return pipeline, learner

    async def _sft(
        self, stage: FineTuning, view: View, tracker: Tracker, pipeline: Pipeline, learner: LearnerGroup
    ) -> None:
        """Run stage 1 on the policy that stage 2 is to start from."""
        self.summary["sft"] = stage.report
        await stage.compare("before", pipeline, view)
        await learner.setup(self.decomposer, "sft")
        self.written.add("sft")  # a stop may come as soon as it is there
        await stage.run(pipeline, learner, view, tracker, partial(self._state, pipeline, tracker))
        self.decomposer = str(stage.model)
        self._copy()

    async def _state(self, pipeline: Pipeline, tracker: Tracker) -> dict[str, Any]:
        """Return what a checkpoint keeps of the run itself."""
        self.seconds.count()
        return {
            "summary": self.summary,
            **await self.account.state(pipeline),
            "wandb_id": tracker.wandb_id,
            "config": self.config.model_dump(mode="json"),
        }

    async def _ppo(self, view: View, tracker: Tracker, pipeline: Pipeline, learner: LearnerGroup) -> None:
        """Run stage 2; every step is told to the tracker, the view and the summary."""
        steps = self.config.algorithm.steps
        length = RunLength.begun(self.config, self.seconds, self.summary["accuracy"])

        async def on_step(step: int, metrics: dict[str, float], batch: list[Sample]) -> None:
            if step == 1 or step % 5 == 0:
                metrics["system/resident_gib"] = gib = await asyncio.to_thread(resident_gib)
                self.summary["resident_gib"] = max(self.summary.get("resident_gib", 0.0), gib)
            usage = await self.account.ask(pipeline)
            self.summary |= self.account.summary()
            metrics |= solver_metrics(usage, self.account.verifier())
            metrics["system/learner_restarts"] = self.summary["learner_restarts"]
            tracker.step(step, metrics, batch)
            view.advance(step, steps, metrics)
            if (line := length.step(step)) is not None:
                view.say(line)
            self.summary |= {
                "steps": step,
                "weight_version": pipeline.version,
                "max_staleness_seen": max(self.summary["max_staleness_seen"], metrics["staleness/max"]),
            }

        async def save(name: str, controller: Controller) -> None:
            await self.recovery.save(name, controller, learner, await self._state(pipeline, tracker))
            self.written.add(name)
            self._copy()

        restarted = partial(note_processes, self.config)
        await RestartedPpo(
            self.recovery, self.decomposer, pipeline, learner, view, tracker, self.summary, on_step, save, restarted
        ).run()

    # -- evaluation ------------------------------------------------------------------------------------------

    async def _evaluate(self, view: View, pipeline: Pipeline, problems: list[Problem], kinds: list[str]) -> None:
        """Run stage 3 for some kinds; a sample of the episodes is kept."""
        plays = self.config.policy.plays
        named = {kind: label(kind, plays) for kind in kinds}
        view.stage(f"evaluation on {len(problems)} held-out problems: {', '.join(named.values())}", len(kinds))
        for index, kind in enumerate(kinds):
            result, scored = await evaluate(pipeline, problems, kind, self.config.strategy.name)
            played = {} if plays == "decomposer" else {"plays": plays}
            self.summary["accuracy"][kind] = result | {"step": self.summary["steps"]} | played
            self.written.add(kind)
            self.summary["n_eval"] = len(problems)
            self.evaluated += [(kind, item) for item in scored[:EPISODES_KEPT]]
            view.advance(index + 1, len(kinds), {})
            view.say(f"  {named[kind]}: {result['mean']:.3f} [{result['low']:.3f}, {result['high']:.3f}]")
            if kind not in ("direct", "gold", "filler"):
                self.summary |= changes_of(result)

    def _show_evaluation(self, view: View) -> None:
        """Show what is known before stage 2, which is not worth its time where nothing can be learned."""
        view.finish()
        if "ppo" in self.config.stages:
            summary = self.summary
            self.console.print(result_table(summary["accuracy"], summary["n_eval"], summary["steps"]))
        if self.config.evaluation.stop_if_hopeless and "gold" in self.summary["not_evaluated"]:
            why = self.summary["not_evaluated"]["gold"]
            view.say(f"evaluation.stop_if_hopeless has nothing to go by, as gold is not evaluated: {why}")
        if (warning := nothing_to_learn(self.summary["accuracy"], self.summary["n_eval"])) is not None:
            view.say(Text(warning, style="yellow"))
            if "ppo" in self.config.stages and self.config.evaluation.stop_if_hopeless:
                self.summary["status"] = NOTHING_TO_LEARN

    def _keep_evaluation(self, tracker: Tracker) -> None:
        tracker.evaluations(self.evaluated, self.summary["steps"])
        self.evaluated.clear()
