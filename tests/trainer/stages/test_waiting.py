"""Nothing that is slow ends a run, and whatever does not answer ends it by name: over stand-ins, in seconds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from ray.exceptions import RayActorError

from launch.compose import compose
from rollout.engine.weight_update import WeightMismatch
from rollout.jobs import Job
from tests.trainer import loop
from tests.trainer.fakes import Actor, Rewarder, Worker
from tests.trainer.loop import make_pipeline, problems, train
from trainer.cluster.roles import RunningRoles
from trainer.learner.learner_group import LearnerGroup
from trainer.workers import errors
from trainer.workers.errors import InfrastructureError, WaitTimeout
from trainer.workers.pipeline import Pipeline

LIMIT_S = 0.3


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Pipelines that wait for less than a learner step of these tests takes."""
    monkeypatch.setattr(loop, "make_pipeline", lambda workers: make_pipeline(workers, wait_timeout_s=LIMIT_S))


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_a_learner_step_longer_than_the_wait_ends_nothing(staleness):
    result, group, *_ = asyncio.run(train([Worker(1)], staleness, steps=3, learner_delay=2.2 * LIMIT_S))
    assert result.version == len(group.batches) == 3


def test_the_last_evaluation_may_take_longer_than_the_wait_while_its_episodes_end(tmp_path):
    class OneAfterAnother(Worker):
        """Evaluates two thirds of the wait an episode."""

        def __init__(self):
            super().__init__(1)
            self.turn = asyncio.Lock()

        async def _run(self, job, life):
            if job.lane:
                async with self.turn:
                    await asyncio.sleep(LIMIT_S * 2 / 3)
            await super()._run(job, life)

    async def go():
        return await train([OneAfterAnother()], 1, steps=2, extra=["evaluation.every=2"], checkpoints=tmp_path)

    result, _, rows, _ = asyncio.run(go())
    assert result.version == 2
    assert rows[-1][1]["eval/accuracy"] == 0.5


def test_scoring_that_takes_longer_than_the_wait_is_no_silence():
    class Slow(Rewarder):
        async def score(self, episodes):
            await asyncio.sleep(2.2 * LIMIT_S)
            return await super().score(episodes)

    async def go():
        pipeline = Pipeline([Actor(Worker())], ["solver"], [Actor(Slow())], Path("logs"), LIMIT_S, 3)
        pipeline.start()
        try:
            return await pipeline.run([Job(0, next(problems()), "daslam", 0)])
        finally:
            await pipeline.stop()

    assert len(asyncio.run(go())) == 1


def test_a_worker_that_takes_longer_to_come_back_than_the_wait_is_waited_for(monkeypatch):
    monkeypatch.setattr("trainer.workers.errors.RESTART_POLL_S", 0.001)

    class SlowToReturn(Worker):
        async def ready(self, solvers):
            await asyncio.sleep(LIMIT_S * 2)
            return await super().ready(solvers)

        async def load_weights(self, update, probe=(), expected=()):
            await asyncio.sleep(LIMIT_S * 0.9 * (self.restarts > 0))
            return await super().load_weights(update, probe, expected)

    async def go():
        worker = SlowToReturn(1, delay=0.05)

        async def disturb():
            await asyncio.sleep(0.1)
            worker.die()
            worker.absent = 0

        return await train([worker], 1, steps=6, disturb=disturb)

    result, *_ = asyncio.run(go())
    assert result.version == 6


class Dying(Worker):
    """Dies over its first job, and never comes back."""

    async def submit(self, jobs):
        self.die()
        raise RayActorError

    async def ready(self, solvers):
        await asyncio.sleep(1e6)


class DyingRewarder(Rewarder):
    """Dies over its first episode, and never comes back."""

    async def score(self, episodes):
        raise RayActorError

    async def ready(self):
        await asyncio.sleep(1e6)


@pytest.mark.parametrize(
    ("worker", "rewarder", "name"), [(Dying, Rewarder, "rollout-0"), (Worker, DyingRewarder, "reward-0")]
)
def test_an_actor_that_does_not_come_back_ends_it_after_the_seconds_of_a_start(tmp_path, worker, rewarder, name):
    (tmp_path / f"{name}.log").write_text("the last words")

    async def go():
        actors = [Actor(worker())], ["solver"], [Actor(rewarder())]
        pipeline = Pipeline(*actors, tmp_path, 0.1, 3, start_timeout_s=LIMIT_S)
        pipeline.start()
        try:
            await pipeline.run([Job(0, next(problems()), "daslam", 0)])
        finally:
            await pipeline.stop()

    said = rf"{name} died and did not come back in 0\.3 s \(controller\.start_timeout_s\)[^$]*the last words"
    with pytest.raises(InfrastructureError, match=said):
        asyncio.run(asyncio.wait_for(go(), 5))


