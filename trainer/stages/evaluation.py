"""How well held-out problems are answered: in stage 3 by the solver alone and through decompositions of several
origins, while the policy is trained through its own."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from conf.schema.config import Config
from conf.schema.data import GENERATORS
from conf.schema.strategy import UNTRAINED
from rewards.reward import Scored, mean_measures
from rollout.data.graph import Graph, has_graph
from rollout.jobs import Job
from rollout.records import Problem, change
from trainer.learner.learner_group import LearnerGroup
from trainer.run_folder.files import read_json, write_json
from trainer.tracking.metrics_catalogue import by_solver
from trainer.tracking.statistics import wilson
from trainer.workers.pipeline import BudgetSpent, Pipeline
from trainer.workers.solver_outage import SolverGone

# Of the problems whose answer differs between the first attempt and the end.
CHANGES = ("rescued", "broken")


def kinds_at_start(config: Config, problems: Sequence[Problem]) -> list[str]:
    """Return the kinds of evaluation that come before stage 1: the policy that it begins with, where it is judged
    afterwards too."""
    fine_tuned = "sft" in kinds_before(config, problems)[0]
    return ["base"] if fine_tuned and config.evaluation.base else []


def kinds_before(config: Config, problems: Sequence[Problem]) -> tuple[list[str], dict[str, str]]:
    """Return the kinds of evaluation that come before stage 2, and of those that are asked for and cannot be, why."""
    name, stages, evaluation = config.strategy.name, config.stages, config.evaluation
    # The policy as it is now: fine-tuned in this run, about to be trained on, or only to be judged.
    now = "sft" if "sft" in stages else "base" if "ppo" in stages else "policy"
    if name in UNTRAINED:  # there is no decomposition to be given, and only one that answers to be judged
        answers = now if config.policy.solves else name
        return ([answers] if name == "direct" else ["direct", answers]), {}
    missing = cannot_be_given(config, problems)
    asked = [kind for kind in ("gold", "filler") if getattr(evaluation, kind)]
    given = [kind for kind in asked if kind not in missing]
    return ["direct", *given, now], {kind: missing[kind] for kind in asked if kind in missing}


def cannot_be_given(config: Config, problems: Sequence[Problem]) -> dict[str, str]:
    """Return which of ``gold`` and ``filler`` not all of the problems have, and why."""
    missing = {}
    if lacking := sum(problem.subquestions is None for problem in problems):
        has = "has" if lacking == 1 else "have"
        missing["gold"] = f"{lacking:,} of {len(problems):,} held-out problems {has} no sub-questions"
    if config.data.source not in GENERATORS:
        missing["filler"] = "only generated problems have filler sub-questions"
    elif short := sum(not problem.subquestions for problem in problems):
        missing["filler"] = f"of {len(problems):,} held-out problems {short:,} cannot have any, being of one step"
    return missing


def eval_jobs(problems: Sequence[Problem], kind: str, strategy: str) -> list[Job]:
    """Return greedy jobs: ``direct``, or the configured strategy with ``gold`` or ``filler`` decompositions or the
    policy's own."""
    jobs = []
    for index, problem in enumerate(problems):
        given = None
        if kind == "gold":
            given = list(problem.subquestions or [])
        elif kind == "filler":
            given = Graph(problem).filler_plan(random.Random(f"filler {problem.id}"))
        name = "direct" if kind == "direct" else strategy
        jobs.append(Job(index, problem, name, seed=index, temperature=0.0, given=given))
    return jobs


async def evaluate(
    pipeline: Pipeline, problems: Sequence[Problem], kind: str, strategy: str
) -> tuple[dict[str, Any], list[Scored]]:
    """Run one kind over all problems; return its accuracy with what else can be counted, and the episodes."""
    scored = await pipeline.run(eval_jobs(problems, kind, strategy))
    return summarize(scored), scored


def summarize(scored: Sequence[Scored]) -> dict[str, Any]:
    """Return accuracy, over all and by the solvers of a mixture, rescued and broken counts, and for problems with a
    known graph the shares of decompositions and the accuracy by number of reasoning steps.

    An episode that did not end ``ok`` is not right; such episodes are counted by outcome, and the share of right ones
    among the others is given beside the accuracy."""
    right = sum(item.reward.correct for item in scored)
    result: dict[str, Any] = wilson(right, len(scored))
    unanswered = Counter(item.episode.outcome for item in scored if item.episode.outcome != "ok")
    if unanswered:
        answered = len(scored) - unanswered.total()
        result["unanswered"] = dict(unanswered)
        result["mean_answered"] = right / answered if answered else None
    if any(item.reward.correct_initial is not None for item in scored):
        changes = [change(item.reward.correct_initial, item.reward.correct) for item in scored]
        result |= dict(zip(CHANGES, (changes.count(1), changes.count(-1)), strict=True))
    if solvers := by_solver((item.episode.solver, item.reward) for item in scored):
        result["by_solver"] = {
            name: {"problems": len(rewards), **wilson(sum(reward.correct for reward in rewards), len(rewards))}
            for name, rewards in solvers.items()
        }
    result |= mean_measures([item.reward for item in scored])
    result["solver_tokens"] = sum(item.episode.solver_tokens for item in scored) / len(scored)
    gates = [item.episode.gate for item in scored if item.episode.gate is not None]
    if gates:
        result["gate_closed"] = gates.count("closed") / len(gates)
    decomposed = [item for item in scored if item.episode.decomposition is not None]
    if decomposed and all(has_graph(item.episode.problem) for item in decomposed):
        checks = [
            Graph(item.episode.problem).check_decomposition(item.episode.decomposition.subquestions)  # type: ignore[union-attr]
            for item in decomposed
        ]
        result["plans"] = {name: sum(check[name] for check in checks) / len(checks) for name in checks[0]}
    by_steps: dict[int, list[float]] = {}
    for item in scored:
        if has_graph(item.episode.problem):
            by_steps.setdefault(item.episode.problem.meta["steps"], []).append(item.reward.correct)
    if by_steps:
        result["by_steps"] = {str(steps): fmean(marks) for steps, marks in sorted(by_steps.items())}
    return result


