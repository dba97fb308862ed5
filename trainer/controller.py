"""Stage 2: asynchronous PPO as two coroutines, rollouts and training, around a buffer with an age limit.

Invariants: ``admitted <= (version + max_staleness + 1) * batch_size`` with the version that every worker has
acknowledged; nothing older than ``max_staleness`` versions is trained on; every admitted problem is trained on
once, or given up and counted, or put back.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from rollout.records import Problem
from rollout.worker import BUDGET, Job
from trainer.config import Config
from trainer.experience import make_experience
from trainer.group import LearnerGroup
from trainer.metrics import episode_metrics
from trainer.pipeline import Pipeline, Push, Scored
from trainer.staleness import StalenessManager

# Called after every learner step with the step, its metrics and the batch it was made of.
OnStep = Callable[[int, dict[str, float], list[Scored]], Any]


def sampling_seed(run_seed: int, problem_id: str, epoch: int) -> int:
    """The seed of one sampling request."""
    digest = hashlib.sha256(f"{run_seed} {problem_id} {epoch}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class Buffer:
    """Scored episodes that wait, oldest admission first."""

    def __init__(self) -> None:
        self._items: dict[int, Scored] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def add(self, scored: Scored) -> None:
        """Put one in."""
        self._items[scored.job.id] = scored
        self._changed.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._changed.set()

    async def take(self, count: int, refuse: Callable[[Scored], bool]) -> tuple[list[Scored], list[Scored]]:
        """Wait until ``count`` episodes are there that need not be refused; those, and the refused ones so far.
        Neither, once the buffer is closed and holds too few."""
        refused: list[Scored] = []
        while True:
            for key in [key for key, item in self._items.items() if refuse(item)]:
                refused.append(self._items.pop(key))
            if refused or len(self._items) >= count:
                break
            if self._closed:
                return [], []
            self._changed.clear()
            await self._changed.wait()
        if refused:
            return [], refused
        return [self._items.pop(key) for key in sorted(self._items)[:count]], []


@dataclass
class PpoResult:
    """How stage 2 ended."""

    steps: int
    version: int
    max_staleness: float
    refused: int
    dropped: int
    out_of_budget: bool


class Controller:
    """Runs PPO over a pipeline and a learner group."""

    def __init__(
        self, config: Config, pipeline: Pipeline, learner: LearnerGroup, problems: Iterator[Problem], on_step: OnStep
    ) -> None:
        self.config = config
        self.pipeline = pipeline
        self.learner = learner
        self.on_step = on_step
        self.batch_size = config.algorithm.batch_size
        self.staleness = StalenessManager(self.batch_size, config.controller.max_staleness)
        self.buffer = Buffer()
        self.version = 0
        self.dropped = 0
        self.refused = 0
        self.max_staleness = 0.0
        self.out_of_budget = False
        self._problems = problems
        self._again: deque[Job] = deque()
        self._ids = itertools.count()
        self._room = asyncio.Event()
        pipeline.on_version = self._room.set
        self._closed_s = 0.0
        self._reporting: asyncio.Task[None] | None = None

    async def run(self) -> PpoResult:
        """All steps of the configuration, or as many as the solver's budget allows."""
        tasks = [asyncio.create_task(loop) for loop in (self._admit(), self._receive(), self._train())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return PpoResult(self.version, self.version, self.max_staleness, self.refused, self.dropped, self.out_of_budget)

    # -- rollouts --------------------------------------------------------------------------------------------

    async def _admit(self) -> None:
        """Admit problems whenever the staleness bound leaves room; never more than the steps need, and none once
        the solver's budget is spent."""
        needed = self.config.algorithm.steps * self.batch_size
        while True:
            room = min(self.staleness.capacity(self.pipeline.version), needed - self.staleness.admitted)
            if room > 0 and not self.out_of_budget:
                self.staleness.admit(room)
                await self.pipeline.submit([self._next_job() for _ in range(room)])
                continue
            self._room.clear()
            waiting = time.perf_counter()
            await self._room.wait()
            if not self.pipeline.running:
                self._closed_s += time.perf_counter() - waiting

    def _next_job(self) -> Job:
        if self._again:
            return replace(self._again.popleft(), id=next(self._ids))
        problem = next(self._problems)
        identity = next(self._ids)
        return Job(
            id=identity,
            problem=problem,
            strategy=self.config.strategy.name,
            seed=sampling_seed(self.config.seed, problem.id, identity),
            temperature=self.config.algorithm.temperature,
        )

    async def _receive(self) -> None:
        """Scored episodes into the buffer; what holds nothing to train on is given up and counted.

        The budget is spent when a job comes back that was not begun: those that were finish, the learner takes the
        full batches that they make, and no more come.
        """
        while not (self.out_of_budget and self.pipeline.idle):
            for scored in await self.pipeline.next():
                sample = scored.episode.policy
                # A prompt that was too long is the plan's doing; every other failure is the solver's own.
                solver_failed = scored.episode.outcome not in ("ok", "prompt_too_long")
                if scored.episode.outcome == BUDGET:
                    self.out_of_budget = True
                elif scored.reward.error or solver_failed or sample is None or not sample.token_ids:
                    self.dropped += 1
                    self.staleness.give_up()
                    self._room.set()
                else:
                    self.buffer.add(scored)
        self.buffer.close()
        await asyncio.Event().wait()  # ``run`` ends with the first of its loops, which is to be the training

    # -- training --------------------------------------------------------------------------------------------

    async def _train(self) -> None:
        """Take a batch, learn, send the weights off, go on while they travel."""
        push: asyncio.Task[Push] | None = None
        for step in range(1, self.config.algorithm.steps + 1):
            began = time.perf_counter()
            batch = await self._take()
            if not batch:
                break
            waited = time.perf_counter() - began
            experiences = [make_experience(item.episode, item.reward, self.config.algorithm.credit) for item in batch]
            metrics = await self.learner.train_step(experiences)
            self.version = step
            self.max_staleness = max(self.max_staleness, metrics["staleness/max"])
            if push is not None:
                await push
            gathering = time.perf_counter()
            weights, probe, expected = await self.learner.weights(experiences)
            gathered = time.perf_counter() - gathering
            push = asyncio.create_task(self._push(weights, step, probe, expected))
            if step == self.config.algorithm.steps:
                await push
            seconds = time.perf_counter() - began
            metrics |= episode_metrics([(item.episode, item.reward) for item in batch])
            metrics |= {
                "throughput/episodes_s": len(batch) / seconds,
                "throughput/policy_tokens_s": metrics["tokens/policy"] / seconds,
                "time/rollout_wait": waited,
                "time/learner_wait": self._closed_s,
                "staleness/refused": self.refused,
                "episode/retried": self.pipeline.counts["retried"],
                "episode/solver_failures": self.pipeline.counts["solver_failures"],
                "reward/errors": self.pipeline.counts["reward_errors"],
                "reward/retries": self.pipeline.counts["reward_retries"],
            }
            self._closed_s = 0.0
            await self._report(step, metrics, batch, push, gathered)
        for task in (push, self._reporting):
            if task is not None:
                await task

    async def _take(self) -> list[Scored]:
        """The oldest full batch, or none if there will be no more. What is too stale for the learner's weights is
        refused and put back."""
        while True:
            batch, refused = await self.buffer.take(
                self.batch_size,
                lambda item: self.staleness.too_stale(item.episode.policy.versions, self.version),  # type: ignore[union-attr]
            )
            if not refused:
                return batch
            self.refused += len(refused)
            self._again.extend(item.job for item in refused)
            self.staleness.give_up(len(refused))
            self._room.set()

    async def _push(self, weights: Any, version: int, probe: Any, expected: Any) -> Push:
        result = await self.pipeline.publish(weights, version, probe, expected)
        self._room.set()
        return result

    async def _report(
        self, step: int, metrics: dict[str, float], batch: list[Scored], push: asyncio.Task[Push], gathered: float
    ) -> None:
        """Report a step once its own push is through, without making the next step wait for that."""

        async def later() -> None:
            result = await push
            metrics["time/weight_push"] = gathered + result.seconds
            metrics["time/pause"] = result.pause
            metrics["policy/engine_logprob_gap"] = max(metrics.get("policy/engine_logprob_gap", 0.0), result.gap)
            await self.on_step(step, metrics, batch)

        if self._reporting is not None:
            await self._reporting
        self._reporting = asyncio.create_task(later())
        if step == self.config.algorithm.steps:
            await self._reporting
