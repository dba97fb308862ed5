"""The run's actors: started together, waited for with a limit, and ended with the run."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rewards.actor import RewardActor
from rewards.modes import RewardSettings
from rollout.allowance import EpisodeLimits
from rollout.chat import model_chat
from rollout.engine_settings import EngineSettings
from rollout.parsing import ParseLimits
from rollout.prompts import Example, Prompts
from rollout.solvers import SolverSettings
from rollout.solvers.base import OpenAISettings, ReplySettings, SolverMisconfigured
from rollout.solvers.cache import CacheSettings
from rollout.solvers.pool import SolverActor
from rollout.solvers.vllm import VllmSettings
from rollout.strategies.base import Options
from rollout.worker import RolloutWorker, WorkerSettings
from trainer import placement
from trainer.config import Config, model_path
from trainer.config_solver import ModelSolver, OpenAISolver, VllmSolver
from trainer.group import LearnerGroup
from trainer.learner import LearnerRank
from trainer.pipeline import Pipeline
from trainer.placement import Node
from trainer.waiting import log_tail

# Set by Ray for the process of a submitted job.
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
CONNECT_TIMEOUT_S = 10


class StartError(RuntimeError):
    """A role did not start; the message holds the end of its log."""


@dataclass
class Roles:
    """The running actors, in order of their indices."""

    solvers: list[Any]
    workers: list[Any]
    rewarders: list[Any]
    learner: LearnerGroup | None
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


def start_ray(config: Config, root: Path) -> None:
    """Start Ray here, or join the configured cluster, unless that was done; workers import the project from ``root``.

    Call it on the main thread: Linux ends Ray's own processes when the thread that started them does, and a thread of
    a pool does so with its event loop. Raises ConnectionError if there is no cluster to join.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster = config.cluster
    local = cluster.address is None
    if not local:
        _answers(str(cluster.address))
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
    # A job's workers have the copy of the project that came with it.
    in_job = not local and JOB_VARIABLE in os.environ
    ray.init(
        **arguments,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env=None if in_job else {"env_vars": {"PYTHONPATH": str(root)}},
    )


def _answers(address: str) -> None:
    """Raises ConnectionError if nothing answers at HOST:PORT, for which Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise ConnectionError(f"nothing answers there ({error.strerror or error})") from None


def available(config: Config, root: Path) -> list[Node]:
    """The nodes that a run would have: this machine, or those of the cluster, which is joined to see them.

    Raises ConnectionError if there is no cluster to join.
    """
    if config.cluster.address is not None:
        start_ray(config, root)
        return _cluster_nodes()
    gpus = 0
    if any(role.gpus for role in placement.roles(config)):
        import torch

        gpus = torch.cuda.device_count()
    return [Node(config.cluster.num_cpus or os.cpu_count() or 1, gpus)]


def _cluster_nodes() -> list[Node]:
    totals = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(total.get("CPU", 0), total.get("GPU", 0)) for total in totals]


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
            gpu_memory_utilization=rollout.gpu_memory_utilization,
            tensor_parallel_size=rollout.tensor_parallel_size,
            threads=rollout.threads,
            seed=config.seed,
            recompute=rollout.weights.in_flight == "recompute",
            transfer="nccl" if rollout.weights.transport == "nccl" else None,
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
        load_tries=rollout.weights.tries,
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
            gpu_memory_utilization=solver.gpu_memory_utilization,
            prefix_caching=True,
            frozen=True,
            threads=solver.threads,
            seed=config.seed,
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


async def start_roles(config: Config, log_folder: Path, only: Sequence[str] = placement.ROLES) -> Roles:
    """Reserve what the actors of these roles need, then create them; they load their models side by side. Raises
    StartError."""
    logs = str(log_folder)
    places = await _reserve(config, only)
    settings: dict[str, tuple[Any, dict[str, Any], Callable[[int], tuple[Any, ...]]]] = {
        "solver": (
            SolverActor,
            {"max_concurrency": 10_000, "max_restarts": 3, "max_task_retries": 3},
            lambda index: (solver_settings(config), index, logs),
        ),
        "rollout": (
            RolloutWorker,
            {"max_concurrency": 1_000, "max_restarts": 3},
            lambda index: (worker_settings(config), index, logs),
        ),
        # The pipeline itself asks again, each episode alone: one that ends its process must not take others along.
        "reward": (
            RewardActor,
            {"max_restarts": -1},
            lambda index: (
                reward_settings(config), config.rewards.vectors, index, logs, config.rewards.episode_seconds
            ),
        ),
        "learner": (LearnerRank, {}, lambda index: (config, index, logs)),
    }  # fmt: skip
    wanted = {role.name: role for role in placement.roles(config, only)}

    def start(name: str) -> list[Any]:
        actor, options, arguments = settings[name]
        role = wanted[name]
        return [
            actor.options(
                num_cpus=role.cpus, num_gpus=role.gpus, scheduling_strategy=places.get((name, index)), **options
            ).remote(*arguments(index))
            for index in range(role.count)
        ]

    solvers, workers, rewarders = (start(name) if name in wanted else [] for name in ("solver", "rollout", "reward"))
    learner = None
    if "learner" in wanted:
        # Ranks that die are started again where they were.
        learner = LearnerGroup(partial(start, "learner"), workers, config.rollout.weights.transport)
    return Roles(solvers, workers, rewarders, learner, log_folder)


async def _reserve(config: Config, only: Sequence[str]) -> dict[tuple[str, int], PlacementGroupSchedulingStrategy]:
    """Reserve the run's bundles, all of them at once; where each actor goes. Raises StartError if the cluster lacks
    something, or has no room for longer than ``controller.start_timeout_s``."""
    wanted = placement.bundles(config, only)
    if not wanted:
        return {}
    missing = placement.shortage(config, _cluster_nodes(), only=only)
    if missing is not None:
        raise StartError(missing)
    group = placement_group([bundle.resources for bundle in wanted], config.cluster.strategy.upper())
    limit = config.controller.start_timeout_s
    try:
        async with asyncio.timeout(limit):
            await group.ready()
    except TimeoutError:
        free = ray.available_resources()
        raise StartError(
            f"the cluster had no room in {limit:g} s (controller.start_timeout_s): the run needs "
            + " and ".join(f"{sum(one.resources.get(name, 0) for one in wanted):g} {name}" for name in ("CPU", "GPU"))
            + f", free are now {free.get('CPU', 0):g} CPU and {free.get('GPU', 0):g} GPU"
        ) from None
    return {
        actor: PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
        for index, bundle in enumerate(wanted)
        for actor in bundle.actors
    }


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
