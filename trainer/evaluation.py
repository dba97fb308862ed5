"""Stage 3: how well held-out problems are answered, by the solver alone and through plans of several origins."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rollout.data.chained import Graph
from rollout.records import Problem
from rollout.worker import Job
from trainer.metrics import wilson
from trainer.pipeline import Pipeline, Scored


def eval_jobs(problems: Sequence[Problem], kind: str, strategy: str) -> list[Job]:
    """Greedy jobs: ``direct``, or the configured strategy with ``gold`` or ``filler`` plans or the policy's own."""
    jobs = []
    for index, problem in enumerate(problems):
        plan = None
        if kind == "gold":
            plan = list(problem.subquestions or [])
        elif kind == "filler":
            plan = Graph(problem).filler_plan(random.Random(f"filler {problem.id}"))
        name = "direct" if kind == "direct" else strategy
        jobs.append(Job(index, problem, name, seed=index, temperature=0.0, plan=plan))
    return jobs


async def evaluate(
    pipeline: Pipeline, problems: Sequence[Problem], kind: str, strategy: str
) -> tuple[dict[str, Any], list[Scored]]:
    """Run one kind over all problems: accuracy with its 95 % interval, and what else can be counted."""
    scored = await pipeline.run(eval_jobs(problems, kind, strategy))
    return summarize(scored), scored


def summarize(scored: Sequence[Scored]) -> dict[str, Any]:
    """Accuracy, rescued and broken counts, and for problems with a known graph the shares of plans.

    An episode that did not end ``ok`` is not right; such episodes are counted by outcome, and the share of right ones
    among the others is given beside the accuracy."""
    right = sum(item.reward.correct for item in scored)
    result: dict[str, Any] = wilson(right, len(scored))
    unanswered = Counter(item.episode.outcome for item in scored if item.episode.outcome != "ok")
    if unanswered:
        answered = len(scored) - unanswered.total()
        result["unanswered"] = dict(unanswered)
        result["mean_answered"] = right / answered if answered else None
    first = [item.reward.correct_initial for item in scored]
    if all(value is not None for value in first):
        pairs = [(value or 0.0, item.reward.correct) for value, item in zip(first, scored, strict=True)]
        result["rescued"] = sum(a < 1 <= b for a, b in pairs)
        result["broken"] = sum(b < 1 <= a for a, b in pairs)
    result["solver_tokens"] = sum(item.episode.solver_tokens for item in scored) / len(scored)
    gates = [item.episode.gate for item in scored if item.episode.gate is not None]
    if gates:
        result["gate_closed"] = gates.count("closed") / len(gates)
    plans = [item for item in scored if item.episode.decomposition is not None]
    if plans and all(item.episode.problem.source == "chained" for item in plans):
        checks = [
            Graph(item.episode.problem).check_plan(item.episode.decomposition.subquestions)  # type: ignore[union-attr]
            for item in plans
        ]
        result["plans"] = {name: sum(check[name] for check in checks) / len(checks) for name in checks[0]}
        by_steps: dict[int, list[float]] = {}
        for item in plans:
            by_steps.setdefault(item.episode.problem.meta["steps"], []).append(item.reward.correct)
        result["by_steps"] = {str(steps): sum(v) / len(v) for steps, v in sorted(by_steps.items())}
    return result
