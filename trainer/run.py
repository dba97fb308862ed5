"""The main job: fine-tune, run PPO, evaluate. The stages hand their results on as model folders."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml
from ray.exceptions import RayTaskError
from rich.console import Console
from rich.text import Text

from conf.schema.config import Config
from conf.schema.override_text import command, resumed
from conf.schema.strategy import UNTRAINED
from rewards.reward import Scored
from rollout.data.source import make_source
from rollout.records import Problem
from rollout.solvers.base import Usage
from trainer.cluster.placement import ROLES
from trainer.cluster.ray_cluster import note_processes, start_ray, stop_ray
from trainer.cluster.roles import start_roles
from trainer.learner.learner_group import LearnerGroup
from trainer.learner.process_group import NonFiniteLoss
from trainer.reports.model_card import write_cards
from trainer.reports.pictures import learning_curve
from trainer.reports.run_page import write_report
from trainer.run_folder.code_version import code_version
from trainer.run_folder.files import write_json
from trainer.run_folder.mirror import Mirror
from trainer.stages.evaluation import evaluate
from trainer.stages.fine_tuning import FineTuning
from trainer.stages.ppo import Controller
from trainer.stages.ppo_checkpoints import Recovery
from trainer.stages.ppo_restarts import RestartedPpo
from trainer.tracking.live_view import View, fine_tuning_table, result_table
from trainer.tracking.metrics_catalogue import solver_metrics
from trainer.tracking.tracker import Tracker, resident_gib
from trainer.workers.errors import reason, whole
from trainer.workers.pipeline import BudgetSpent, Pipeline
from trainer.workers.recorded_pipeline import Replay, read_recording

EPISODES_KEPT = 100
Result = TypeVar("Result")


class Run:
    """One run and its folder."""

    def __init__(
        self, config: Config, folder: Path, console: Console, overrides: list[str], mirror: Mirror | None = None
    ) -> None:
        self.config, self.folder, self.mirror = config, folder, mirror
        self.console, self.overrides = console, overrides
        self.source = make_source(config.data)
        self.seconds: dict[str, float] = {}
        self.evaluated: list[tuple[str, Scored]] = []
        self.summary: dict[str, Any] = {
            "status": "running", "seed": config.seed, "steps": 0, "seconds": self.seconds, "n_eval": 0,
            "accuracy": {}, "rescued": 0, "broken": 0, "weight_version": 0, "max_staleness_seen": 0,
            "data": self.source.report, "learner_restarts": 0, "code": code_version(),
        }  # fmt: skip
        self.recovery = Recovery(config, folder / "checkpoints", self.source)
        self.usage_before = Usage()
        self.fine_tuning = FineTuning(config, folder, self.source) if "sft" in config.stages else None
        sft = folder / "checkpoints" / "sft"
        self.fine_tuned = config.resume is not None and sft.is_dir()
        self.decomposer = str(sft) if self.fine_tuned else config.start_from or config.model.path

    def execute(self) -> int:
        """Do everything; return the exit status: 0, 1 after an error, 130 after Ctrl-C or SIGTERM."""
        resumed = self.config.resume is not None and (self.folder / "config.yaml").is_file()
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        (self.folder / "checkpoints").mkdir(exist_ok=True)
        code = 1
        tracker: Tracker | None = None
        try:
            wandb_id = self._resume() if resumed else None
            settings = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False)
            (self.folder / "config.yaml").write_text(settings)
            self._copy()
            with View(self.console) as view:
                tracker = Tracker(self.config, self.folder, wandb_id, self._say)
                if resumed:
                    tracker.rewind(self.recovery.version, self.summary["accuracy"])
                    if self.fine_tuning is not None and not self.fine_tuned:
                        tracker.rewind_fine_tuning(self.fine_tuning.begun)
                asyncio.run(self._stages(view, tracker))
            code = 0
            if self.summary["status"] == "running":
                self.summary["status"] = "finished"
        except (KeyboardInterrupt, asyncio.CancelledError):
            code = 130
            self.summary["status"] = "interrupted"
        except Exception as error:  # noqa: BLE001 - the run's end: said on the screen, kept in logs/error.log
            self.summary["status"] = "failed"
            self.summary["error"] = reason(error)
            self._keep_non_finite(error)
            (self.folder / "logs" / "error.log").write_text(whole(error))
        finally:
            with held_signals() as held:
                self._end(tracker, code)
        return 130 if held else code

    def _end(self, tracker: Tracker | None, code: int) -> None:
        """Write what there is, stop the actors, and say how it went; the results are safe before anything is ended."""
        if tracker is not None:
            tracker.summary(self.summary)
            write_cards(self.folder)
        stop_ray(self.config)
        if tracker is not None:
            picture = learning_curve(self.folder)
            write_report([self.folder])
            tracker.image("learning_curve", picture)
            tracker.episodes_table()
            tracker.close(code)
        if self.mirror is not None:
            self.mirror.end()
        if code == 0 and self.fine_tuning is not None and (table := fine_tuning_table(self.fine_tuning.report)):
            self.console.print(table)
        if code == 0 and self.summary["accuracy"]:
            self.console.print(result_table(self.summary["accuracy"], self.summary["n_eval"]))
            self._say(f"picture {self.folder / 'learning_curve.png'}\nreport  {self.folder / 'report.html'}")
        elif code == 130:
            self._say(f"stopped; nothing of the run is left running. To go on: {self.resume_command()}")
        elif code == 1:
            self._say(Text.assemble(("failed", "red"), f" {self.summary['error']}"))
            self._say(f"details in {self.folder / 'logs'}")
        self._say(str(self.folder))

    def _copy(self) -> None:
        """Have the copy elsewhere, if there is to be one, brought up to date."""
        if self.mirror is not None:
            self.mirror.begin()

    def resume_command(self) -> str:
        """Return the command that goes on from the newest checkpoint."""
        return command("launch.train", resumed(self.overrides, str(self.folder), "resume=auto"))

    def _resume(self) -> str | None:
        """Go on with what an earlier process of this run did, as far as its newest checkpoint says; return its W&B
        id."""
        before, done = self.recovery.find_checkpoint(), f"{self.recovery.version} learner steps"
        if self.fine_tuning is not None:
            earlier = self.fine_tuning.find_checkpoint()
            if not self.fine_tuned:
                before, done = earlier, f"{self.fine_tuning.begun} steps of stage 1"
        self._say(f"goes on after {done}")
        if before is None:
            return None
        self.seconds.update(before["summary"]["seconds"])
        self.summary |= before["summary"] | {name: self.summary[name] for name in ("seconds", "code")}
        self.usage_before = Usage(**before["solver"])
        return str(before["wandb_id"]) if before["wandb_id"] else None

    def _say(self, text: str | Text) -> None:
        """Print a text as it is: paths, commands and errors are for copying, so a terminal may wrap them and we do
        not."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _keep_non_finite(self, error: BaseException) -> None:
        """Write down which problems made a loss or gradient that is not finite."""
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, NonFiniteLoss):
            found = {"step": cause.step, "problems": cause.problems, "error": str(cause)}
            write_json(self.folder / "non_finite.json", found)

    # -- stages ----------------------------------------------------------------------------------------------

    async def _stages(self, view: View, tracker: Tracker) -> None:
        config, logs = self.config, self.folder / "logs"
        if self.source.report:
            view.say("problems: " + ", ".join(f"{name} {count:,}" for name, count in self.source.report.items()))
        engines = "" if config.rollout.replay else "two engines, the reward actor and "
        view.stage(f"starting Ray, {engines}the learner", 4)
        pipeline, learner = await self._timed("start", self._start(view, logs))
        stages = set(config.stages)
        try:
            held_out = self.source.held_out(config.evaluation.problems) if "evaluate" in stages else []
            if self.fine_tuning is not None and not self.fine_tuned:
                await self._timed("sft", self._sft(self.fine_tuning, view, tracker, pipeline, learner))
            if {"sft", "ppo"} & stages:
                await self._timed("start", self.recovery.begin(self.decomposer, pipeline, learner))
            if self.fine_tuning is not None and self.recovery.checkpoint is None:
                self.summary["sft"] = self.fine_tuning.report
                self.fine_tuning.forget_checkpoints()
                await self._timed("sft", self.fine_tuning.compare("after", pipeline, view))
            if held_out and self.recovery.checkpoint is None:
                await self._timed("evaluate", self._evaluate(view, pipeline, held_out, self._kinds_before()))
                self._keep_evaluation(tracker)
            if "ppo" in stages:
                await self._timed("ppo", self._ppo(view, tracker, pipeline, learner))
                if held_out:
                    await self._timed("evaluate", self._evaluate(view, pipeline, held_out, ["ppo"]))
        except BudgetSpent:
            await self._out_of_budget(view, pipeline)
        else:
            self.summary["solver"] = asdict(await self._usage(pipeline))
        finally:
            await pipeline.stop()
            self.summary["resident_gib"] = round(max(self.summary.get("resident_gib", 0.0), resident_gib()), 2)
        self._keep_evaluation(tracker)

    async def _out_of_budget(self, view: View, pipeline: Pipeline) -> None:
        """Say how a run ends whose solver's budget is spent: what was done is kept, what needs the solver is not
        begun."""
        usage = await self._usage(pipeline)
        self.summary |= {"status": "out_of_budget", "solver": asdict(usage)}
        tokens = usage.prompt_tokens + usage.completion_tokens
        view.finish()
        view.say(
            f"the solver's budget is spent (cost {usage.cost:.4g}, {tokens:,} tokens; solver.budget_cost, "
            f"solver.budget_tokens): stopped after {self.summary['steps']} learner steps"
        )

    async def _usage(self, pipeline: Pipeline) -> Usage:
        """Return what the solver was asked in this run, before it was resumed too."""
        return self.usage_before + await pipeline.solver_usage()

    async def _start(self, view: View, logs: Path) -> tuple[Pipeline, LearnerGroup]:
        """Start Ray and every actor; return the pipeline over the workers, and the learner, when all are ready."""
        start_ray(self.config)
        # A cluster stops a job with SIGTERM: that ends it as Ctrl-C does. Set after Ray, which has a handler too.
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        config = self.config
        recorded = config.rollout.replay
        episodes = read_recording(Path(recorded), config) if recorded else []
        roles = await start_roles(config, logs, only=("learner",) if recorded else ROLES)
        learner = roles.learner
        assert learner is not None
        await roles.ready(config.controller.start_timeout_s, lambda done: view.advance(done, 4, {}))
        note_processes(config)
        pipeline = Replay(episodes, config.controller.wait_timeout_s) if recorded else roles.pipeline(config)
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
        await stage.run(pipeline, learner, view, tracker, partial(self._state, pipeline, tracker))
        folder = self.folder / "checkpoints" / "sft"
        await learner.save(str(folder))
        self.decomposer = str(folder)
        self._copy()

    async def _state(self, pipeline: Pipeline, tracker: Tracker) -> dict[str, Any]:
        """Return what a checkpoint keeps of the run itself."""
        return {
            "summary": self.summary,
            "solver": asdict(await self._usage(pipeline)),
            "wandb_id": tracker.wandb_id,
            "config": self.config.model_dump(mode="json"),
        }

    async def _ppo(self, view: View, tracker: Tracker, pipeline: Pipeline, learner: LearnerGroup) -> None:
        """Run stage 2; every step is told to the tracker, the view and the summary."""
        steps = self.config.algorithm.steps

        async def on_step(step: int, metrics: dict[str, float], batch: list[Scored]) -> None:
            if step == 1 or step % 5 == 0:
                metrics["system/resident_gib"] = gib = await asyncio.to_thread(resident_gib)
                self.summary["resident_gib"] = max(self.summary.get("resident_gib", 0.0), gib)
            metrics |= solver_metrics(await self._usage(pipeline))
            metrics["system/learner_restarts"] = self.summary["learner_restarts"]
            tracker.step(step, metrics, batch)
            view.advance(step, steps, metrics)
            self.summary |= {
                "steps": step,
                "weight_version": pipeline.version,
                "max_staleness_seen": max(self.summary["max_staleness_seen"], metrics["staleness/max"]),
            }

        async def save(name: str, controller: Controller) -> None:
            await self.recovery.save(name, controller, learner, await self._state(pipeline, tracker))
            self._copy()

        restarted = partial(note_processes, self.config)
        await RestartedPpo(
            self.recovery, self.decomposer, pipeline, learner, view, tracker, self.summary, on_step, save, restarted
        ).run()

    # -- evaluation ------------------------------------------------------------------------------------------

    def _kinds_before(self) -> list[str]:
        evaluation = self.config.evaluation
        gold = evaluation.gold and all(problem.subquestions is not None for problem in self.source.held_out(20))
        filler = evaluation.filler and self.config.data.source == "chained"
        kinds = ["direct", *(["gold"] if gold else []), *(["filler"] if filler else [])]
        name = self.config.strategy.name
        if name in UNTRAINED:  # there is no decomposition to be given, nor a decomposer to be judged
            return list(dict.fromkeys(["direct", name]))
        # The decomposer as it is now: fine-tuned in this run, about to be trained on, or only to be judged.
        return [*kinds, "sft" if {"sft", "ppo"} & set(self.config.stages) else "policy"]

    async def _evaluate(self, view: View, pipeline: Pipeline, problems: list[Problem], kinds: list[str]) -> None:
        """Run stage 3 for some kinds; a sample of the episodes is kept."""
        view.stage(f"stage 3, {len(problems)} held-out problems: {', '.join(kinds)}", len(kinds))
        for index, kind in enumerate(kinds):
            result, scored = await evaluate(pipeline, problems, kind, self.config.strategy.name)
            self.summary["accuracy"][kind] = result
            self.summary["n_eval"] = len(problems)
            self.evaluated += [(kind, item) for item in scored[:EPISODES_KEPT]]
            view.advance(index + 1, len(kinds), {})
            if kind in ("sft", "ppo"):
                self.summary |= {name: result[name] for name in ("rescued", "broken") if name in result}

    def _keep_evaluation(self, tracker: Tracker) -> None:
        for kind, item in self.evaluated:
            tracker.episode(item, kind, self.summary["steps"])
        self.evaluated.clear()

    async def _timed(self, name: str, work: Awaitable[Result]) -> Result:
        """Wait for a part of the run, and count its seconds under a name."""
        started = time.perf_counter()
        try:
            return await work
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 1)


@contextmanager
def held_signals() -> Iterator[list[int]]:
    """Only note Ctrl-C and SIGTERM for the block, in the list that it gets: what they ask for is being done, and half
    written it would be of no use."""
    held: list[int] = []
    signals = signal.SIGINT, signal.SIGTERM
    before = {number: signal.signal(number, lambda number, _: held.append(number)) for number in signals}
    try:
        yield held
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
