"""The pool's actor and client, in this process: who gets what, and what stays counted."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from conf.schema.solver import ProgramSolver
from rollout.episode.contracts import Likelihood, Reply, SolverFailure
from rollout.jobs import BUDGET, Job
from rollout.records import Problem
from rollout.solvers import pool
from rollout.solvers.base import Backend, SolverMisconfigured, SolverUnavailable, Usage
from tests.rollout.fakes import worker_without_engine
from tests.trainer.fakes import Actor
from trainer.workers.pipeline import Pipeline

ACTOR = pool.SolverActor.__ray_metadata__.modified_class


class Moody(Backend):
    """Does what the prompt says."""

    def __init__(self) -> None:
        super().__init__(ProgramSolver(backend="program"))
        self.out_of_money = False

    @property
    def identity(self) -> dict[str, Any]:
        return {}

    @property
    def spent(self) -> bool:
        return self.out_of_money

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        if prompt == "slow":
            await asyncio.sleep(1.0)
        if prompt == "refuse":
            raise SolverFailure("solver_refused", "no")
        if prompt == "long":
            raise SolverFailure("prompt_too_long", "9 tokens are too many")
        if prompt == "gone":
            raise SolverUnavailable("ConnectError: gone")
        if prompt == "key":
            raise SolverMisconfigured("solver.api_key_env: no longer accepted")
        if prompt == "boom":
            raise KeyError("choices")
        reply = Reply(f"{prompt} {purpose} {sample}", 3, 7)
        self.usage.count(reply)
        return reply


class Telling(Moody):
    """Tells log-probabilities too: one for each letter of the completion."""

    async def log_likelihood(self, prompt: str, completion: str) -> Likelihood:
        await self.ask(prompt, purpose="solve")
        return Likelihood(-float(len(completion)), 7)


@pytest.fixture
def actor(monkeypatch, tmp_path):
    monkeypatch.setattr(pool, "actor_log", lambda folder, name: None)
    monkeypatch.setattr(pool, "make_solver", lambda settings: Moody())
    monkeypatch.setattr(pool, "USAGE_EVERY_S", 0.0)
    return lambda: ACTOR(None, 0, str(tmp_path))


@pytest.mark.parametrize("window_s", [0.0, 0.004])
def test_every_prompt_gets_its_own_answer_or_error(actor, window_s):
    async def go():
        client = pool.SolverClient([Actor(actor()), Actor(actor())], window_s)
        prompts = ["a", "refuse", "gone", "b", "key", "c", "boom"]
        return await asyncio.gather(
            *(client.ask(prompt, purpose="solve", sample=index) for index, prompt in enumerate(prompts)),
            return_exceptions=True,
        )

    a, refused, gone, b, key, c, boom = asyncio.run(go())
    assert [reply.text for reply in (a, b, c)] == ["a solve 0", "b solve 3", "c solve 5"]
    assert (a.tokens, a.prompt_tokens) == (3, 7)
    assert isinstance(refused, SolverFailure)
    assert refused.outcome == "solver_refused"
    assert [type(gone), type(key)] == [SolverUnavailable, SolverUnavailable]
    assert "no longer accepted" in str(key)
    assert (type(boom), str(boom)) == (RuntimeError, "KeyError: 'choices'")


@pytest.mark.parametrize("window_s", [0.0, 0.004])
def test_log_probabilities_and_replies_are_asked_for_side_by_side(actor, monkeypatch, window_s):
    monkeypatch.setattr(pool, "make_solver", lambda settings: Telling())

    async def go():
        client = pool.SolverClient([Actor(actor())], window_s)
        told = [client.log_likelihood(prompt, " 9.") for prompt in ("a", "refuse", "gone")]
        return await asyncio.gather(*told, client.ask("b", purpose="solve"), return_exceptions=True)

    told, refused, gone, reply = asyncio.run(go())
    assert told == Likelihood(-3.0, 7)
    assert reply.text == "b solve 0"
    assert (type(refused), type(gone)) == (SolverFailure, SolverUnavailable)


def test_a_pool_whose_solver_tells_no_log_probabilities_says_so(actor):
    with pytest.raises(SolverUnavailable, match="Moody tells no log-probabilities"):
        asyncio.run(pool.SolverClient([Actor(actor())]).log_likelihood("a", " 9."))


def test_prompts_sent_alone_do_not_wait_for_a_slow_neighbour(actor):
    async def go(window_s):
        client = pool.SolverClient([Actor(actor())], window_s)
        slow = asyncio.create_task(client.ask("slow", purpose="solve"))
        began = time.monotonic()
        await client.ask("a", purpose="solve")
        seconds = time.monotonic() - began
        await slow
        return seconds

    assert asyncio.run(go(0.0)) < 0.9 < asyncio.run(go(0.01))


def test_the_log_says_why_the_solver_failed_at_first_and_whenever_that_has_doubled(actor, caplog):
    async def go():
        client = pool.SolverClient([Actor(actor())])
        prompts = ["refuse"] * 9 + ["a", "long"]
        await asyncio.gather(*(client.ask(each, purpose="solve") for each in prompts), return_exceptions=True)

    asyncio.run(go())
    assert [record.getMessage() for record in caplog.records] == [
        "solver_refused, 1 time so far: no", "solver_refused, 2 times so far: no", "solver_refused, 4 times so far: no",
        "solver_refused, 8 times so far: no", "prompt_too_long, 1 time so far: 9 tokens are too many",
    ]  # fmt: skip


def test_a_restarted_actor_goes_on_counting(actor):
    async def go():
        first = actor()
        client = pool.SolverClient([Actor(first)])
        for _ in range(3):
            await client.ask("a", purpose="solve")
        second = actor()
        await pool.SolverClient([Actor(second)]).ask("a", purpose="solve")
        return await second.usage()

    assert asyncio.run(go()) == Usage(requests=4, prompt_tokens=28, completion_tokens=12)


def test_the_pools_usage_is_the_sum(actor, tmp_path):
    async def go():
        actors = [Actor(actor()), Actor(actor())]
        await asyncio.gather(*(pool.SolverClient([each]).ask("a", purpose="solve") for each in actors))
        return await Pipeline([], actors, [], tmp_path, 5.0, 3).solver_usage()

    assert asyncio.run(go()) == Usage(requests=2, prompt_tokens=14, completion_tokens=6)


def run_jobs(client, jobs):
    """Jobs with given plans through a rollout worker without an engine."""
    # The solver reads the question, or the sub-question after it, and nothing else.
    templates = ["strategy.solve_template='{question}'", "strategy.subquestion_template='{question}{subquestion}'"]
    worker = worker_without_engine(client, templates)

    async def go():
        await worker.submit(jobs)
        outcomes = []
        while len(outcomes) < len(jobs):
            outcomes += await worker.collect(5.0)
        return outcomes

    return go()


def test_what_the_solver_got_wrong_is_an_outcome_whatever_the_strategy_and_the_rest_is_an_error(actor):
    jobs = [
        Job(index, Problem(f"p{index}", question, "1"), strategy, 0, given=[])
        for index, (question, strategy) in enumerate(
            [("a", "direct"), ("refuse", "direct"), ("refuse", "daslam"), ("gone", "direct"), ("gone", "daslam")]
        )
    ]

    async def go():
        return await run_jobs(pool.SolverClient([Actor(actor())]), jobs)

    found = {
        each.job.id: each.episode.outcome if each.episode is not None else each.error for each in asyncio.run(go())
    }
    assert found == {
        0: "ok", 1: "solver_refused", 2: "solver_refused",
        3: "SolverUnavailable: ConnectError: gone", 4: "SolverUnavailable: ConnectError: gone",
    }  # fmt: skip


def test_with_the_budget_spent_what_runs_ends_and_what_does_not_is_not_begun(actor):
    async def go():
        raw = actor()
        client = pool.SolverClient([Actor(raw)])
        raw.solver.out_of_money = True
        jobs = [Job(index, Problem(f"p{index}", "a", "1"), "daslam", 0, given=["a", "a"]) for index in range(3)]
        return await run_jobs(client, jobs), raw.solver.usage.requests

    outcomes, requests = asyncio.run(go())
    assert [each.episode.outcome for each in outcomes] == ["ok", BUDGET, BUDGET]
    assert len(outcomes[0].episode.turns) == 2
    assert requests == 4
