"""Questions of a person's own: one episode each, by the workers and strategies that training has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from rewards.total import fill_answers
from rollout.records import Episode, Problem
from rollout.worker import Job
from trainer.config import Config
from trainer.roles import ray_processes, start_ray, start_roles, stop_ray, wait_ready
from trainer.waiting import WaitTimeout


class AskError(RuntimeError):
    """A question whose episode could not be run; the message says why."""


def jobs(questions: Sequence[str], answer_type: str, strategy: str) -> list[Job]:
    """Greedy episodes of problems without a gold answer."""
    return [
        Job(index, Problem(f"question {index + 1}", question, "", answer_type), strategy, 0, temperature=0.0)
        for index, question in enumerate(questions)
    ]


async def ask(config: Config, work: Sequence[Job], logs: Path) -> AsyncIterator[Episode]:
    """The episodes in the order of their jobs, each as soon as it and those before it are done.

    Ray, the solver and one decomposer are started for it and ended with it. Raises StartError, WaitTimeout, AskError.
    """
    start_ray(config, Path(__file__).resolve().parent.parent)
    processes = ray_processes(config)
    try:
        roles = await start_roles(config.model_copy(update={"rollout": _one(config)}), logs, only=("solver", "rollout"))
        limits = config.controller
        await wait_ready(roles.solvers, "solver", logs, limits.start_timeout_s)
        await wait_ready(roles.workers, "rollout", logs, limits.start_timeout_s, roles.solvers)
        processes += ray_processes(config)
        (worker,) = roles.workers
        await worker.submit.remote(list(work))
        found: dict[int, Episode] = {}
        for job in work:
            try:
                async with asyncio.timeout(limits.wait_timeout_s):
                    while job.id not in found:
                        for outcome in await worker.collect.remote(5.0):
                            if outcome.episode is None:
                                raise AskError(f"{outcome.job.problem.id}: {outcome.error}")
                            found[outcome.job.id] = outcome.episode
            except TimeoutError:
                raise WaitTimeout(
                    f"{job.problem.id} was not answered in {limits.wait_timeout_s:g} s (controller.wait_timeout_s)"
                ) from None
            episode = found.pop(job.id)
            fill_answers(episode)
            yield episode
    finally:
        stop_ray(config, processes)


def _one(config: Config) -> object:
    return config.rollout.model_copy(update={"workers": 1})
