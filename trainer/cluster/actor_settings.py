"""Build the settings that each actor is started with."""

from __future__ import annotations

from pathlib import Path

from conf.schema.config import Config
from conf.schema.model import model_path
from conf.schema.solver import ModelSolver, OpenAISolver, VllmSolver
from rollout.engine.vllm_arguments import EngineSettings
from rollout.episode.chat_format import model_chat
from rollout.episode.limits import EpisodeLimits
from rollout.episode.parse_decomposition import ParseLimits
from rollout.episode.prompts import Example, Prompts
from rollout.jobs import WorkerSettings
from rollout.solvers import SolverSettings
from rollout.solvers.base import OpenAISettings, ReplySettings
from rollout.solvers.cache import CacheSettings
from rollout.solvers.vllm import VllmSettings
from rollout.strategies.base import Options


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