def test_the_configuration_says_how_long_an_actor_may_take_to_come_back(tmp_path):
    config = compose(["controller.start_timeout_s=1800", "controller.wait_timeout_s=60"])
    pipeline = RunningRoles([], [], [], None, tmp_path).pipeline(config)
    assert (pipeline.start_timeout_s, pipeline.scoring.start_timeout_s, pipeline.wait_timeout_s) == (1800, 1800, 60)


class BadPush(Worker):
    async def load_weights(self, update, probe=(), expected=()):
        if update.version == 1:
            raise WeightMismatch("lm_head.weight was loaded as other than it was sent")
        return await super().load_weights(update, probe, expected)


class HungPush(Worker):
    async def load_weights(self, update, probe=(), expected=()):
        if update.version == 1:
            await asyncio.sleep(1e6)
        return await super().load_weights(update, probe, expected)


@pytest.mark.parametrize("staleness", [0, 1])
@pytest.mark.parametrize(
    ("worker", "error", "said"),
    [
        (BadPush, WeightMismatch, "lm_head.weight was loaded as other"),
        (HungPush, WaitTimeout, r"rollout-0 did not load version 1 in 0\.3 s \(controller\.wait_timeout_s\)"),
    ],
)
def test_a_push_that_fails_ends_the_run_at_once_and_is_what_is_said(staleness, worker, error, said):
    with pytest.raises(error, match=said):
        asyncio.run(train([worker(1)], staleness, steps=6))


@pytest.mark.parametrize("staleness", [0, 1])
def test_an_error_while_a_step_is_reported_ends_the_run_at_once(monkeypatch, staleness):
    class Full(OSError):
        pass

    original = loop.Controller

    def controller(config, pipeline, group, rest, on_step, **named):
        async def failing(step, metrics, scored):
            raise Full("no space left on device")

        return original(config, pipeline, group, rest, failing, **named)

    monkeypatch.setattr(loop, "Controller", controller)
    with pytest.raises(Full, match="no space left"):
        asyncio.run(train([Worker(1)], staleness, steps=6, learner_delay=0.05))


class Deaf(Worker):
    """Answers everything but one call."""

    def __init__(self, call: str) -> None:
        super().__init__(1)
        self.call = call

    async def submit(self, jobs):
        if self.call == "submit":
            await asyncio.sleep(1e6)
        await super().submit(jobs)

    async def collect(self, wait_s):
        if self.call == "collect":
            await asyncio.sleep(1e6)
        return await super().collect(wait_s)

    async def _run(self, job, life):
        if self.call != "episode":
            await super()._run(job, life)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("submit", r"rollout-0 did not take its episodes in 0\.3 s \(controller\.wait_timeout_s\)"),
        ("collect", r"rollout-0 did not say what is done in 0\.4 s \(controller\.wait_timeout_s\)"),
        ("episode", r"no episode finished in 0\.3 s with 3 running \(controller\.wait_timeout_s\)"),
    ],
)
def test_a_worker_that_does_not_answer_is_named_with_the_call_and_its_last_words(monkeypatch, tmp_path, call, said):
    monkeypatch.setattr("trainer.workers.pipeline.COLLECT_S", 0.1)
    (tmp_path / "rollout-0.log").write_text("the last words")

    async def go():
        pipeline = Pipeline([Actor(Deaf(call))], ["solver"], [Actor(Rewarder())], tmp_path, LIMIT_S, 3)
        pipeline.start()
        try:
            await pipeline.run([Job(index, next(problems()), "daslam", 0) for index in range(3)])
        finally:
            await pipeline.stop()

    if call == "collect":
        # No sign of any episode is the other way to find it out.
        monkeypatch.setattr(Pipeline, "_check_silence", lambda self, lane: None)
    with pytest.raises(WaitTimeout, match=said + r"[^$]*the last words"):
        asyncio.run(go())


