"""The rollout worker: a Ray actor that keeps many episodes in flight over one policy engine.

Invariant: every job handed to ``submit`` comes back from ``collect`` exactly once, as a finished episode or as
the infrastructure error that stopped it, unless ``ready`` came between.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import ray
import torch

from conf.schema.config import Config
from rollout.actor_log import actor_log
from rollout.engine.vllm_arguments import policy_engine
from rollout.engine.vllm_engine import Engine, EngineError
from rollout.engine.weight_update import Bucket, Gap, Loaded, Update, WeightMismatch, bucket_tensors, check, merged
from rollout.episode.prompts import Prompts
from rollout.jobs import BUDGET, Job, NotReady, Outcome, solver_of
from rollout.records import Episode
from rollout.run_episode import run_episode
from rollout.solvers.base import SolverUnavailable
from rollout.solvers.budget_end import BudgetEnd
from rollout.solvers.pool import WINDOW_S, SolverClient, split_pool

_LOG = logging.getLogger(__name__)
# Seconds in which a step of a transfer that is given up may fail by itself.
GIVE_UP_S = 10.0


@dataclass
class _Progress:
    done: asyncio.Queue[Outcome] = field(default_factory=asyncio.Queue)
    running: set[asyncio.Task[None]] = field(default_factory=set)


@contextmanager
def ending_with_the_engine() -> Iterator[None]:
    """End this process with its engine: nothing works in it any more, and Ray starts a new one."""
    try:
        yield
    except EngineError:
        traceback.print_exc()
        os._exit(1)


def _client(actors: Sequence[Any], settings: Any) -> SolverClient:
    """Return a worker's view of a pool. A server's replies take very different times: none waits for its neighbours."""
    return SolverClient(list(actors), 0.0 if settings.backend == "openai" else WINDOW_S)


@ray.remote
class RolloutWorker:
    """One policy engine and the episodes over it."""

    # Of the version that came last with a probe.
    _proof: tuple[int, asyncio.Task[Gap | None]] | None = None
    # Whether it takes part in the learner's transfers.
    _met = False
    # None where nobody judges.
    _verifier: SolverClient | None = None

    def __init__(self, config: Config, index: int, log_folder: str) -> None:
        actor_log(log_folder, f"rollout-{index}")
        self.config = config
        self.engine = Engine(policy_engine(config))
        self.engine.start()
        for name in config.solver_names:
            Prompts.of(config.of_solver(name))  # so that a chat format is read, or refused, before the first episode
        # By name: one in all, or those of a mixture.
        self._solvers: dict[str | None, SolverClient] = {}
        self._limit: asyncio.Semaphore | None = None
        self._ends: dict[str | None, BudgetEnd] = {}
        self._progress: _Progress | None = None
        self._base: dict[str, torch.Tensor] = {}
        self._base_of: Any = None

    async def ready(self, solvers: list[Any], verifiers: Sequence[Any] = ()) -> int:
        """Take up the pools of solvers and verifiers, with nothing submitted: what was before runs to its end and is
        not handed out. Returns, once the engine is loaded, the process id."""
        self._solvers = {
            name: _client(actors, self.config.of_solver(name).solver)
            for name, actors in split_pool(self.config, solvers).items()
        }
        self._verifier = _client(verifiers, self.config.verifier) if verifiers else None
        self._limit = asyncio.Semaphore(self.config.rollout.concurrency)
        self._ends = {}
        self._progress = _Progress()
        return os.getpid()

    async def submit(self, jobs: list[Job]) -> None:
        """Start jobs; their outcomes come from ``collect``. Raises NotReady."""
        progress = self._begun()
        for job in jobs:
            task = asyncio.create_task(self._run(job, progress.done))
            progress.running.add(task)
            task.add_done_callback(progress.running.discard)

    async def collect(self, wait_s: float) -> list[Outcome]:
        """Return the outcomes since the last call; wait up to ``wait_s`` for the first, a moment for its neighbours.
        Raises NotReady."""
        done = self._begun().done
        try:
            async with asyncio.timeout(wait_s):
                outcomes = [await done.get()]
        except TimeoutError:
            return []
        await asyncio.sleep(0.02)
        while not done.empty():
            outcomes.append(done.get_nowait())
        return outcomes

    def _begun(self) -> _Progress:
        if self._progress is None:
            raise NotReady("this process was started again and has not been told to begin")
        return self._progress

    async def load_weights(
        self,
        update: Update,
        probe: Sequence[tuple[list[int], list[int]]] = (),
        expected: Sequence[list[float]] = (),
    ) -> Loaded:
        """Fetch a version, load it between two tokens, and say how that went. The proof, the log-probabilities of the
        probe sequences, waits its turn in the engine: ``proof`` has it then. Raises WeightMismatch if the weights turn
        out damaged as often as is allowed."""
        with ending_with_the_engine():
            for left in reversed(range(self.config.rollout.weights.tries)):
                try:
                    loaded = await self._load(update)
                    break
                except WeightMismatch:
                    if not left:
                        raise
                    traceback.print_exc()
        if probe and loaded.version >= 0:
            self._proof = loaded.version, asyncio.create_task(self._prove(loaded.version, probe, expected))
        return loaded

    async def proof(self, version: int) -> Gap | None:
        """Return how far the engine's log-probabilities are from those expected with a version, once it has scored
        them; None if it had none to score, or a newer version by then."""
        of, proving = self._proof or (None, None)
        return await proving if proving is not None and of == version else None

    async def _prove(
        self, version: int, probe: Sequence[tuple[list[int], list[int]]], expected: Sequence[list[float]]
    ) -> Gap | None:
        # To score a sequence the engine needs room for one token more, which a completion cut by the context has not.
        pairs = zip(probe, expected, strict=True)
        fitting = [(pair, want) for pair, want in pairs if sum(map(len, pair)) < self.engine.context]
        with ending_with_the_engine():
            found = await asyncio.gather(*(self.engine.logprobs(*pair) for pair, _ in fitting))
        scored = zip(fitting, found, strict=True)
        gaps = [abs(a - b) for (_, want), have in scored for a, b in zip(want, have, strict=True)]
        return Gap(max(gaps), fmean(gaps)) if gaps and self.engine.version == version else None

    async def transfer(self, step: str, argument: Any = None) -> None:
        """Take one step of a transfer that the learner drives; see ``Engine.transfer``.

        A step that hangs, because what the worker receives no longer comes, ends this process: vLLM has no call that
        ends the step. It has ``controller.wait_timeout_s``, or, once the transfer is given up, a moment to fail. Raises
        NotReady in a process that is too new to have met the learner.
        """
        if not self._met and step not in ("init", "give_up"):
            raise NotReady("this process was started again and has not met the learner")
        limit, key = self.config.controller.wait_timeout_s, "controller.wait_timeout_s"
        if step == "give_up" and self.engine.waits_for_learner and limit > GIVE_UP_S:
            limit, key = GIVE_UP_S, "the transfer was given up"
        with ending_with_the_engine():
            try:
                async with asyncio.timeout(limit) as waiting:
                    await self.engine.transfer(step, argument)
                    self._met |= step == "init"
            except TimeoutError:
                if not waiting.expired():
                    raise
                raise EngineError(f"step {step} of a weight transfer did not end in {limit:g} s ({key})") from None

    async def _load(self, update: Update) -> Loaded:
        started = time.perf_counter()
        if update.sent:
            # A process that began since then has only the weights it began with, whatever their version.
            if not self.engine.stats.loads or self.engine.version != update.version:
                return Loaded(-1)
            if update.proofs:
                try:
                    await self.engine.prove(update.proofs)
                except WeightMismatch:
                    # What is damaged in the engine stays so: the whole policy is to be loaded another way.
                    traceback.print_exc()
                    return Loaded(-1)
            return Loaded(update.version, nbytes=update.nbytes)
        nbytes = await self._fetch_base(update)
        buckets = await self._fetch(update.buckets, update.verify)
        fetched = time.perf_counter()
        named: Iterator[tuple[str, torch.Tensor]] = (pair for bucket in buckets for pair in bucket_tensors(bucket))
        if update.base:
            named = merged(named, self._base, update.scales)
            if not self.engine.loads_parts:
                named = iter((self._base | dict(named)).items())
        loaded = await self.engine.load_weights(named, update.version, verify=update.verify)
        received = nbytes + sum(bucket.nbytes for bucket in buckets)
        return replace(loaded, nbytes=received, fetched_s=fetched - started)

    async def _fetch(self, references: Sequence[Any], verify: bool) -> list[Bucket]:
        buckets = list(await asyncio.gather(*references))
        if verify:
            await asyncio.to_thread(check, buckets)
        return buckets

    async def _fetch_base(self, update: Update) -> int:
        """Fetch what an adapter is merged into, once; return its bytes if that was now."""
        if not update.base or self._base_of == update.base[0]:
            return 0
        buckets = await self._fetch(update.base, update.verify)
        self._base = dict(pair for bucket in buckets for pair in bucket_tensors(bucket))
        self._base_of = update.base[0]
        return sum(bucket.nbytes for bucket in buckets)

    async def stats(self) -> dict[str, float]:
        """Return requests in flight, and since the start generated policy tokens, loads and seconds paused for them."""
        stats = self.engine.stats
        return {
            "in_flight": self.engine.in_flight,
            "policy_tokens": stats.generated_tokens,
            "loads": stats.loads,
            "pause_s": stats.pause_s,
        }

    def _left(self, solver: SolverClient) -> float | None:
        """Return the share that is left of the budget of a solver, or of the verifier's if that is less."""
        known = [role.left for role in (solver, self._verifier) if role is not None and role.left is not None]
        return min(known, default=None)

    async def _run(self, job: Job, done: asyncio.Queue[Outcome]) -> None:
        assert self._limit is not None
        name = solver_of(self.config, job)
        solver = self._solvers[name]
        if name not in self._ends:
            self._ends[name] = BudgetEnd(lambda: self._left(solver))
        async with nullcontext() if job.ahead else self._limit, self._ends[name].episode(ahead=job.ahead):
            if self._progress is None or done is not self._progress.done:
                return
            if solver.spent or (self._verifier is not None and self._verifier.spent):
                done.put_nowait(Outcome(job, Episode(job.problem, job.strategy, outcome=BUDGET, solver=name)))
                return
            try:
                with ending_with_the_engine():
                    config = self.config.of_solver(name)
                    episode = await run_episode(job, self.engine, solver, config, self._verifier)
                episode.solver = name
            except SolverUnavailable as error:  # its own log has more
                _LOG.warning("problem %s has no reply: %s", job.problem.id, error)
                done.put_nowait(Outcome(job, None, f"{type(error).__name__}: {error}", no_reply=True))
                return
            except Exception as error:  # noqa: BLE001 - every failure of a job is its outcome
                traceback.print_exc()
                done.put_nowait(Outcome(job, None, f"{type(error).__name__}: {error}"))
                return
            done.put_nowait(Outcome(job, episode))
