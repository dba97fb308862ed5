"""A solver that goes away: the run waits, says so, and goes on or ends with nothing lost."""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any

import pytest

from rollout.data.chained import generate
from rollout.jobs import Job, Outcome
from rollout.solvers import pool
from rollout.solvers.openai import OpenAISolver
from tests.ports import free_port
from tests.rollout.fakes import worker_without_engine
from tests.rollout.server import Server
from tests.settings import openai_solver
from tests.trainer import loop
from tests.trainer.fakes import Actor, Rewarder, Worker
from trainer.workers import solver_outage
from trainer.workers.pipeline import Pipeline
from trainer.workers.solver_outage import SolverGone, minutes

SOLVER_ACTOR = pool.SolverActor.__ray_metadata__.modified_class


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(solver_outage, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(solver_outage, "LONGEST_PAUSE_S", 0.05)


class Away(Worker):
    """Has no reply for its episodes while the solver is away."""

    def __init__(self) -> None:
        super().__init__(1)
        self.away = False

    async def _run(self, job: Any, life: int) -> None:
        if self.away:
            self.done.put_nowait(Outcome(job, None, "SolverUnavailable: gone", no_reply=True))
        else:
            await super()._run(job, life)


class Solver:
    """Answers test questions unless ``worker``'s solver is away, or always."""

    def __init__(self, worker: Away, *, always: bool = False) -> None:
        self.worker, self.always, self.checks = worker, always, 0

    async def check(self) -> str | None:
        self.checks += 1
        return "ConnectError: gone" if self.worker.away and not self.always else None


def pipeline_of(worker: Away, solver: Solver, said: list[str], outage_s: float = 60.0) -> Pipeline:
    actors = [Actor(worker)], [Actor(solver)], [Actor(Rewarder())]
    made = Pipeline(*actors, "logs", 5.0, 3, solver_name="m at http://there/v1", outage_s=outage_s)
    made.on_restart = said.append
    made.start()
    return made


def jobs(count: int = 5) -> list[Job]:
    return [Job(index, problem, "daslam", 0) for index, problem in enumerate(itertools.islice(loop.problems(), count))]


def test_a_solver_that_comes_back_costs_no_episode_and_no_try():
    worker, said = Away(), []

    async def go():
        worker.away = True
        pipeline = pipeline_of(worker, Solver(worker), said)
        running = asyncio.create_task(pipeline.run(jobs()))
        await asyncio.sleep(0.3)
        worker.away = False
        try:
            return await running, pipeline.counts["retried"]
        finally:
            await pipeline.stop()

    scored, retried = asyncio.run(go())
    assert [(item.job.id, item.job.tries) for item in scored] == [(index, 0) for index in range(5)]
    assert retried == 5
    began, over = said
    assert re.match(
        r"no reply from the solver m at http://there/v1 since \d\d:\d\d:\d\d: ConnectError: gone; it is asked again "
        r"for up to 60 s \(solver\.outage_minutes\)",
        began,
    )
    assert re.match(r"the solver m at http://there/v1 answers again after .* test questions; the run goes on", over)


def test_a_solver_that_stays_away_ends_every_lane_and_is_named_with_what_was_tried():
    worker, said = Away(), []
    solver = Solver(worker)

    async def go():
        worker.away = True
        pipeline = pipeline_of(worker, solver, said, outage_s=0.2)
        try:
            lanes = [asyncio.create_task(pipeline.run(jobs(2))) for _ in range(2)]
            await pipeline.submit(jobs(1))
            with pytest.raises(SolverGone) as error:
                await pipeline.next()
            found = await asyncio.gather(*lanes, return_exceptions=True)
            with pytest.raises(SolverGone):
                await pipeline.run(jobs(1))
            return str(error.value), found
        finally:
            await pipeline.stop()

    message, found = asyncio.run(go())
    assert [type(each) for each in found] == [SolverGone, SolverGone]
    assert message.startswith("no reply from the solver m at http://there/v1 since ")
    assert f"and {solver.checks} test questions (solver.outage_minutes); the last: ConnectError: gone" in message
    assert solver.checks >= 3


def test_while_it_lasts_it_is_said_again(monkeypatch):
    monkeypatch.setattr(solver_outage, "SAY_EVERY_S", 0.1)
    worker, said = Away(), []

    async def go():
        worker.away = True
        pipeline = pipeline_of(worker, Solver(worker), said, outage_s=0.5)
        with pytest.raises(SolverGone):
            await pipeline.run(jobs(1))
        await pipeline.stop()

    asyncio.run(go())
    assert sum(line.startswith("still no reply from the solver") for line in said) in (2, 3, 4)


@pytest.mark.parametrize("outage_s", [0.0, 60.0])
def test_a_job_without_reply_has_bounded_tries_while_test_questions_are_answered_or_none_may_be_waited_for(outage_s):
    worker, said = Away(), []
    solver = Solver(worker, always=True)

    async def go():
        worker.away = True
        pipeline = pipeline_of(worker, solver, said, outage_s)
        with pytest.raises(SolverGone, match=r"gave problem p-0 no reply in 3 tries.*SolverUnavailable: gone"):
            await pipeline.run(jobs(1))
        await pipeline.stop()

    asyncio.run(go())
    assert said == []
    assert (solver.checks > 0) == (outage_s > 0)


def test_waits_that_only_come_one_after_another_are_bounded_together():
    (job,) = jobs(1)

    async def outages(count: int, *, finished: bool) -> None:
        """As many short outages, with or without an episode that finishes after each."""
        answers = itertools.cycle(["gone", "gone", None])

        async def check() -> str | None:
            return next(answers)

        outage = solver_outage.SolverOutage("m", 0.3, 3, check, lambda line: None)
        for _ in range(count):
            outage.hold(job, "gone")
            await outage.over()
            if finished:
                outage.finished()

    asyncio.run(outages(20, finished=True))
    with pytest.raises(SolverGone):
        asyncio.run(outages(100, finished=False))


@pytest.mark.parametrize(("seconds", "said"), [(3.2, "3 s"), (119, "119 s"), (600, "10 min"), (150, "2.5 min")])
def test_lengths_of_time_are_said_as_people_do(seconds, said):
    assert minutes(seconds) == said


def test_a_server_that_stops_listening_and_comes_back_is_waited_for_by_the_real_client(monkeypatch, tmp_path):
    monkeypatch.setattr(pool, "actor_log", lambda folder, name: None)
    problems = itertools.islice(generate(7, "held_out", {2: 1.0}), 6)
    asked = [Job(index, each, "daslam", 0, given=list(each.subquestions)) for index, each in enumerate(problems)]
    port, said = free_port(), []

    async def go():
        first = Server(lambda number, body: "program", port=port)
        settings = openai_solver(
            f"http://127.0.0.1:{port}/v1", max_retries=1, backoff_s=0.01, max_tokens_subquestion=40,
            max_tokens_solve=160,
        )  # fmt: skip
        solver = OpenAISolver(settings)
        monkeypatch.setattr(pool, "make_solver", lambda config: solver)
        actor = Actor(SOLVER_ACTOR(None, 0, str(tmp_path)))
        worker = worker_without_engine(pool.SolverClient([actor], window_s=0.0))
        pipeline = Pipeline(
            [Actor(worker)], [actor], [Actor(Rewarder())], tmp_path, 30.0, 3, solver_name="m", outage_s=60.0
        )
        pipeline.on_restart = said.append
        pipeline.start()
        try:
            async with first:
                running = asyncio.create_task(pipeline.run(asked))
                while len(first.requests) < 5:
                    await asyncio.sleep(0.01)
            # Whatever is not finished by now is held: an attempt that ended just as the server came back would count.
            while not said or len(pipeline._outage._held) < pipeline.running:
                await asyncio.sleep(0.01)
            async with Server(lambda number, body: "program", port=port) as second:
                scored = await running
            return scored, await pipeline.solver_usage(), first, second
        finally:
            await pipeline.stop()

    scored, usage, first, second = asyncio.run(go())
    assert [(item.job.id, item.job.tries, item.episode.outcome) for item in scored] == [(n, 0, "ok") for n in range(6)]
    assert "ConnectError" in said[0]
    assert "answers again after" in said[1]
    # Requests that were under way when the server ended have no reply, and are not paid.
    assert len(second.requests) <= usage.requests <= len(first.requests) + len(second.requests)


def test_a_pause_that_the_server_asks_for_is_waited_for_by_all_as_one_outage(monkeypatch, tmp_path):
    """It is longer than ``controller.wait_timeout_s``, in which an episode has to end, and shorter than the outage."""
    monkeypatch.setattr(pool, "actor_log", lambda folder, name: None)
    problems = itertools.islice(generate(7, "held_out", {2: 1.0}), 6)
    asked, said = [Job(n, each, "daslam", 0, given=list(each.subquestions)) for n, each in enumerate(problems)], []

    async def go():
        async with Server(lambda number, body: "429" if number == 5 else "program", retry_after="4") as server:
            await OpenAISolver(openai_solver(server.url, request_timeout_s=60.0, timeout_s=60.0)).start()
            solver = OpenAISolver(
                openai_solver(
                    server.url, max_retries=1, request_timeout_s=1.5, timeout_s=1.5, max_tokens_subquestion=40,
                    max_tokens_solve=160,
                )
            )  # fmt: skip
            monkeypatch.setattr(pool, "make_solver", lambda config: solver)
            actor = Actor(SOLVER_ACTOR(None, 0, str(tmp_path)))
            worker = worker_without_engine(pool.SolverClient([actor], window_s=0.0))
            pipeline = Pipeline(
                [Actor(worker)], [actor], [Actor(Rewarder())], tmp_path, 2.5, 3, solver_name="m", outage_s=60.0
            )
            pipeline.on_restart = said.append
            pipeline.start()
            try:
                return await pipeline.run(asked)
            finally:
                await pipeline.stop()

    assert [(item.job.tries, item.episode.outcome) for item in asyncio.run(go())] == [(0, "ok")] * 6
    assert "the server answered 429: slow down; it asked for a pause that lasts" in said[0]
    assert "answers again after" in said[-1]
