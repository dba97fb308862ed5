"""Replies with status 200 that are none: the OpenAI-compatible backend neither takes nor keeps them for one."""

from __future__ import annotations

import asyncio

import pytest

from rollout.solvers.base import SolverMisconfigured, SolverUnavailable
from rollout.solvers.cache import CachedSolver
from rollout.solvers.refusals import words
from tests.rollout.server import Server
from tests.rollout.solvers.test_openai import KEY, make, outcome, permits_of

EMPTY = ["thought_only", "blank", "no_content", "no_choices"]


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("kind", EMPTY)
def test_a_reply_without_text_is_paid_and_named_and_not_kept(kind, api, tmp_path):
    async def go():
        async with Server(lambda number, body: "ok" if number else kind) as server:
            solver = CachedSolver(make(server, api=api, cache="deterministic", cache_path=str(tmp_path / "cache")))
            return [await outcome(solver, "x") for _ in range(3)], solver.usage

    found, usage = asyncio.run(go())
    assert found == ["solver_empty", "ok: reply to x", "ok: reply to x"]
    assert (usage.requests, usage.completion_tokens, usage.cache_hits) == (2, 6, 1)


@pytest.mark.parametrize("kind", EMPTY)
def test_a_server_whose_every_reply_is_empty_is_refused_at_the_start(kind):
    async def go():
        async with Server(lambda number, body: kind) as server:
            with pytest.raises(SolverMisconfigured, match=r"^solver\.max_tokens_subquestion: .*no text") as error:
                await make(server, api="chat").start()
            return str(error.value), len(server.requests)

    said, asked = asyncio.run(go())
    assert "3 tokens were paid" in said
    assert asked == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"detail": [{"loc": ["body", "max_tokens"], "msg": "extra fields not permitted"}, {"msg": "and more"}]},
         "extra fields not permitted (body/max_tokens), and more"),
        ({"message": {"detail": [{"loc": ["body", "min_p"], "msg": "Extra inputs are not permitted"}]}},
         "Extra inputs are not permitted (body/min_p)"),
        ("<html>busy</html>", ""),
        ([], ""),
    ],
)  # fmt: skip
def test_the_words_of_an_error_name_the_field_that_it_is_about(body, said):
    assert words(body) == said


def test_a_reply_that_the_server_broke_off_is_paid_and_asked_for_again():
    async def go():
        async with Server(lambda number, body: "ok" if number else "broken_off") as server:
            solver = make(server, api="chat")
            return await outcome(solver, "x"), solver.usage

    found, usage = asyncio.run(go())
    assert found == "ok: reply to x"
    assert (usage.requests, usage.retries) == (2, 1)


def test_a_server_that_breaks_every_reply_off_is_no_outcome_and_its_words_are_said_without_the_key():
    async def go():
        async with Server(lambda number, body: "broken_off") as server:
            with pytest.raises(SolverUnavailable, match=r"gave a reply up: the provider of \[key\] went away$"):
                await make(server, api="chat", max_retries=1).ask("x", purpose="solve")

    asyncio.run(go())


@pytest.mark.parametrize(
    ("kind", "used"),
    [("refusal", 10), ("filtered", 10), ("blank", 10), ("no_choices", 10), ("broken_off", 10),
     ("content_filter", 0), ("context_length_exceeded", 0)],
)  # fmt: skip
def test_what_a_failure_did_not_use_of_the_limits_is_given_back(kind, used):
    async def go():
        async with Server(lambda number, body: "ok" if number else kind) as server:
            # A request reserves 49 tokens, and the window lasts a minute.
            solver = make(server, api="chat", tokens_per_minute=70)
            permits = permits_of(solver)
            for _ in range(2):
                await outcome(solver, "x")
            return [permit.tokens for permit in permits[:2]]

    assert asyncio.run(asyncio.wait_for(go(), 20.0)) == [used, 10]
