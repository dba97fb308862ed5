"""The run's actors: started together, waited for with a limit, and ended with the run."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.exceptions import RayError, RayTaskError

from rewards.actor import RewardActor
from rewards.modes import RewardSettings
from rollout.allowance import EpisodeLimits
from rollout.chat import model_chat
from rollout.engine import EngineSettings
from rollout.parsing import ParseLimits
from rollout.prompts import Example, Prompts
from rollout.solvers import SolverSettings
from rollout.solvers.base import OpenAISettings, ReplySettings, SolverMisconfigured
from rollout.solvers.cache import CacheSettings
from rollout.solvers.pool import SolverActor
from rollout.solvers.vllm import VllmSettings
from rollout.strategies.base import Options
from rollout.worker import RolloutWorker, WorkerSettings
from trainer.config import Config, model_path
from trainer.config_solver import ModelSolver, OpenAISolver, VllmSolver
from trainer.group import LearnerGroup
from trainer.learner import LearnerRank
from trainer.pipeline import Pipeline, log_tail


class StartError(RuntimeError):
    """A role did not start; the message holds the end of its log."""


@dataclass
class Roles:
    """The running actors, in order of their indices."""

    solvers: list[Any]
    workers: list[Any]
    rewarders: list[Any]
    learners: list[Any]
    log_folder: Path

    def pipeline(self, config: Config) -> Pipeline:
        """The rollout workers and reward actors as a pipeline."""
        limits = config.controller
        return Pipeline(
            self.workers,
            self.solvers,
            self.rewarders,
            self.log_folder,
            limits.wait_timeout_s,
            limits.max_tries,
            config.rewards.episode_seconds,
        )

    def group(self) -> LearnerGroup:
        """The learner's ranks as one."""
        return LearnerGroup(self.learners)


