"""Run one job's episode over an engine and a solver."""

from __future__ import annotations

import time

from rollout.engine.sampling import Sampling
from rollout.engine.vllm_engine import Generator, PromptTooLong
from rollout.episode.contracts import Solver, SolverFailure
from rollout.episode.limits import Allowance
from rollout.episode.parse_decomposition import parse, token_ends
from rollout.jobs import Job, WorkerSettings
from rollout.records import Decomposition, Episode, PolicySample, Problem
from rollout.strategies import strategy_for


class PolicyDecomposer:
    """The policy, sampled once."""

    def __init__(self, engine: Generator, settings: WorkerSettings, job: Job, allowance: Allowance) -> None:
        self._engine, self._settings, self._job, self._allowance = engine, settings, job, allowance

    async def decompose(self, problem: Problem, attempt: str) -> tuple[Decomposition, PolicySample | None]:
        """Sample a decomposition and parse it; a prompt beyond the context gives an invalid, empty one."""
        settings = self._settings
        sampling = Sampling(settings.max_tokens, self._job.temperature, settings.stop, self._job.seed)
        try:
            prompt = settings.prompts.decompose(problem, attempt)
            generation = await self._allowance.in_time(self._engine.generate(prompt, sampling))
        except PromptTooLong:
            return Decomposition("", [], invalid="prompt_too_long"), None
        parsed = parse(generation.text, settings.limits, truncated=generation.finish_reason == "length")
        decode = self._engine.tokenizer.decode
        sample = PolicySample(
            prompt_ids=generation.prompt_ids,
            token_ids=generation.token_ids,
            logprobs=generation.logprobs,
            versions=generation.versions,
            finish_reason=generation.finish_reason,
            subquestion_ends=token_ends(parsed.char_ends, generation.token_ids, decode),
        )
        return Decomposition(generation.text, parsed.subquestions, parsed.invalid), sample


class GivenPlan:
    """Sub-questions that somebody else wrote."""

    def __init__(self, plan: list[str]) -> None:
        self._plan = plan

    async def decompose(self, problem: Problem, attempt: str) -> tuple[Decomposition, PolicySample | None]:
        """The plan, as given."""
        return Decomposition("\n".join(self._plan), list(self._plan)), None


async def run_episode(job: Job, engine: Generator, solver: Solver, settings: WorkerSettings) -> Episode:
    """A job's episode; the solver's failure is its outcome. Raises whatever else went wrong."""
    started = time.perf_counter()
    allowance = Allowance(settings.episode, solver)
    decomposer = GivenPlan(job.plan) if job.plan is not None else PolicyDecomposer(engine, settings, job, allowance)
    try:
        strategy = strategy_for(job.strategy)
        episode = await strategy(job.problem, decomposer, allowance, settings.prompts, settings.options)
    except SolverFailure as failure:
        episode = Episode(job.problem, job.strategy, outcome=failure.outcome)
    episode.seconds = time.perf_counter() - started
    versions = episode.policy.versions if episode.policy else []
    episode.weight_version = min(versions, default=engine.version)
    return episode