def changes_of(result: dict[str, Any]) -> dict[str, int | None]:
    """Return how many problems an evaluation rescued and broke, None where no episode made a first attempt."""
    return {name: result.get(name) for name in CHANGES}


def earlier_results(folder: Path, version: int, summary: dict[str, Any]) -> dict[str, Any]:
    """Return ``summary``'s entries on evaluations with those that the summary in a run's folder has: the results of
    policies up to ``version`` stay until there are others."""
    earlier = read_json(folder / "summary.json")
    # Of a run from before results had their step: only PPO's was of another policy than stage 2 began with.
    found = {
        kind: {"step": earlier["steps"] if kind == "ppo" else 0} | entry
        for kind, entry in earlier.get("accuracy", {}).items()
    }
    kept = {kind: entry for kind, entry in found.items() if entry["step"] <= version}
    changes = changes_of(kept["ppo"]) if "ppo" in kept else {}
    count = {"n_eval": summary["n_eval"] or earlier["n_eval"]} if kept else {}
    return {"accuracy": summary["accuracy"] | kept} | count | changes


class Evaluator:
    """A judge of the policy while it is trained, greedily and always on the same problems; one evaluation at a time.

    Its jobs go through the workers beside those of the training, ahead of what waits there. Nothing waits for them, no
    push either: a score is filed under the version that every worker held when it began, and the labels of the tokens
    say whether a push reached a decomposition before it was written. ``checkpoints/best`` is the policy of the best
    score so far, with the score in its ``evaluation.json``; only a score whose every token is by that very policy
    counts.
    """

    def __init__(
        self, config: Config, pipeline: Pipeline, learner: LearnerGroup, problems: Sequence[Problem], checkpoints: Path
    ) -> None:
        self._every = config.evaluation.every
        self._jobs = [replace(job, ahead=True) for job in eval_jobs(problems, "ppo", config.strategy.name)]
        self._pipeline, self._learner = pipeline, learner
        self._folder, self._candidate = checkpoints / "best", checkpoints / "candidate"
        self._kept: int | None = None
        self._saving: asyncio.Task[None] | None = None
        self._running: asyncio.Task[dict[str, float]] | None = None
        # A run that goes on in its folder goes on comparing.
        self.best: dict[str, Any] | None = read_json(self._folder / "evaluation.json") or None

    async def keep(self, version: int) -> None:
        """Write the policy if it is to be evaluated: call it when the learner has reached ``version`` and before it
        goes on. While the evaluation before is still running, none is begun."""
        if self._every and version % self._every == 0 and self._running is None:
            self._kept = version
            self._saving = asyncio.create_task(self._learner.save(str(self._candidate)))
            await self._saving

    def begin(self, version: int) -> None:
        """Evaluate, if this version was kept: call it when every worker has loaded it."""
        if self._kept == version:
            self._kept = None
            self._running = asyncio.create_task(self._evaluate(version))

    async def metrics(self, *, wait: bool = False) -> dict[str, float]:
        """Return what an evaluation found that has ended since this was last asked; ``wait`` for one that is running.
        Raises what went wrong in it."""
        task = self._running
        if task is None or not (wait or task.done()):
            return {}
        found = await task
        self._running = None
        return found

    async def stop(self) -> None:
        """Give up what is running."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        shutil.rmtree(self._candidate, ignore_errors=True)

    async def _evaluate(self, version: int) -> dict[str, float]:
        started = time.perf_counter()
        try:
            scored = await self._pipeline.run(self._jobs)
        except (BudgetSpent, SolverGone):
            return {}  # the training ends as well, and tells
        # The push may have been quicker than the writing, but ``keep`` was called before it.
        assert self._saving is not None
        await self._saving
        score = wilson(sum(item.reward.correct for item in scored), len(scored))
        versions = [label for item in scored for label in item.episode.token_versions]
        solvers = by_solver((item.episode.solver, item.reward) for item in scored)
        if set(versions) <= {version} and (self.best is None or score["mean"] > self.best["mean"]):
            self.best = {"version": version, **score, "problems": len(scored)}
            write_json(self._candidate / "evaluation.json", self.best)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._candidate.rename(self._folder)
        else:
            shutil.rmtree(self._candidate)
        return {
            "eval/accuracy": score["mean"],
            "eval/low": score["low"],
            "eval/high": score["high"],
            "eval/version": float(version),
            "eval/version_mean": fmean(versions) if versions else float(version),
            "eval/seconds": time.perf_counter() - started,
            **({"eval/best": self.best["mean"]} if self.best else {}),
            **{f"mixture/{name}/held_out": fmean(one.correct for one in own) for name, own in solvers.items()},
        }
