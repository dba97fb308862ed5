"""Run one job's episode over an engine and a solver."""

from __future__ import annotations

import time

from conf.schema.config import Config
from rollout.engine.sampling import Sampling
from rollout.engine.vllm_engine import Generator, PromptTooLong
from rollout.episode.contracts import Solver
from rollout.episode.limits import EpisodeBudget
from rollout.episode.parse_decomposition import parse, token_ends
from rollout.episode.prompts import Prompts
from rollout.jobs import Job
from rollout.records import Decomposition, Episode, PolicyCall, Problem
from rollout.strategies import run_strategy


class PolicyDecomposer:
    """The policy, sampled once."""

    def __init__(self, engine: Generator, prompts: Prompts, job: Job, budget: EpisodeBudget) -> None:
        self._engine, self._prompts, self._job, self._budget = engine, prompts, job, budget

    async def decompose(self, problem: Problem, attempt: str) -> tuple[Decomposition, PolicyCall | None]:
        """Sample a decomposition and parse it; a prompt beyond the context gives an invalid, empty one."""
        settings = self._prompts.strategy
        sampling = Sampling(settings.max_tokens, self._job.temperature, tuple(settings.stop), self._job.seed)
        try:
            prompt = self._prompts.decompose(problem, attempt)
            done = await self._budget.in_time(self._engine.generate(prompt, sampling))
        except PromptTooLong:
            return Decomposition("", [], invalid="prompt_too_long"), None
        parsed = parse(done.text, settings, truncated=done.finish_reason == "length")
        ends = token_ends(parsed.char_ends, done.token_ids, self._engine.tokenizer.decode)
        ids = (done.prompt_ids, done.token_ids)
        call = PolicyCall("decompose", *ids, done.logprobs, done.versions, done.finish_reason, ends, done.text)
        return Decomposition(done.text, parsed.subquestions, parsed.invalid), call


class GivenDecomposition:
    """Sub-questions that somebody else wrote."""

    def __init__(self, subquestions: list[str]) -> None:
        self._subquestions = subquestions

    async def decompose(self, problem: Problem, attempt: str) -> tuple[Decomposition, PolicyCall | None]:
        """Return the decomposition as it was given."""
        return Decomposition("\n".join(self._subquestions), list(self._subquestions)), None


async def run_episode(job: Job, engine: Generator, solver: Solver, config: Config) -> Episode:
    """Run a job's episode, in the job's own configuration if it has one; the solver's failure is its outcome. Raises
    whatever else went wrong."""
    started = time.perf_counter()
    config = job.config or config
    prompts, budget = Prompts.of(config), EpisodeBudget(config.rollout, solver)
    decomposer = (
        GivenDecomposition(job.given) if job.given is not None else PolicyDecomposer(engine, prompts, job, budget)
    )
    episode = await run_strategy(job.strategy, job.problem, decomposer, budget, prompts)
    episode.seconds = time.perf_counter() - started
    episode.weight_version = min(episode.token_versions, default=engine.version)
    return episode
