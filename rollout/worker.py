"""The rollout worker: a Ray actor that keeps many episodes in flight over one policy engine.

Invariant: every job handed to ``submit`` comes back from ``collect`` exactly once, as a finished episode or as
the infrastructure error that stopped it, unless ``ready`` came between.
"""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import ray
import torch

from rollout.allowance import Allowance, EpisodeLimits
from rollout.engine import Engine, EngineError, Generator, PromptTooLong
from rollout.engine_settings import EngineSettings
from rollout.logs import actor_log
from rollout.parsing import ParseLimits, parse, token_ends
from rollout.prompts import Prompts
from rollout.records import Decomposition, Episode, PolicySample, Problem
from rollout.sampling import Sampling
from rollout.solvers.pool import SolverClient
from rollout.strategies import strategy_for
from rollout.strategies.base import DEFAULTS, Options, Solver, SolverFailure
from rollout.weights import Bucket, Update, WeightMismatch, bucket_tensors, check, merged

# The outcome of a job that was not begun, since the solver's budget is spent.
BUDGET = "solver_budget"


@dataclass(frozen=True)
class Job:
    """One episode to run. ``plan``: use these sub-questions instead of the policy's. ``temperature`` is the
    policy's; ``seed`` comes from run seed, problem id and epoch. ``lane`` is whose it is, where several hand in jobs
    side by side; ``id`` is its own there. ``ahead``: it begins at once, beyond the worker's concurrency. ``settings``:
    prompts, limits and options for this episode instead of the worker's own; the engine stays what it is."""

    id: int
    problem: Problem
    strategy: str
    seed: int
    temperature: float = 1.0
    plan: list[str] | None = None
    tries: int = 0
    lane: int = 0
    ahead: bool = False
    settings: WorkerSettings | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job: an episode, or the error of something that has to be tried again."""

    job: Job
    episode: Episode | None
    error: str | None = None


@dataclass(frozen=True)
class WorkerSettings:
    """What a rollout worker runs with. ``solver_window_s``: prompts put within it go to the solver in one call, and
    come back together; 0 sends each alone, for a solver whose replies take very different times. ``load_tries``: how
    often a load is tried whose weights turn out to be damaged."""

    engine: EngineSettings
    prompts: Prompts
    limits: ParseLimits
    max_tokens: int
    stop: tuple[str, ...] = ()
    concurrency: int = 128
    solver_window_s: float = 0.004
    options: Options = DEFAULTS
    episode: EpisodeLimits = field(default_factory=EpisodeLimits)
    load_tries: int = 3


@dataclass(frozen=True)
class Loaded:
    """What became of a load: the version, -1 if it is not there; the largest gap between expected log-probabilities
    and the engine's; bytes received; the seconds in which nothing was generated, and what the rest took."""

    version: int
    gap: float
    nbytes: int = 0
    pause_s: float = 0.0
    fetched_s: float = 0.0
    staged_s: float = 0.0
    waited_s: float = 0.0
    reset_s: float = 0.0


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
        self._base: dict[str, torch.Tensor] = {}
        self._base_of: Any = None

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
        update: Update,
        probe: Sequence[tuple[list[int], list[int]]] = (),
        expected: Sequence[list[float]] = (),
    ) -> Loaded:
        """Fetch a version, load it between two tokens, and say how that went, with the log-probabilities of the probe
        sequences as its proof. Raises WeightMismatch if the weights turn out damaged as often as is allowed."""
        for left in reversed(range(self.settings.load_tries)):
            try:
                loaded = await self._load(update)
                break
            except WeightMismatch:
                if not left:
                    raise
                traceback.print_exc()
        if loaded.version < 0:
            return loaded
        found = await asyncio.gather(*(self.engine.score(prompt, completion) for prompt, completion in probe))
        gaps = [abs(a - b) for want, have in zip(expected, found, strict=True) for a, b in zip(want, have, strict=True)]
        return replace(loaded, gap=max(gaps, default=0.0))

    async def transfer(self, step: str, argument: Any = None) -> None:
        """One step of a transfer that the learner drives; see ``Engine.transfer``."""
        await self.engine.transfer(step, argument)

    async def _load(self, update: Update) -> Loaded:
        started = time.perf_counter()
        if update.sent:
            # A process that began since then has only the weights it began with, whatever their version.
            if not self.engine.stats.loads or self.engine.version != update.version:
                return Loaded(-1, 0.0)
            if update.proofs:
                await self.engine.prove(update.proofs)
            return Loaded(update.version, 0.0, update.nbytes)
        nbytes = await self._fetch_base(update)
        buckets = await self._fetch(update.buckets, update.verify)
        fetched = time.perf_counter()
        named: Iterator[tuple[str, torch.Tensor]] = (pair for bucket in buckets for pair in bucket_tensors(bucket))
        if update.base:
            named = merged(named, self._base, update.scales)
            if not self.engine.loads_parts:
                named = iter((self._base | dict(named)).items())
        times = await self.engine.load_weights(named, update.version, verify=update.verify)
        return Loaded(
            update.version,
            0.0,
            nbytes + sum(bucket.data.nbytes for bucket in buckets),
            pause_s=times.pause_s,
            fetched_s=fetched - started,
            staged_s=times.staged_s,
            waited_s=times.waited_s,
            reset_s=times.reset_s,
        )

    async def _fetch(self, references: Sequence[Any], verify: bool) -> list[Bucket]:
        buckets = list(await asyncio.gather(*references))
        if verify:
            await asyncio.to_thread(check, buckets)
        return buckets

    async def _fetch_base(self, update: Update) -> int:
        """What an adapter is merged into, fetched once; the bytes of it if it was now."""
        if not update.base or self._base_of == update.base[0]:
            return 0
        buckets = await self._fetch(update.base, update.verify)
        self._base = dict(pair for bucket in buckets for pair in bucket_tensors(bucket))
        self._base_of = update.base[0]
        return sum(bucket.data.nbytes for bucket in buckets)

    async def stats(self) -> dict[str, float]:
        """Requests in flight, and since the start generated policy tokens, loads and seconds paused for them."""
        stats = self.engine.stats
        return {
            "in_flight": self.engine.in_flight,
            "policy_tokens": stats.generated_tokens,
            "loads": stats.loads,
            "pause_s": stats.pause_s,
        }

    async def _run(self, job: Job, done: asyncio.Queue[Outcome]) -> None:
        assert self._limit is not None
        assert self._solver is not None
        async with nullcontext() if job.ahead else self._limit:
            if self._progress is None or done is not self._progress.done:
                return
            if self._solver.spent:
                done.put_nowait(Outcome(job, Episode(job.problem, job.strategy, outcome=BUDGET)))
                return
            try:
                episode = await run_episode(job, self.engine, self._solver, job.settings or self.settings)
            except EngineError:
                # Nothing works in this process any more: end it, so that Ray starts a new one.
                traceback.print_exc()
                os._exit(1)
            except Exception as error:  # noqa: BLE001 - every failure of a job is its outcome
                traceback.print_exc()
                done.put_nowait(Outcome(job, None, f"{type(error).__name__}: {error}"))
                return
            done.put_nowait(Outcome(job, episode))
