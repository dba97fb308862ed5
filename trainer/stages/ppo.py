"""Stage 2: asynchronous PPO as two coroutines, rollouts and training, around a buffer with an age limit.

What becomes of a group, the ``group_size`` samples of one problem (``in_flight`` knows where each is):

    problem -> admitted -> running -> scored -> waiting -> trained on
                  ^                      |         |
                  |                      |         +-> put back: too stale --+
                  |                      +-> given up: not usable, or flat   |
                  +----------------------------------------------------------+

Invariants: ``admitted <= (version + target + 1) * batch_size`` with the version that every worker has acknowledged,
counted in episodes, and a target of at most ``max_staleness``; nothing older than ``max_staleness`` versions is trained
on; every admitted group is trained on once, whole and in one batch, or given up and counted, or put back.
Between two steps all of that is in ``state``, and a controller that ``restore``s it goes on as this one would.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from conf.schema.config import Config
from rewards.reward import Sample, Scored
from rollout.jobs import BUDGET, Job, drawn_solver, sampling_seed
from rollout.records import Problem
from trainer.algorithm.experience import sample_experience
from trainer.algorithm.staleness import StalenessManager
from trainer.learner.learner_group import LearnerGroup
from trainer.stages.drops import Drops
from trainer.stages.engine_gap import alarm, largest_healthy, with_proof
from trainer.stages.evaluation import Evaluator
from trainer.stages.gpu_rates import gpu_rates
from trainer.stages.in_flight import InFlight, ScoredGroup
from trainer.stages.sample_groups import flat, may_succeed, usable
from trainer.tracking.ending import stopping
from trainer.tracking.metrics_catalogue import episode_metrics
from trainer.workers.pipeline import Pipeline
from trainer.workers.solver_outage import SolverGone
from trainer.workers.weight_publisher import Push

# Called after every learner step with the step, its metrics and the batch it was made of.
OnStep = Callable[[int, dict[str, float], list[Sample]], Any]
# Called, and waited for, between two steps where a checkpoint is due and everything up to there has been reported.
OnCheckpoint = Callable[[int], Any]
Result = TypeVar("Result")
# What is counted since the start.
COUNTERS = ("dropped", "refused", "flat_groups", "max_staleness")


@dataclass(eq=False)
class Controller:
    """PPO over a pipeline and a learner group; what it counts is there to be read when ``run`` has ended."""

    config: Config
    pipeline: Pipeline
    learner: LearnerGroup
    problems: Iterator[Problem]
    on_step: OnStep
    on_checkpoint: OnCheckpoint | None = None
    evaluator: Evaluator | None = None

    def __post_init__(self) -> None:
        limits = self.config.controller
        self.batch_size, self.group_size = self.config.algorithm.batch_size, self.config.algorithm.group_size
        self.staleness = StalenessManager(self.batch_size, limits.max_staleness, limits.staleness_target)
        self.in_flight = InFlight(self.group_size, self.staleness)
        self.version = self.dropped = self.refused = self.flat_groups = 0
        self.max_staleness = 0.0
        # Whatever the key, all that may be in flight at once may fail at once.
        at_once = (limits.max_staleness + 1) * self.batch_size // self.group_size
        self.drops = Drops(max(limits.max_dropped_in_a_row, at_once + 1))
        # Told a line when groups are dropped and dropped, and when a stop waits.
        self.say: Callable[[str], object] = lambda line: None
        self.out_of_budget = False
        # Set when no further step is to be begun: this process is asked to stop.
        self.stopping, self.between_steps = asyncio.Event(), False
        self.stop_by = 0.0
        # Why the solver gives no more replies; what was sampled by then is trained on.
        self.solver_gone: SolverGone | None = None
        self._drawn = self._flat_since_step = 0
        # Whether what waits may be too stale for the learner's weights.
        self._some_stale = False
        self._place_free, self._arrived = asyncio.Event(), asyncio.Event()
        self.pipeline.on_version = self._place_free.set
        self._idle_s = self._checkpoint_s = 0.0
        self._reporting: asyncio.Task[None] | None = None
        self._pushing: asyncio.Task[Push] | None = None
        # What ends the run though none of its loops waits for it now.
        self._first_error: asyncio.Future[None]

    def state(self) -> tuple[dict[str, Any], list[Sample]]:
        """Return what ``restore`` needs, between two steps: as JSON, and the scored episodes that wait."""
        in_flight, waiting = self.in_flight.state()
        state = {
            "version": self.version,
            "drawn": self._drawn,
            "flat_since_step": self._flat_since_step,
            "counters": {name: getattr(self, name) for name in COUNTERS},
            "pipeline": dict(self.pipeline.counts),
        }
        return state | in_flight, waiting

    def restore(self, state: dict[str, Any], waiting: Sequence[Scored]) -> None:
        """Go on from a state, before ``run``; the problems are to be those from ``drawn`` on."""
        self.version, self._drawn = state["version"], state["drawn"]
        self._flat_since_step = state["flat_since_step"]
        for name, value in state["counters"].items():
            setattr(self, name, value)
        for name, count in state["pipeline"].items():
            # What this process has seen since that state is not undone: it happened.
            self.pipeline.counts[name] = max(self.pipeline.counts[name], count)
        self.staleness.admit(self.version * self.batch_size)
        self.in_flight.restore(state, waiting)

    async def run(self) -> None:
        """Take all steps of the configuration, or as many as the solver and its budget allow. When it is cancelled, it
        ends the step that it is in, so that there is a state between two steps, unless it is cancelled again or that
        takes longer than ``controller.stop_timeout_s``."""
        self._first_error = asyncio.get_running_loop().create_future()
        loops = [asyncio.create_task(loop) for loop in (self._admit(), self._receive(), self._train())]
        try:
            done, _ = await asyncio.wait([self._first_error, *loops], return_when=asyncio.FIRST_COMPLETED)
            # Loops that wait for what failed fail with it.
            for ended in [self._first_error] if self._first_error in done else done:
                ended.result()
        except asyncio.CancelledError:
            await self._end_step(loops[-1])
            raise
        except Exception:
            # The last step that was taken is still to be told.
            if self._reporting is not None:
                await asyncio.wait([self._reporting], timeout=self.config.controller.wait_timeout_s)
            raise
        finally:
            self._first_error.cancel()
            tasks = [task for task in (*loops, self._reporting, self._pushing) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.evaluator is not None:
                await self.evaluator.stop()

    async def _end_step(self, training: asyncio.Task[None]) -> None:
        """Let the training end between two steps, and say in ``between_steps`` whether it did by ``stop_by``."""
        limit = self.config.controller.stop_timeout_s
        self.stop_by = asyncio.get_running_loop().time() + limit
        self.stopping.set()
        self._arrived.set()
        self.say(stopping(limit))
        await asyncio.wait([training, self._first_error], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        failed = self._first_error.done() and self._first_error.exception() is not None
        self.between_steps = not failed and training.done() and training.exception() is None

    # -- rollouts --------------------------------------------------------------------------------------------

    async def _admit(self) -> None:
        """Admit problems whenever the staleness bound leaves room; never more than the steps need, and none once
        the solver's budget is spent."""
        needed = self.config.algorithm.steps * self.batch_size
        if self.in_flight.running:  # in the state that this goes on from
            await self.pipeline.submit(self.in_flight.running)
        while True:
            room = min(self.staleness.capacity(self.pipeline.version), needed - self.staleness.admitted)
            if (count := room // self.group_size) > 0 and not self.out_of_budget and self.solver_gone is None:
                groups = [self.in_flight.admit(self._fresh_group) for _ in range(count)]
                await self.pipeline.submit([job for group in groups for job in group])
                # Places that become free one by one are filled together.
                await asyncio.sleep(self.pipeline.pause_s)
                continue
            self._place_free.clear()
            await self._place_free.wait()

    def _fresh_group(self, number: int, ids: range) -> list[Job]:
        config, problem = self.config, next(self.problems)
        self._drawn += 1
        seeds = [sampling_seed(config.seed, problem.id, number, sample) for sample in range(len(ids))]
        solver = drawn_solver(config, seeds[0])  # the same for all: their rewards are compared
        measured = config.rewards.pays_likelihood
        return [
            Job(
                identity,
                problem,
                config.strategy.name,
                seed,
                config.algorithm.temperature,
                solver=solver,
                gold_logprobs=measured,
            )
            for identity, seed in zip(ids, seeds, strict=True)
        ]

    async def _receive(self) -> None:
        """Have scored groups wait to be trained on, whole; give up and count those that hold nothing to learn from.
        What a timeout ended of a group is run again first, since its other samples hang on it. Raises NothingToTrainOn
        if there are no others.

        The budget is spent when a job comes back that was not begun: those that were finish, the learner takes the
        full batches that they make, and no more come. So it is when the solver is gone for good.
        """
        while not self._ended:
            for scored in await self._arrivals():
                self.out_of_budget |= scored.facts.outcome == BUDGET
                if self.group_size > 1 and may_succeed(scored, self.config.controller.max_tries):
                    await self.pipeline.submit_again([replace(scored.job, late=scored.job.late + 1)])
                    continue
                group = self.in_flight.add(scored)
                if group is None or any(item.facts.outcome == BUDGET for item in group):
                    continue
                if not usable(group):
                    self.dropped += len(group)
                    if line := self.drops.dropped(group):
                        self.say(line)
                elif self._to_resample(group):
                    self.flat_groups += 1
                    self._flat_since_step += 1
                else:
                    self.in_flight.keep(group)
                    self.drops.kept()
                    self._some_stale |= self._too_stale(group)
                    self._arrived.set()
                    continue
                self.in_flight.give_up(group)
                self._place_free.set()
        self._arrived.set()
        await asyncio.Event().wait()  # ``run`` ends with the first of its loops, which is to be the training

    async def _arrivals(self) -> list[Sample]:
        """Return scored samples as they come; none once the solver is gone."""
        try:
            return await self.pipeline.next()
        except SolverGone as gone:
            self.solver_gone = gone
            return []

    @property
    def _ended(self) -> bool:
        """Whether no more samples will come."""
        return self.solver_gone is not None or (self.out_of_budget and self.pipeline.idle)

    def _to_resample(self, group: ScoredGroup) -> bool:
        """Return whether others are to be admitted in a flat group's place; beyond the limit it is trained on as
        it is."""
        algorithm = self.config.algorithm
        if not algorithm.resample_flat_groups or self.out_of_budget:
            return False
        limit = algorithm.resample_limit * self.batch_size // self.group_size
        return self._flat_since_step < limit and flat(group)

    # -- training --------------------------------------------------------------------------------------------

    async def _train(self) -> None:
        """Take a batch, learn, send the weights off, and go on while they travel."""
        self._idle_s, measured = self.pipeline.idle_s, time.perf_counter()
        for step in range(self.version + 1, self.config.algorithm.steps + 1):
            began = time.perf_counter()
            if not (groups := await self._take()):
                break
            waited = time.perf_counter() - began
            metrics = await self._learn(step, groups)
            batch = [item for group in groups for item in group]
            # With the report and the checkpoint before it: episodes ran meanwhile, and idle time was counted.
            now = time.perf_counter()
            seconds, measured = now - measured, now
            metrics |= self._measure(batch, waited, seconds)
            metrics |= gpu_rates(self.config, metrics, seconds, metrics["time/learner_wait"])
            await self._report(step, metrics, batch)
            await self._checkpoint(step)
        if self._reporting is not None:  # which waits for the push, too
            await self._reporting

    async def _take(self) -> list[ScoredGroup]:
        """Return the oldest full batch, or none if there will be no more. What is too stale for the learner's weights
        is refused and put back."""
        self._some_stale = True  # the learner's weights may be newer than when these came
        while True:
            if self._some_stale:
                self._some_stale = False
                self.refused += self.in_flight.put_back(self._too_stale) * self.group_size
                self._place_free.set()
            if self.stopping.is_set():
                return []
            if batch := self.in_flight.take(self.batch_size // self.group_size):
                self._flat_since_step = 0
                return batch
            if self._ended:
                return []
            self._arrived.clear()
            await self._arrived.wait()

    def _too_stale(self, group: ScoredGroup) -> bool:
        """Return whether a group must not be trained on: it is as stale as the oldest token of its samples."""
        return any(self.staleness.too_stale(item.facts.versions, self.version) for item in group)

    async def _learn(self, step: int, groups: Sequence[ScoredGroup]) -> dict[str, float]:
        """Take a learner step on a batch and send its weights off; return its metrics."""
        experiences = [
            sample_experience(item, self.config.algorithm.credit, number)
            for number, group in enumerate(groups)
            for item in group
        ]
        metrics = await self.learner.train_step(experiences)
        self.version = step
        self.max_staleness = max(self.max_staleness, metrics["staleness/max"])
        gathering = time.perf_counter()
        weights, probe, expected = await self.learner.weights(experiences)
        metrics["time/weight_push"] = time.perf_counter() - gathering
        self._pushing = self._beside(self._push(weights, step, probe, expected))
        if self.evaluator is not None:
            await self.evaluator.keep(step)
        if step == self.config.algorithm.steps:
            await self._pushing
        return metrics

    def _beside(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Have this done beside the loops; an error in it ends the run at once."""
        task = asyncio.create_task(work)

        def ended(done: asyncio.Task[Result]) -> None:
            error = None if done.cancelled() else done.exception()
            if error is not None and not self._first_error.done():
                self._first_error.set_exception(error)

        task.add_done_callback(ended)
        return task

    async def _push(self, weights: Any, version: int, probe: Any, expected: Any) -> Push:
        result = await self.pipeline.publish(weights, probe, expected)
        self._place_free.set()
        if self.evaluator is not None:
            self.evaluator.begin(version)
        return result

    def _measure(self, batch: Sequence[Sample], waited: float, seconds: float) -> dict[str, float]:
        """Return the metrics of a step's episodes and of the system; the step before was measured ``seconds`` ago, and
        it ``waited`` for its batch."""
        before, self._idle_s = self._idle_s, self.pipeline.idle_s
        checkpoint_s, self._checkpoint_s = self._checkpoint_s, 0.0
        counts = self.pipeline.counts
        metrics = episode_metrics(batch)
        return metrics | {
            "throughput/episodes_s": len(batch) / seconds,
            "throughput/policy_tokens_s": metrics["tokens/policy"] / seconds,
            "time/rollout_wait": waited,
            "time/learner_wait": self._idle_s - before,
            "time/checkpoint": checkpoint_s,
            "staleness/refused": self.refused,
            "episode/flat_groups": self.flat_groups,
            "episode/dropped": self.dropped,
            "episode/retried": counts["retried"],
            "episode/solver_failures": counts["solver_failures"],
            "reward/errors": counts["reward_errors"],
            "reward/retries": counts["reward_retries"],
            "system/rollout_restarts": counts["restarts"],
        }

    async def _report(self, step: int, metrics: dict[str, float], batch: list[Sample]) -> None:
        """Report a step once its own push is through and proven, in the order of the steps, without making the next
        step wait for that. A stop waits neither for the proof nor for the last evaluation."""
        push, before = self._pushing, self._reporting
        assert push is not None

        async def later() -> None:
            result = await push
            gap = await self._unless_stopping(result.proven())
            if before is not None:
                await before
            metrics["time/weight_push"] += result.seconds
            if result.loads:  # else another push's load brought these weights, or newer ones, to all
                metrics.update({"time/pause": result.pause, "throughput/weights_mib": result.mib})
            metrics.update(with_proof(metrics, result.gap, gap))
            metrics.update(alarm(metrics, largest_healthy(self.config)))
            if self.evaluator is not None:
                found = self.evaluator.metrics(wait=step == self.config.algorithm.steps)
                metrics.update(await self._unless_stopping(found) or {})
            await self.on_step(step, metrics, batch)

        self._reporting = self._beside(later())

    async def _unless_stopping(self, work: Coroutine[Any, Any, Result]) -> Result | None:
        """Return what this ends with; None if a stop is asked for before it does."""
        ended, stopped = asyncio.create_task(work), asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
            return ended.result() if ended.done() else None
        finally:
            ended.cancel()
            stopped.cancel()

    async def _checkpoint(self, step: int) -> None:
        """Have a checkpoint written if one is due. What is in it is in the metrics too, however the run ends."""
        due = step % self.config.learner.checkpoint_every == 0 and step < self.config.algorithm.steps
        if self.on_checkpoint is not None and due:
            assert self._reporting is not None
            await self._reporting
            saving = time.perf_counter()
            await self.on_checkpoint(step)
            self._checkpoint_s = time.perf_counter() - saving
