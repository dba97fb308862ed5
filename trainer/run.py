"""The main job: fine-tune, run PPO, evaluate. The stages hand their results on as model folders."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import yaml
from ray.exceptions import RayError, RayTaskError
from rich.console import Console
from rich.text import Text

from rollout.records import Problem
from trainer.card import write_cards
from trainer.checkpoints import prune
from trainer.config import Config
from trainer.config_strategy import UNTRAINED
from trainer.controller import Controller
from trainer.data import make_source
from trainer.evaluation import Evaluator, evaluate
from trainer.group import LearnerGroup
from trainer.metrics import solver_metrics
from trainer.pipeline import BudgetSpent, Pipeline, Scored
from trainer.report import learning_curve, write_report
from trainer.roles import prompts, ray_processes, start_ray, start_roles, stop_ray, wait_ready
from trainer.sft import run_sft
from trainer.tracking import Tracker, resident_gib
from trainer.view import View, result_table

EPISODES_KEPT = 20


class Run:
    """One run and its folder."""

    def __init__(self, config: Config, folder: Path, console: Console, overrides: list[str]) -> None:
        self.config = config
        self.folder = folder
        self.console = console
        self.overrides = overrides
        self.source = make_source(config.data)
        self.seconds: dict[str, float] = {}
        self.processes: list[psutil.Process] = []
        self.evaluated: list[tuple[str, Scored]] = []
        self.summary: dict[str, Any] = {
            "status": "running", "seed": config.seed, "steps": 0, "seconds": self.seconds, "n_eval": 0,
            "accuracy": {}, "rescued": 0, "broken": 0, "weight_version": 0, "max_staleness_seen": 0,
            "data": self.source.report,
        }  # fmt: skip
        self.decomposer = config.start_from or config.model.path

    def execute(self) -> int:
        """Do everything; returns the exit status: 0, 1 after an error, 130 after Ctrl-C or SIGTERM."""
        (self.folder / "logs").mkdir(parents=True)
        (self.folder / "checkpoints").mkdir()
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False))
        code = 1
        tracker: Tracker | None = None
        try:
            with View(self.console) as view:
                tracker = Tracker(self.config, self.folder)
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
            (self.folder / "logs" / "error.log").write_text(_traceback(error))
        finally:
            self._end(tracker, code)
        return code

    def _end(self, tracker: Tracker | None, code: int) -> None:
        """Write what there is, stop the actors, and say how it went; the results are safe before anything is ended."""
        if tracker is not None:
            tracker.summary(self.summary)
            write_cards(self.folder)
        stop_ray(self.config, self.processes)
        if tracker is not None:
            picture = learning_curve(self.folder)
            write_report(self.folder)
            tracker.image("learning_curve", picture)
            tracker.close(code)
        # Paths, commands and errors are for copying: a terminal may wrap them, we do not; nor is anything markup.
        say = partial(self.console.print, highlight=False, soft_wrap=True, markup=False)
        if code == 0 and self.summary["accuracy"]:
            self.console.print(result_table(self.summary["accuracy"], self.summary["n_eval"]))
            say(f"picture {self.folder / 'learning_curve.png'}\nreport  {self.folder / 'report.html'}")
        elif code == 130:
            say(f"stopped; nothing of the run is left running. To go on: {self.resume_command()}")
        elif code == 1:
            say(Text.assemble(("failed", "red"), f" {self.summary['error']}"))
            say(f"details in {self.folder / 'logs'}")
        say(str(self.folder))

    def resume_command(self) -> str:
        """The command that goes on from the newest checkpoint."""
        found = sorted((self.folder / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
        kept = [text for text in self.overrides if not text.startswith(("run_dir=", "stages=", "start_from="))]
        command = ["python", "-m", "launch.train", *map(shlex.quote, kept)]
        sft = self.folder / "checkpoints" / "sft"
        if found:
            done = int(found[-1].name[5:])
            steps = max(1, self.config.algorithm.steps - done)
            kept_steps = [text for text in command if not text.startswith("algorithm.steps=")]
            return " ".join(
                [*kept_steps, "'stages=[ppo,evaluate]'", f"start_from={found[-1]}", f"algorithm.steps={steps}"]
            )
        if sft.is_dir():
            return " ".join([*command, "'stages=[ppo,evaluate]'", f"start_from={sft}"])
        return " ".join(command)

    # -- stages ----------------------------------------------------------------------------------------------

    async def _stages(self, view: View, tracker: Tracker) -> None:
        config, logs = self.config, self.folder / "logs"
        if self.source.report:
            view.say("problems: " + ", ".join(f"{name} {count:,}" for name, count in self.source.report.items()))
        view.stage("starting Ray, two engines, the reward actor and the learner", 4)
        with self._timed("start"):
            pipeline, learner = await self._start(view, logs)
        stages = set(config.stages)
        training = self.source.train(config.seed)
        try:
            held_out = self.source.held_out(config.evaluation.problems) if "evaluate" in stages else []
            if "sft" in stages:
                with self._timed("sft"):
                    await self._sft(view, pipeline, learner, training)
            elif "ppo" in stages:
                await learner.setup(self.decomposer, "ppo")
            if held_out:
                with self._timed("evaluate"):
                    await self._evaluate(view, pipeline, held_out, self._kinds_before())
            if "ppo" in stages:
                with self._timed("ppo"):
                    await self._ppo(view, tracker, pipeline, learner, training)
                if held_out:
                    with self._timed("evaluate"):
                        await self._evaluate(view, pipeline, held_out, ["ppo"])
        except BudgetSpent:
            await self._out_of_budget(view, pipeline)
        else:
            self.summary["solver"] = asdict(await pipeline.solver_usage())
        finally:
            await pipeline.stop()
            self.summary["resident_gib"] = round(max(self.summary.get("resident_gib", 0.0), resident_gib()), 2)
        self._keep_evaluation(tracker)

    async def _out_of_budget(self, view: View, pipeline: Pipeline) -> None:
        """Say how a run ends whose solver's budget is spent: what was done is kept, what needs the solver is not
        begun."""
        usage = await pipeline.solver_usage()
        self.summary |= {"status": "out_of_budget", "solver": asdict(usage)}
        tokens = usage.prompt_tokens + usage.completion_tokens
        view.finish()
        view.say(
            f"the solver's budget is spent (cost {usage.cost:.4g}, {tokens:,} tokens; solver.budget_cost, "
            f"solver.budget_tokens): stopped after {self.summary['steps']} learner steps"
        )

    async def _start(self, view: View, logs: Path) -> tuple[Pipeline, LearnerGroup]:
        """Ray and every actor, ready."""
        await asyncio.to_thread(start_ray, self.config, Path(__file__).resolve().parent.parent)
        # A cluster stops a job with SIGTERM: that ends it as Ctrl-C does. Set after Ray, which has a handler too.
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        roles = await start_roles(self.config, logs)
        self.processes = ray_processes(self.config)
        limit = self.config.controller.start_timeout_s
        learner = roles.group(self.config)
        connecting = asyncio.create_task(learner.connect())
        for done, (actors, name) in enumerate(
            ((roles.solvers, "solver"), (roles.workers, "rollout"), (roles.rewarders, "reward"))
        ):
            arguments = [roles.solvers] if name == "rollout" else []
            await wait_ready(actors, name, logs, limit, *arguments)
            view.advance(done + 1, 4, {})
        async with asyncio.timeout(limit):
            await connecting
        self.processes += ray_processes(self.config)
        pipeline = roles.pipeline(self.config)
        pipeline.refill_from(learner.refill)
        pipeline.start()
        return pipeline, learner

    async def _sft(self, view: View, pipeline: Pipeline, learner: LearnerGroup, training: Iterator[Problem]) -> None:
        """Stage 1; afterwards engines and learner hold the SFT policy."""
        view.stage("stage 1, supervised fine-tuning", None)
        rows: list[dict[str, float]] = []

        def progress(step: int, steps: int, metrics: dict[str, float]) -> None:
            rows.append({"step": step, **metrics})
            view.advance(step, steps or 1, metrics)

        await learner.setup(self.decomposer, "sft")
        await run_sft(self.config, training, self.source, prompts(self.config), pipeline, learner, progress)
        folder = self.folder / "checkpoints" / "sft"
        await learner.save(str(folder))
        (self.folder / "logs" / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows if len(row) > 1))
        self.decomposer = str(folder)
        await learner.setup(self.decomposer, "ppo")
        weights, _, _ = await learner.weights()
        await pipeline.publish(weights)

    async def _ppo(
        self, view: View, tracker: Tracker, pipeline: Pipeline, learner: LearnerGroup, training: Iterator[Problem]
    ) -> None:
        """Stage 2."""
        config = self.config
        steps, every = config.algorithm.steps, config.learner.checkpoint_every
        view.stage("stage 2, asynchronous PPO", steps)
        checkpoints = self.folder / "checkpoints"

        async def on_step(step: int, metrics: dict[str, float], batch: list[Scored]) -> None:
            if step == 1 or step % 5 == 0:
                metrics["system/resident_gib"] = await asyncio.to_thread(resident_gib)
                self.summary["resident_gib"] = max(
                    self.summary.get("resident_gib", 0.0), metrics["system/resident_gib"]
                )
            metrics |= solver_metrics(await pipeline.solver_usage())
            tracker.step(step, metrics, batch)
            view.advance(step, steps, metrics)
            self.summary |= {
                "steps": step,
                "weight_version": pipeline.version,
                "max_staleness_seen": max(self.summary["max_staleness_seen"], metrics["staleness/max"]),
            }
            if step % every == 0 and step < steps:
                await learner.save(str(checkpoints / f"step-{step}"))
                prune(checkpoints, "step-", config.learner.keep_checkpoints)

        evaluator = None
        if config.evaluation.every:
            problems = self.source.held_out(config.evaluation.subset)
            evaluator = Evaluator(config, pipeline, learner, problems, checkpoints)
        controller = Controller(config, pipeline, learner, training, on_step, evaluator)
        result = await controller.run()
        if evaluator is not None and evaluator.best is not None:
            self.summary["best"] = evaluator.best
        await learner.save(str(checkpoints / "ppo"))
        self.summary |= {
            "steps": result.steps,
            "weight_version": pipeline.version,
            "max_staleness_seen": result.max_staleness,
            "refused": result.refused,
            "dropped": result.dropped,
        }
        if result.out_of_budget:
            raise BudgetSpent

    # -- evaluation ------------------------------------------------------------------------------------------

    def _kinds_before(self) -> list[str]:
        evaluation = self.config.evaluation
        gold = evaluation.gold and all(problem.subquestions is not None for problem in self.source.held_out(20))
        filler = evaluation.filler and self.config.data.source == "chained"
        kinds = ["direct", *(["gold"] if gold else []), *(["filler"] if filler else [])]
        name = self.config.strategy.name
        if name in UNTRAINED:  # there is no plan to be given, nor a decomposer to be judged
            return list(dict.fromkeys(["direct", name]))
        # The decomposer as it is now: fine-tuned in this run, about to be trained on, or only to be judged.
        return [*kinds, "sft" if {"sft", "ppo"} & set(self.config.stages) else "policy"]

    async def _evaluate(self, view: View, pipeline: Pipeline, problems: list[Problem], kinds: list[str]) -> None:
        """Stage 3 for some kinds; a sample of the episodes is kept."""
        view.stage(f"stage 3, {len(problems)} held-out problems: {', '.join(kinds)}", len(kinds))
        for index, kind in enumerate(kinds):
            result, scored = await evaluate(pipeline, problems, kind, self.config.strategy.name)
            self.summary["accuracy"][kind] = result
            self.summary["n_eval"] = len(problems)
            self.evaluated += [(kind, item) for item in scored[:EPISODES_KEPT]]
            view.advance(index + 1, len(kinds), {})
            self.summary |= {
                name: result[name] for name in ("rescued", "broken") if kind in ("sft", "ppo") and name in result
            }

    def _keep_evaluation(self, tracker: Tracker) -> None:
        for kind, item in self.evaluated:
            tracker.episode(item, kind, self.summary["steps"])
        tracker.episodes_table([(kind, item) for kind, item in self.evaluated if kind in ("sft", "ppo")])

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 1)


def reason(error: BaseException) -> str:
    """What went wrong, in a line: of an error in an actor its cause, of the rest of Ray's errors what they begin with;
    their stacks and advice are for the log."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        error = error.cause
    text = str(error).strip()
    if isinstance(error, RayError):
        text = text.splitlines()[0] if text else ""
    return f"{type(error).__name__}: {text}"


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))
