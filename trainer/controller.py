"""Stage 2: asynchronous PPO as two coroutines, rollouts and training, around a buffer with an age limit.

Invariants: ``admitted <= (version + max_staleness + 1) * batch_size`` with the version that every worker has
acknowledged, counted in episodes; nothing older than ``max_staleness`` versions is trained on; every admitted group
(the ``group_size`` samples of one problem) is trained on once, whole and in one batch, or given up and counted, or put
back.
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
from trainer.evaluation import Evaluator
from trainer.experience import make_experience
from trainer.group import LearnerGroup
from trainer.groups import Assembler, flat, usable
from trainer.metrics import episode_metrics
from trainer.pipeline import Pipeline, Scored
from trainer.publisher import Push
from trainer.staleness import StalenessManager

# Called after every learner step with the step, its metrics and the batch it was made of.
OnStep = Callable[[int, dict[str, float], list[Scored]], Any]


def sampling_seed(run_seed: int, problem_id: str, epoch: int, sample: int = 0) -> int:
    """The seed of one sampling request; ``sample`` counts those of a group."""
    text = f"{run_seed} {problem_id} {epoch}" + (f" {sample}" if sample else "")
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class Buffer:
    """Scored groups that wait, oldest admission first."""

    def __init__(self) -> None:
        self._items: dict[int, list[Scored]] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def add(self, group: list[Scored]) -> None:
        """Put one in."""
        self._items[group[0].job.id] = group
        self._changed.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._changed.set()

    async def take(
        self, count: int, refuse: Callable[[list[Scored]], bool]
    ) -> tuple[list[list[Scored]], list[list[Scored]]]:
        """Wait until ``count`` groups are there that need not be refused; those, and the refused ones so far.
        Neither, once the buffer is closed and holds too few."""
        refused: list[list[Scored]] = []
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
        self,
        config: Config,
        pipeline: Pipeline,
        learner: LearnerGroup,
        problems: Iterator[Problem],
        on_step: OnStep,
        evaluator: Evaluator | None = None,
    ) -> None:
        self.config = config
        self.pipeline = pipeline
        self.learner = learner
        self.on_step = on_step
        self.evaluator = evaluator
        self.batch_size = config.algorithm.batch_size
        self.group_size = config.algorithm.group_size
        self.staleness = StalenessManager(self.batch_size, config.controller.max_staleness)
        self.assembler = Assembler(self.group_size)
        self.buffer = Buffer()
        self.version = 0
        self.dropped = 0
        self.refused = 0
        self.flat_groups = 0
        self.max_staleness = 0.0
        self.out_of_budget = False
        self._problems = problems
        self._again: deque[list[Job]] = deque()
        self._groups = itertools.count()
        self._flat_since_step = 0
        self._room = asyncio.Event()
        pipeline.on_version = self._room.set
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
            if self.evaluator is not None:
                await self.evaluator.stop()
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
                # Groups come and go whole and a batch is a whole number of them, so the room is one too.
                groups = [self._next_group() for _ in range(room // self.group_size)]
                await self.pipeline.submit([job for group in groups for job in group])
                continue
            self._room.clear()
            await self._room.wait()

    def _next_group(self) -> list[Job]:
        number = next(self._groups)
        ids = range(number * self.group_size, (number + 1) * self.group_size)
        if self._again:
            return [replace(job, id=identity) for job, identity in zip(self._again.popleft(), ids, strict=True)]
        problem = next(self._problems)
        return [
            Job(
                id=identity,
                problem=problem,
                strategy=self.config.strategy.name,
                seed=sampling_seed(self.config.seed, problem.id, number, sample),
                temperature=self.config.algorithm.temperature,
            )
            for sample, identity in enumerate(ids)
        ]

    async def _receive(self) -> None:
        """Whole groups into the buffer; what holds nothing to train on is given up and counted.

        The budget is spent when a job comes back that was not begun: those that were finish, the learner takes the
        full batches that they make, and no more come.
        """
        while not (self.out_of_budget and self.pipeline.idle):
            for scored in await self.pipeline.next():
                self.out_of_budget |= scored.episode.outcome == BUDGET
                group = self.assembler.add(scored)
                if group is None or any(item.episode.outcome == BUDGET for item in group):
                    continue
                if not usable(group):
                    self.dropped += len(group)
                elif self._to_resample(group):
                    self.flat_groups += 1
                    self._flat_since_step += 1
                else:
                    self.buffer.add(group)
                    continue
                self.staleness.give_up(len(group))
                self._room.set()
        self.buffer.close()
        await asyncio.Event().wait()  # ``run`` ends with the first of its loops, which is to be the training

    def _to_resample(self, group: list[Scored]) -> bool:
        """Whether others are to be admitted in a flat group's place; beyond the limit it is trained on as it is."""
        algorithm = self.config.algorithm
        if not algorithm.resample_flat_groups or self.out_of_budget:
            return False
        limit = algorithm.resample_limit * self.batch_size // self.group_size
        return self._flat_since_step < limit and flat(group)

    # -- training --------------------------------------------------------------------------------------------

    async def _train(self) -> None:
        """Take a batch, learn, send the weights off, go on while they travel."""
        push: asyncio.Task[Push] | None = None
        idle_s = self.pipeline.idle_s
        for step in range(1, self.config.algorithm.steps + 1):
            began = time.perf_counter()
            groups = await self._take()
            if not groups:
                break
            waited = time.perf_counter() - began
            batch = [item for group in groups for item in group]
            experiences = [
                make_experience(item.episode, item.reward, self.config.algorithm.credit, number)
                for number, group in enumerate(groups)
                for item in group
            ]
            metrics = await self.learner.train_step(experiences)
            self.version = step
            self.max_staleness = max(self.max_staleness, metrics["staleness/max"])
            gathering = time.perf_counter()
            weights, probe, expected = await self.learner.weights(experiences)
            gathered = time.perf_counter() - gathering
            push = asyncio.create_task(self._push(weights, step, probe, expected))
            if self.evaluator is not None:
                await self.evaluator.keep(step)
            if step == self.config.algorithm.steps:
                await push
            seconds = time.perf_counter() - began
            metrics |= episode_metrics([(item.episode, item.reward) for item in batch])
            metrics |= {
                "throughput/episodes_s": len(batch) / seconds,
                "throughput/policy_tokens_s": metrics["tokens/policy"] / seconds,
                "time/rollout_wait": waited,
                "time/learner_wait": self.pipeline.idle_s - idle_s,
                "staleness/refused": self.refused,
                "episode/flat_groups": self.flat_groups,
                "episode/retried": self.pipeline.counts["retried"],
                "episode/solver_failures": self.pipeline.counts["solver_failures"],
                "reward/errors": self.pipeline.counts["reward_errors"],
                "reward/retries": self.pipeline.counts["reward_retries"],
            }
            idle_s = self.pipeline.idle_s
            await self._report(step, metrics, batch, push, gathered)
        for task in (push, self._reporting):
            if task is not None:
                await task

    async def _take(self) -> list[list[Scored]]:
        """The oldest full batch, or none if there will be no more. What is too stale for the learner's weights is
        refused and put back."""
        while True:
            batch, refused = await self.buffer.take(self.batch_size // self.group_size, self._too_stale)
            if not refused:
                self._flat_since_step = 0
                return batch
            count = len(refused) * self.group_size
            self.refused += count
            self._again.extend([item.job for item in group] for group in refused)
            self.staleness.give_up(count)
            self._room.set()

    def _too_stale(self, group: list[Scored]) -> bool:
        """A group is as stale as the oldest token of its samples."""
        samples = (item.episode.policy for item in group)
        return any(self.staleness.too_stale(sample.versions, self.version) for sample in samples if sample is not None)

    async def _push(self, weights: Any, version: int, probe: Any, expected: Any) -> Push:
        result = await self.pipeline.publish(weights, probe, expected)
        self._room.set()
        if self.evaluator is not None:
            self.evaluator.begin(version)
        return result

    async def _report(
        self, step: int, metrics: dict[str, float], batch: list[Scored], push: asyncio.Task[Push], gathered: float
    ) -> None:
        """Report a step once its own push is through, without making the next step wait for that."""

        async def later() -> None:
            result = await push
            metrics["time/weight_push"] = gathered + result.seconds
            metrics["time/pause"] = result.pause
            metrics["throughput/weights_mib"] = result.mib
            metrics["policy/engine_logprob_gap"] = max(metrics.get("policy/engine_logprob_gap", 0.0), result.gap)
            if self.evaluator is not None:
                metrics.update(await self.evaluator.metrics(wait=step == self.config.algorithm.steps))
            await self.on_step(step, metrics, batch)

        if self._reporting is not None:
            await self._reporting
        self._reporting = asyncio.create_task(later())
        if step == self.config.algorithm.steps:
            await self._reporting
