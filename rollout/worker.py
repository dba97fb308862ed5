"""The rollout worker: a Ray actor that keeps many episodes in flight over one policy engine.

Invariant: every job handed to ``submit`` comes back from ``collect`` exactly once, as a finished episode or as
the infrastructure error that stopped it, unless ``ready`` came between.
"""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
import torch

from rollout.engine import Engine, EngineError, EngineSettings, PromptTooLong
from rollout.logs import actor_log
from rollout.parsing import ParseLimits, parse, token_ends
from rollout.prompts import Prompts
from rollout.records import Decomposition, Episode, PolicySample, Problem
from rollout.sampling import Sampling
from rollout.solvers.pool import SolverClient
from rollout.strategies import STRATEGIES
from rollout.strategies.base import DEFAULTS, Options, SolverFailure

# The outcome of a job that was not begun, since the solver's budget is spent.
BUDGET = "solver_budget"


@dataclass(frozen=True)
class Job:
    """One episode to run. ``plan``: use these sub-questions instead of the policy's. ``temperature`` is the
    policy's; ``seed`` comes from run seed, problem id and epoch."""

    id: int
    problem: Problem
    strategy: str
    seed: int
    temperature: float = 1.0
    plan: list[str] | None = None
    tries: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a job: an episode, or the error of something that has to be tried again."""

    job: Job
    episode: Episode | None
    error: str | None = None


@dataclass(frozen=True)
class WorkerSettings:
    """What a rollout worker runs with. ``solver_window_s``: prompts put within it go to the solver in one call, and
    come back together; 0 sends each alone, for a solver whose replies take very different times."""

    engine: EngineSettings
    prompts: Prompts
    limits: ParseLimits
    max_tokens: int
    stop: tuple[str, ...] = ()
    concurrency: int = 128
    solver_window_s: float = 0.004
    options: Options = DEFAULTS


class PolicyDecomposer:
    """The policy, sampled once."""

    def __init__(self, engine: Engine, settings: WorkerSettings, job: Job) -> None:
        self._engine, self._settings, self._job = engine, settings, job

    async def decompose(self, problem: Problem, attempt: str) -> tuple[Decomposition, PolicySample | None]:
        """Sample a decomposition and parse it; a prompt beyond the context gives an invalid, empty one."""
        settings = self._settings
        sampling = Sampling(settings.max_tokens, self._job.temperature, settings.stop, self._job.seed)
        try:
            generation = await self._engine.generate(settings.prompts.decompose(problem, attempt), sampling)
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


@dataclass
class _Progress:
    done: asyncio.Queue[Outcome] = field(default_factory=asyncio.Queue)
    running: set[asyncio.Task[None]] = field(default_factory=set)


@ray.remote
class RolloutWorker:
    """One policy engine and the episodes over it."""

    def __init__(self, settings: WorkerSettings, index: int, log_folder: str) -> None:
        actor_log(log_folder, f"rollout-{index}")
        self.settings = settings
        self.engine = Engine(settings.engine)
        self.engine.start()
        self._solver: SolverClient | None = None
        self._limit: asyncio.Semaphore | None = None
        self._progress: _Progress | None = None

    async def ready(self, solvers: list[Any]) -> int:
        """Take up the solver pool, with nothing submitted: what was before runs to its end and is not handed out.
        Returns, once the engine is loaded, the process id."""
        self._solver = SolverClient(solvers, self.settings.solver_window_s)
        self._limit = asyncio.Semaphore(self.settings.concurrency)
        self._progress = _Progress()
        return os.getpid()

    async def submit(self, jobs: list[Job]) -> None:
        """Start jobs; their outcomes come from ``collect``."""
        assert self._progress is not None
        for job in jobs:
            task = asyncio.create_task(self._run(job, self._progress.done))
            self._progress.running.add(task)
            task.add_done_callback(self._progress.running.discard)

    async def collect(self, wait_s: float) -> list[Outcome]:
        """Outcomes since the last call; waits up to ``wait_s`` for the first, and a moment for its neighbours."""
        assert self._progress is not None
        done = self._progress.done
        try:
            async with asyncio.timeout(wait_s):
                outcomes = [await done.get()]
        except TimeoutError:
            return []
        await asyncio.sleep(0.02)
        while not done.empty():
            outcomes.append(done.get_nowait())
        return outcomes

    async def load_weights(
        self,
        weights: list[tuple[str, torch.Tensor]],
        version: int,
        probe: Sequence[tuple[list[int], list[int]]] = (),
        expected: Sequence[list[float]] = (),
    ) -> tuple[int, float, float]:
        """Load a version between two tokens; returns the version that is loaded now, the largest gap between the
        expected log-probabilities of the probe sequences and the engine's, and the seconds of the pause."""
        paused = self.engine.stats.pause_s
        if version != self.engine.version:
            await self.engine.load_weights(weights, version)
        pause = self.engine.stats.pause_s - paused
        found = await asyncio.gather(*(self.engine.score(prompt, completion) for prompt, completion in probe))
        gaps = [abs(a - b) for want, have in zip(expected, found, strict=True) for a, b in zip(want, have, strict=True)]
        return self.engine.version, max(gaps, default=0.0), pause

    async def checksum(self) -> Any:
        """vLLM's checksums of the loaded weights."""
        return await self.engine.checksum()

    async def stats(self) -> dict[str, float]:
        """Counters since the start: generated policy tokens, loads, seconds paused for loads."""
        stats = self.engine.stats
        return {"policy_tokens": stats.generated_tokens, "loads": stats.loads, "pause_s": stats.pause_s}

    async def _run(self, job: Job, done: asyncio.Queue[Outcome]) -> None:
        assert self._limit is not None
        assert self._solver is not None
        async with self._limit:
            if self._progress is None or done is not self._progress.done:
                return
            if self._solver.spent:
                done.put_nowait(Outcome(job, Episode(job.problem, job.strategy, outcome=BUDGET)))
                return
            started = time.perf_counter()
            decomposer = (
                GivenPlan(job.plan) if job.plan is not None else PolicyDecomposer(self.engine, self.settings, job)
            )
            try:
                strategy = STRATEGIES[job.strategy]
                episode = await strategy(
                    job.problem, decomposer, self._solver, self.settings.prompts, self.settings.options
                )
            except EngineError:
                # Nothing works in this process any more: end it, so that Ray starts a new one.
                traceback.print_exc()
                os._exit(1)
            except SolverFailure as failure:
                episode = Episode(job.problem, job.strategy, outcome=failure.outcome)
            except Exception as error:  # noqa: BLE001 - every failure of a job is its outcome
                traceback.print_exc()
                done.put_nowait(Outcome(job, None, f"{type(error).__name__}: {error}"))
                return
            episode.seconds = time.perf_counter() - started
            versions = episode.policy.versions if episode.policy else []
            episode.weight_version = min(versions, default=self.engine.version)
            done.put_nowait(Outcome(job, episode))
