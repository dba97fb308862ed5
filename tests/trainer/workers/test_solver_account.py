"""A run's account with its solver: one for all processes and resumes, and the budget is that of the run."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

import pytest

from launch.compose import compose
from rollout.solvers import pool
from rollout.solvers.base import Usage
from rollout.solvers.openai import OpenAISolver
from tests.settings import openai_solver
from tests.trainer.fakes import Actor
from trainer.workers.pipeline import Pipeline
from trainer.workers.solver_account import SolverAccount, account_line, read_account

SERVED = ["solver=openai", "solver.model=m"]
PRICED = [*SERVED, "solver.price_prompt=1"]
SOLVER_ACTOR = pool.SolverActor.__ray_metadata__.modified_class


def used(requests: int, tokens: int, cost: float = 0.0) -> Usage:
    return Usage(requests=requests, prompt_tokens=tokens, completion_tokens=tokens, cost=cost)


def write(logs, index: int, usage: Usage) -> None:
    (logs / f"solver-{index}.usage.json").write_text(json.dumps(asdict(usage)))


def opened(logs, saved: Usage = Usage(), asked: Usage = Usage()) -> Usage:  # noqa: B008 - never changed
    account = SolverAccount(compose(SERVED), logs, asked)
    account.saved = saved
    total = account.open()
    assert (read_account(logs) or Usage()) == total
    return total


def test_a_run_that_begins_has_an_empty_account_and_no_file(tmp_path):
    assert opened(tmp_path) == Usage()
    assert list(tmp_path.iterdir()) == []


def test_the_question_before_the_start_is_on_the_account(tmp_path):
    assert opened(tmp_path, asked=used(1, 7)) == used(1, 7)


def test_what_several_solvers_were_asked_is_the_first_ones_when_a_run_goes_on(tmp_path):
    write(tmp_path, 0, used(3, 30, 1.0))
    write(tmp_path, 1, used(4, 40, 2.0))
    # The checkpoint is older than the files: what was spent since then is spent.
    assert opened(tmp_path, saved=used(5, 50, 1.5), asked=used(1, 5)) == used(8, 75, 3.0)
    assert [file.name for file in tmp_path.iterdir()] == ["solver-0.usage.json"]


def test_a_checkpoint_counts_where_the_files_are_lost(tmp_path):
    assert opened(tmp_path, saved=used(5, 50, 1.5)) == used(5, 50, 1.5)


def test_a_budget_counts_what_was_spent_before_a_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "actor_log", lambda folder, name: None)
    settings = openai_solver("http://127.0.0.1:9/v1", budget_tokens=100)
    monkeypatch.setattr(pool, "make_solver", lambda config: OpenAISolver(settings))
    write(tmp_path, 0, used(5, 45))
    opened(tmp_path)
    assert not SOLVER_ACTOR(None, 0, str(tmp_path)).solver.spent
    opened(tmp_path, asked=used(1, 5))
    actor = SOLVER_ACTOR(None, 0, str(tmp_path))
    assert actor.solver.spent
    assert asyncio.run(actor.usage()) == used(6, 50)


def test_the_file_has_what_the_solver_says(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "actor_log", lambda folder, name: None)
    solver = OpenAISolver(openai_solver("http://127.0.0.1:9/v1"))
    monkeypatch.setattr(pool, "make_solver", lambda config: solver)

    async def go():
        actor = SOLVER_ACTOR(None, 0, str(tmp_path))
        account = SolverAccount(compose(SERVED), tmp_path, Usage())
        pipeline = Pipeline([], [Actor(actor)], [], tmp_path, 5.0, 3)
        for requests in (1, 2):  # faster than the file is written on its own
            solver.usage.requests = requests
            assert await account.ask(pipeline) == Usage(requests=requests) == read_account(tmp_path)
        # A reply that comes after the last question is in the file alone.
        solver.usage.requests = 3
        actor.usage_file.write(now=True)
        assert account.settle()
        assert not account.settle()
        return account.usage

    assert asyncio.run(go()) == Usage(requests=3)


def test_a_solver_that_no_longer_answers_leaves_what_was_known_last(tmp_path):
    class Deaf:
        async def usage(self):
            await asyncio.sleep(1e6)

    async def go():
        account = SolverAccount(compose(SERVED), tmp_path, used(1, 7))
        return await account.close(Pipeline([], [Actor(Deaf())], [], tmp_path, 0.05, 3))

    assert asyncio.run(go()) == used(1, 7)


@pytest.mark.parametrize(
    ("overrides", "usage", "line"),
    [
        ([], used(1234, 5000), "solver  1,234 requests answered, 10,000 tokens (5,000 read, 5,000 written)"),
        (SERVED, used(2, 10), "solver  2 requests answered, 20 tokens (10 read, 10 written), cost unknown "
         "(solver.price_prompt, solver.price_completion)"),
        (PRICED, Usage(), "solver  0 requests answered, 0 tokens (0 read, 0 written), cost 0"),
        ([*PRICED, "solver.budget_cost=2.5", "solver.budget_tokens=900"], used(1, 100, 1.0),
         "solver  1 request answered, 200 tokens (100 read, 100 written) of solver.budget_tokens=900, cost 1 of "
         "solver.budget_cost=2.5"),
        (PRICED, Usage(requests=2, retries=3, cache_hits=4, cost=1.23456),
         "solver  2 requests answered, 3 more attempts without a reply, 4 more answered from the cache, 0 tokens "
         "(0 read, 0 written), cost 1.235"),
    ],
)  # fmt: skip
def test_requests_tokens_and_cost_are_said_in_a_line(overrides, usage, line):
    assert account_line(usage, compose(overrides)) == line


@pytest.mark.parametrize(("overrides", "said"), [([], True), (["stages=[sft]", "sft.role=verifier"], False)])
def test_a_run_without_solvers_says_nothing_of_them(tmp_path, overrides, said):
    assert bool(SolverAccount(compose(overrides), tmp_path, {}).line()) == said


@pytest.mark.parametrize(
    ("budgets", "usage", "more"),
    [
        (["solver.budget_cost=10"], used(9, 9, 10.2), ["solver.budget_cost=21"]),
        (["solver.budget_cost=10"], used(9, 9, 10.0), ["solver.budget_cost=20"]),
        (["solver.budget_tokens=1000000"], used(9, 600_000), ["solver.budget_tokens=2400000"]),
        (["solver.budget_cost=10", "solver.budget_tokens=100"], used(9, 9, 11.0), ["solver.budget_cost=22"]),
        (["solver.budget_cost=0.0103"], used(9, 9, 0.0120345), ["solver.budget_cost=0.025"]),
        ([], used(9, 9, 11.0), []),
    ],
)
def test_a_larger_budget_is_twice_what_was_spent_of_the_one_that_is_rounded_up(tmp_path, budgets, usage, more):
    account = SolverAccount(compose([*PRICED, *budgets]), tmp_path, usage)
    assert account.larger_budget() == more
    compose([*PRICED, *budgets, *more])


def test_the_cost_is_said_while_a_run_goes_on_as_the_files_have_it(tmp_path):
    account = SolverAccount(compose([*PRICED, "solver.budget_cost=2.5"]), tmp_path, Usage())
    assert account.cost_line() == "cost 0 of 2.5"
    (tmp_path / "solver-0.usage.json").write_text(json.dumps(asdict(used(1, 7, 1.23456))))
    assert account.cost_line() == "cost 1.235 of 2.5"
    judged = ["verifier=openai", "verifier.model=v", "verifier.price_prompt=1"]
    assert SolverAccount(compose([*PRICED, *judged]), tmp_path, Usage()).cost_line() == "cost solver 1.235, verifier 0"
    assert SolverAccount(compose(SERVED), tmp_path, Usage()).cost_line() == ""