def test_a_silence_is_said_now_and_then_by_one_of_the_lanes_that_wait(monkeypatch, tmp_path):
    monkeypatch.setattr("trainer.workers.pipeline.SAID_EVERY_S", LIMIT_S / 8)
    (tmp_path / "rollout-0.log").write_text("loading\ncompiling the sampler\n")
    said: list[str] = []

    async def go():
        pipeline = Pipeline([Actor(Deaf("episode"))], ["solver"], [Actor(Rewarder())], tmp_path, LIMIT_S, 3)
        pipeline.on_restart = said.append
        pipeline.start()
        one = [Job(0, next(problems()), "daslam", 0)]
        try:
            await asyncio.gather(pipeline.run(one), pipeline.run(one))
        finally:
            await pipeline.stop()

    with pytest.raises(WaitTimeout):
        asyncio.run(go())
    assert 2 <= len(said) <= 8
    assert set(said) == {"  no episode has ended for 0 s; rollout-0: compiling the sampler"}


def test_a_solver_that_does_not_tell_its_usage_is_named(tmp_path):
    class Deaf:
        async def usage(self):
            await asyncio.sleep(1e6)

    (tmp_path / "solver-0.log").write_text("the last words")

    async def go():
        await Pipeline([Actor(Worker())], [Actor(Deaf())], [], tmp_path, 0.05, 3).solver_usage()

    with pytest.raises(WaitTimeout, match=r"solver-0 did not tell its usage in 0\.05 s[^$]*the last words"):
        asyncio.run(go())


class Rank:
    """A learner rank that answers everything at once, or nothing."""

    def __init__(self, hangs: bool) -> None:
        self.hangs = hangs

    def __getattr__(self, name):
        async def call(*arguments):
            if self.hangs:
                await asyncio.sleep(1e6)
            return ("host", 1) if name == "address" else {}

        return call


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("setup", ("model", "ppo")), ("sft_step", ([("a", "b")], 1.0)), ("sft_loss", ([("a", "b")],)),
        ("weights", ()), ("checkpoint", ("folder",)), ("restore", ("folder",)), ("save", ("folder",)), ("connect", ()),
    ],
)  # fmt: skip
def test_a_learner_rank_that_does_not_answer_is_named_with_the_call_and_its_last_words(tmp_path, method, arguments):
    (tmp_path / "learner-1.log").write_text("the last words")

    async def go():
        ranks = [Actor(Rank(False)), Actor(Rank(True))]
        group = LearnerGroup(lambda: ranks, timeout_s=0.05, log_folder=tmp_path)
        await getattr(group, method)(*arguments)

    asked = {"weights": "gather", "connect": "address"}.get(method, method)
    said = rf"learner-1 did not answer {asked} in 0\.05 s \(controller\.learner_timeout_s\)[^$]*the last words"
    with pytest.raises(WaitTimeout, match=said):
        asyncio.run(asyncio.wait_for(go(), 5))


def test_a_long_wait_says_for_whom_and_what_the_actors_log_says(tmp_path, monkeypatch):
    monkeypatch.setattr(errors, "SAID_EVERY_S", 0.02)
    (tmp_path / "learner-0.log").write_text("loading\ncompiling an extension\n")
    said: list[str] = []

    async def late() -> int:
        await asyncio.sleep(0.1)
        return 7

    assert asyncio.run(errors.watched(late(), "learner-0", tmp_path, said.append)) == 7
    assert said[0].startswith("  waiting for learner-0 for 0 s: compiling an extension")


CODE = "    wrapper = lookup(vars(value)[name])\n"
OURS = "2026-11-29 07:22:25,101 INFO rollout: loading w = 3"
VLLM = "INFO 11-29 07:22:25 [core.py:77] Starting"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", "loading"),
        (f'Traceback (most recent call last):\n  File "a.py", line 3\n{CODE}', "loading"),
        (f"{CODE.strip()}\nLoading weights: 45%|####  | 3/7\n+-----+\n", "loading"),
        (f"{OURS}\n{CODE}", OURS),
        (f"\x1b[0;36m(EngineCore pid=7)\x1b[0;0m {VLLM}\n", f"(EngineCore pid=7) {VLLM}"),
        ("compiling an extension\n)\n", "compiling an extension"),
    ],
)
def test_a_wait_shows_of_a_log_what_a_person_reads_and_only_of_this_start(tmp_path, log, said):
    earlier = "an earlier start said this\n"
    (tmp_path / "solver-0.log").write_text(earlier)
    since = errors.log_sizes(tmp_path)
    assert since == {"solver-0": len(earlier)}
    with (tmp_path / "solver-0.log").open("a") as stream:
        stream.write(log)
    assert errors.last_said(tmp_path, "solver-0", since["solver-0"]) == said
    assert errors.last_said(tmp_path, "rollout-0") == "loading", "it has no log yet"