def start_ray(config: Config, root: Path) -> None:
    """Start Ray here, or join the configured cluster; workers import the project from ``root``."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_DEDUP_LOGS"] = "0"
    cluster = config.cluster
    local = cluster.address is None
    arguments: dict[str, Any] = (
        {
            "num_cpus": cluster.num_cpus or os.cpu_count(),
            "object_store_memory": int(cluster.object_store_gib * 2**30),
            "include_dashboard": cluster.dashboard,
            "dashboard_host": cluster.dashboard_host,
        }
        if local
        else {"address": cluster.address}
    )
    ray.init(
        **arguments,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": str(root)}} if local else None,
    )


def ray_processes(config: Config) -> list[psutil.Process]:
    """The processes of a cluster that was started here; none of one that was joined."""
    if config.cluster.address is not None:
        return []
    return [process for process in psutil.Process().children(recursive=True) if "wandb" not in process.name()]


def stop_ray(config: Config, known: Sequence[psutil.Process]) -> None:
    """Leave the cluster; one that was started here ends, its agents included, which Ray itself lets linger.

    ``known`` are processes seen earlier: a child whose parent is gone can no longer be found from here.
    """
    family = list({*known, *ray_processes(config)})
    ray.shutdown()
    _, alive = psutil.wait_procs(family, timeout=3)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(alive, timeout=3)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def worker_settings(config: Config) -> WorkerSettings:
    """What a rollout worker is started with."""
    strategy, rollout = config.strategy, config.rollout
    limits = ParseLimits(strategy.max_subquestions, strategy.max_subquestion_chars, strategy.drop_repeats)
    return WorkerSettings(
        engine=EngineSettings(
            path=model_path(config.start_from or config.model.path),
            dtype=config.model.dtype,
            max_model_len=rollout.max_model_len,
            max_num_seqs=rollout.max_num_seqs,
            max_num_batched_tokens=rollout.max_num_batched_tokens,
            kv_cache_gib=rollout.kv_cache_gib,
            tensor_parallel_size=rollout.tensor_parallel_size,
            threads=rollout.threads,
            seed=config.seed,
        ),
        prompts=prompts(config),
        limits=limits,
        max_tokens=strategy.max_tokens,
        stop=tuple(strategy.stop),
        concurrency=rollout.concurrency,
        # A server's replies take very different times, retries among them: none waits for its neighbours.
        solver_window_s=0.0 if config.solver.backend == "openai" else WorkerSettings.solver_window_s,
        options=Options(
            limits=limits,
            samples=strategy.samples or 1,
            token_budget=strategy.token_budget,
            gate=strategy.gate,
            gate_samples=strategy.gate_samples,
        ),
        episode=EpisodeLimits(rollout.episode_timeout_s, rollout.episode_solver_tokens),
    )


def prompts(config: Config) -> Prompts:
    """The configured templates and examples, in the chat formats of the models that have one."""
    strategy, solver = config.strategy, config.solver
    chat = strategy.chat == "auto"
    return Prompts(
        decompose_template=strategy.decompose_template,
        turn_template=strategy.turn_template,
        subquestion_template=strategy.subquestion_template,
        solve_template=strategy.solve_template,
        plan_template=strategy.plan_template,
        examples=tuple(
            Example(
                example.question,
                tuple(example.subquestions),
                tuple(example.subanswers),
                example.attempt,
                example.solution,
            )
            for example in strategy.examples
        ),
        decomposer_chat=model_chat(model_path(config.start_from or config.model.path)) if chat else None,
        solver_chat=model_chat(model_path(solver.path)) if chat and solver.backend == "vllm" else None,
    )


def solver_settings(config: Config) -> SolverSettings:
    """What a solver actor is started with."""
    solver = config.solver
    if not isinstance(solver, ModelSolver):
        return SolverSettings(solver.backend, ReplySettings({}, {}), CacheSettings())
    replies = ReplySettings(
        max_tokens={"subquestion": solver.max_tokens_subquestion, "solve": solver.max_tokens_solve},
        stop={"subquestion": tuple(solver.stop_subquestion), "solve": tuple(solver.stop_solve)},
        temperature=solver.temperature,
        sample_temperature=solver.sample_temperature,
    )
    # The actor may run in another working directory.
    cache = CacheSettings(solver.cache, str(Path(solver.cache_path).expanduser().absolute()))
    if isinstance(solver, OpenAISolver):
        shared = solver.model_dump(exclude=set(ModelSolver.model_fields) | {"backend"})
        return SolverSettings("openai", OpenAISettings(replies=replies, **shared), cache)
    assert isinstance(solver, VllmSolver)
    return SolverSettings("vllm", _engine_solver(config, solver, replies), cache)


def _engine_solver(config: Config, solver: VllmSolver, replies: ReplySettings) -> VllmSettings:
    return VllmSettings(
        engine=EngineSettings(
            path=model_path(solver.path),
            dtype=solver.dtype,
            max_model_len=solver.max_model_len,
            max_num_seqs=solver.max_num_seqs,
            max_num_batched_tokens=solver.max_num_batched_tokens,
            kv_cache_gib=solver.kv_cache_gib,
            prefix_caching=True,
            threads=solver.threads,
            seed=config.seed,
            logprobs=False,
        ),
        replies=replies,
        timeout_s=solver.timeout_s,
    )


def reward_settings(config: Config) -> RewardSettings:
    """What a reward actor is started with."""
    rewards = config.rewards
    clip = {name: bounds for name, bounds in rewards.clip.items() if bounds is not None}
    return RewardSettings(
        rewards.mode, dict(rewards.weights), clip, dict(rewards.penalty), rewards.correctness_baseline
    )


def start_roles(config: Config, log_folder: Path) -> Roles:
    """Create every actor; they load their models side by side."""
    logs = str(log_folder)
    # On a laptop there are more roles than cores: they share them. On a cluster each role reserves its own.
    share = 0 if config.cluster.address is None else 1
    solver, rollout, learner = config.solver, config.rollout, config.learner
    # A server's account has one holder, or its limits would not hold; it and a program take next to no time.
    count, cores, gpus = (solver.workers, solver.threads, solver.gpus) if isinstance(solver, VllmSolver) else (1, 0, 0)
    solvers = [
        SolverActor.options(  # type: ignore[attr-defined]
            num_cpus=share * cores, num_gpus=gpus, max_concurrency=10_000, max_restarts=3, max_task_retries=3
        ).remote(solver_settings(config), index, logs)
        for index in range(count)
    ]
    workers = [
        RolloutWorker.options(  # type: ignore[attr-defined]
            num_cpus=share * rollout.threads, num_gpus=rollout.gpus, max_concurrency=1_000, max_restarts=3
        ).remote(worker_settings(config), index, logs)
        for index in range(rollout.workers)
    ]
    rewarders = [
        # The pipeline itself asks again, each episode alone: one that ends its process must not take others along.
        RewardActor.options(num_cpus=share, max_restarts=-1).remote(  # type: ignore[attr-defined]
            reward_settings(config), config.rewards.vectors, index, logs, config.rewards.episode_seconds
        )
        for index in range(config.rewards.workers)
    ]
    learners = [
        LearnerRank.options(num_cpus=share * learner.threads, num_gpus=learner.gpus_per_rank).remote(config, rank, logs)
        for rank in range(learner.ranks)
    ]
    return Roles(solvers, workers, rewarders, learners, log_folder)


async def wait_ready(actors: Sequence[Any], name: str, log_folder: Path, timeout_s: float, *arguments: Any) -> None:
    """Wait until actors are loaded; raises StartError with the end of the log of the first that is not."""
    for index, actor in enumerate(actors):
        try:
            async with asyncio.timeout(timeout_s):
                await actor.ready.remote(*arguments)
        except TimeoutError:
            problem = f"was not ready in {timeout_s:g} s (controller.start_timeout_s)"
        except RayTaskError as error:
            if isinstance(error.cause, SolverMisconfigured):
                raise StartError(str(error.cause)) from None
            problem = f"failed to start: {str(error).strip().splitlines()[-1]}"
        except RayError as error:
            problem = f"failed to start: {str(error).strip().splitlines()[-1]}"
        else:
            continue
        raise StartError(f"{name}-{index} {problem}; the end of its log:\n{log_tail(log_folder, f'{name}-{index}')}")
