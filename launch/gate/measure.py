"""The gate's measurements, by the rollout workers of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from conf.schema.base import ConfigError
from conf.schema.config import Config
from launch.gate.checks import MEASURED, Share, share
from launch.gate.right_steps import marks, step_job
from rewards.reward import Scored
from rollout.data.source import make_source
from rollout.json_lines import write_lines
from rollout.records import Problem
from trainer.cluster.ray_cluster import ray_session
from trainer.cluster.roles import running_roles
from trainer.stages.evaluation import evaluate
from trainer.stages.fine_tuning import fewer, with_subquestions
from trainer.tracking.tracker import episode_record
from trainer.workers.pipeline import Pipeline
from trainer.workers.solver_account import SolverAccount

# What says how a line of the screen is written.
Say = Callable[[str], object]
# The evaluation's own names for who decomposes.
KINDS = {"direct": "direct", "gold": "gold", "decomposer": "policy"}


def gate_problems(config: Config) -> list[Problem]:
    """Return the held-out problems of the gate. Raises ConfigError where those have no worked sub-questions, and
    RecordError for rows that are no problems."""
    problems = with_subquestions(make_source(config.data), config.gate.problems)
    if not any(step_job(0, problem) for problem in problems):
        raise ConfigError(
            "data: none of its held-out problems has sub-questions and the answers to them, which the gate measures; "
            "allowed: chained, gsm8k_socratic, or rows with 'subquestions' and 'subanswers' (docs/data.md)"
        )
    return problems


async def measured(
    config: Config, problems: Sequence[Problem], folder: Path, account: SolverAccount, say: Say
) -> dict[str, Share]:
    """Return all of ``MEASURED``; the episodes are written to the run's folder, and the account is up to date. Raises
    what an evaluation raises."""
    for line in fewer("gate.problems", len(problems), config.gate.problems):
        say(line)
    roles = ("rollout", "solver", "reward", *(["verifier"] if config.verifier is not None else []))
    with ray_session(config):
        async with running_roles(config, folder / "logs", roles) as running:
            pipeline = running.pipeline(config)
            pipeline.start()
            try:
                found = await _shares(pipeline, config, problems, folder / "episodes", say)
            finally:
                await account.close(pipeline)
                await pipeline.stop()
    return {name: found[name] for name in MEASURED}


async def _shares(
    pipeline: Pipeline, config: Config, problems: Sequence[Problem], folder: Path, say: Say
) -> dict[str, Share]:
    found = {}
    jobs = [job for index, problem in enumerate(problems) if (job := step_job(index, problem)) is not None]
    say(f"single steps of {len(jobs)} problems")
    scored = await pipeline.run(jobs)
    _keep(folder / "steps.jsonl", scored)
    found["steps"] = share([float(right) for item in scored for right in marks(item.episode)])
    for name, kind in KINDS.items():
        say(f"{len(problems)} problems: {MEASURED[name]}")
        _, scored = await evaluate(pipeline, problems, kind, config.strategy.name)
        _keep(folder / f"{name}.jsonl", scored)
        found[name] = share([item.reward.correct for item in scored])
        if name == "direct":
            found["direct_ended"] = share([float(_ended(item)) for item in scored])
    return found


def _ended(item: Scored) -> bool:
    """Return whether the solver gave all of its replies of an episode, and none was cut off."""
    return item.episode.outcome == "ok" and not item.episode.solver_cut


def _keep(path: Path, scored: Sequence[Scored]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(path, map(episode_record, scored))
