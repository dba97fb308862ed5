"""The OpenAI-compatible backend against servers that misbehave."""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from collections import Counter

import pytest

from rollout.engine.sampling import draw_seed
from rollout.episode.contracts import Reply, SolverFailure
from rollout.solvers.base import SolverMisconfigured, SolverUnavailable
from rollout.solvers.openai import OpenAISolver, retry_after
from rollout.solvers.rate_limits import Permit
from tests.rollout.server import Server
from tests.rollout.solvers.test_rate_limits import most
from tests.settings import openai_solver

KEY = "sk-planted-4711"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def make(server: Server, minute_s: float = 60.0, **changes) -> OpenAISolver:
    settings = {
        "concurrency": 16, "max_retries": 6, "backoff_s": 0.01, "backoff_max_s": 0.05, "request_timeout_s": 20.0,
        "timeout_s": 60.0,
    } | changes  # fmt: skip
    return OpenAISolver(openai_solver(server.url, **settings), minute_s=minute_s)


def permits_of(solver: OpenAISolver) -> list[Permit]:
    """A list that every permit of the solver's limits goes into."""
    permits: list[Permit] = []
    admit = solver._limits.admit

    async def noting(*arguments: float) -> Permit:
        permits.append(await admit(*arguments))
        return permits[-1]

    solver._limits.admit = noting
    return permits


async def outcome(solver: OpenAISolver, prompt: str) -> str:
    try:
        return f"ok: {(await solver.ask(prompt, purpose='solve')).text}"
    except SolverFailure as failure:
        return failure.outcome
    except SolverUnavailable:
        return "unavailable"


def ask(kind, **changes):
    """One question to a server that always answers like this: the reply, the solver, the server."""

    async def go():
        async with Server(kind if callable(kind) else lambda number, body: kind) as server:
            solver = make(server, **changes)
            return await solver.ask("How many?", purpose="solve"), solver, server

    return asyncio.run(go())


def test_a_completion_is_asked_as_configured():
    reply, solver, server = ask("ok")
    assert reply == Reply("reply to How many?", 3, 7)
    assert server.requests[0][1] == {"model": "m", "prompt": "How many?", "max_tokens": 16, "temperature": 0.0}
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert (solver.usage.requests, solver.usage.prompt_tokens, solver.usage.completion_tokens) == (1, 7, 3)


def test_a_chat_is_asked_as_configured():
    reply, _, server = ask("ok", api="chat", max_tokens_field="max_completion_tokens")
    assert reply.text == "reply to How many?"
    assert server.requests[0][1] == {
        "model": "m", "messages": [{"role": "user", "content": "How many?"}], "max_completion_tokens": 16,
        "temperature": 0.0,
    }  # fmt: skip


def test_draws_have_their_own_temperature_and_a_seed_of_prompt_and_number():
    async def go():
        async with Server(lambda number, body: "ok") as server:
            solver = make(server)
            for sample in (0, 1, 2, 1):
                await solver.ask("How many?", purpose="subquestion", sample=sample)
            return [(body["temperature"], body.get("seed"), body["stop"]) for _, body in server.requests]

    first, one, two, again = asyncio.run(go())
    assert first == (0.0, None, ["\n"])
    assert one == again == (0.7, draw_seed("How many?", 1), ["\n"])
    assert two[1] != one[1]


def test_without_a_key_no_header_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    _, _, server = ask("ok")
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize("kind", ["429", "500", "closed", "half", "hang", "garbage", "page", "no_choices"])
def test_a_server_that_fails_three_calls_in_ten_loses_and_doubles_nothing(kind):
    count = 40 if kind == "hang" else 100

    async def go():
        # The first request is the start's; of the others those whose number ends in 1, 4 or 7 go wrong.
        async with Server(lambda number, body: kind if number % 10 in (1, 4, 7) else "ok") as server:
            # What hangs is given up soon; whatever else is slow is only the machine.
            limit = 2.0 if kind == "hang" else 20.0
            # No question may be that unlucky: which request goes wrong depends on the order in which they come.
            limits = {"request_timeout_s": limit, "timeout_s": 60.0, "max_retries": 20}
            solver = make(server, requests_per_minute=60, minute_s=0.25, **limits)
            permits = permits_of(solver)
            await solver.start()
            found = await asyncio.gather(*(outcome(solver, f"question {index}") for index in range(count)))
            return found, solver, server, permits

    found, solver, server, permits = asyncio.run(go())
    assert len(permits) == len(server.requests)
    assert most(permits, 0.25)[0] <= 60
    del server.requests[0], server.kinds[0]
    wrong = sum(each == kind for each in server.kinds)
    assert wrong >= 0.25 * len(server.requests)
    prompts = Counter(body["prompt"] for _, body in server.requests)
    assert len(prompts) == count
    if kind == "no_choices":
        # The solver's own doing: named, and not asked again.
        assert Counter(each.partition(":")[0] for each in found) == {"ok": count - wrong, "solver_empty": wrong}
        assert solver.usage.retries == 0
    else:
        assert solver.usage.retries == len(server.requests) - count == wrong
        assert found == [f"ok: reply to question {index}" for index in range(count)]
    answered = [body["prompt"] for (_, body), each in zip(server.requests, server.kinds, strict=True) if each == "ok"]
    assert len(answered) == len(set(answered)), "answered and paid twice"
    assert server.most_running <= 16


def test_tokens_a_minute_hold_with_what_was_really_used():
    async def go():
        async with Server(lambda number, body: "ok") as server:
            # A request reserves 9 bytes + 32 + 16 tokens, and uses 10.
            solver = make(server, tokens_per_minute=200, minute_s=0.3, concurrency=50)
            permits = permits_of(solver)
            await asyncio.gather(*(solver.ask("How many?", purpose="solve") for _ in range(50)))
            return permits

    permits = asyncio.run(go())
    assert [permit.tokens for permit in permits] == [10] * 50
    assert most(permits, 0.3)[1] <= 200
    # With nothing given back three fit into a window.
    assert most(permits, 0.3)[0] > 3


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_retry_after_holds_back_everybody(api):
    async def go():
        async with Server(lambda number, body: "429" if number == 0 else "ok", retry_after="0.4") as server:
            solver = make(server, api=api)
            first = asyncio.create_task(outcome(solver, "first"))
            await asyncio.sleep(0.1)
            rest = await asyncio.gather(*(outcome(solver, f"later {index}") for index in range(5)))
            return [await first, *rest], [at for at, _ in server.requests]

    found, times = asyncio.run(go())
    assert all(each.startswith("ok") for each in found)
    assert min(times[1:]) - times[0] >= 0.4
    assert max(times) - times[0] < 10.0


def test_a_wait_beyond_the_limit_is_not_begun_by_anybody_and_kept_to():
    async def go():
        async with Server(lambda number, body: "429" if number == 0 else "ok", retry_after="2") as server:
            solver = make(server, request_timeout_s=0.5, timeout_s=0.5)
            began = time.monotonic()
            found = [await outcome(solver, "first")]
            with pytest.raises(SolverUnavailable, match=r"429: slow down; it asked for a pause that lasts \d s more"):
                await solver.ask("second", purpose="solve")
            with pytest.raises(SolverUnavailable, match=r"no reply from http://.*429: slow down; it asked for a pause"):
                await solver.check()
            gave_up = time.monotonic() - began
            await asyncio.sleep(server.requests[0][0] + 1.7 - time.monotonic())
            return [*found, await outcome(solver, "third")], gave_up, [at for at, _ in server.requests]

    found, gave_up, times = asyncio.run(go())
    assert found == ["unavailable", "ok: reply to third"]
    assert gave_up < 0.6
    assert times[1] - times[0] >= 2


@pytest.mark.parametrize("kind", ["500", "closed", "half", "garbage", "page", "429"])
def test_what_stays_wrong_is_raised_after_bounded_retries_and_is_no_outcome(kind):
    async def go():
        async with Server(lambda number, body: kind, retry_after="0.01") as server:
            with pytest.raises(SolverUnavailable) as error:
                await make(server, max_retries=3).ask("How many?", purpose="solve")
            return len(server.requests), str(error.value)

    count, message = asyncio.run(go())
    assert count == 4
    assert message
    assert KEY not in message


def test_a_server_that_hangs_is_a_named_outcome_in_time():
    async def go():
        async with Server(lambda number, body: "hang") as server:
            solver = make(server, request_timeout_s=0.1, timeout_s=0.35, max_retries=50)
            began = time.monotonic()
            return await outcome(solver, "x"), time.monotonic() - began

    found, seconds = asyncio.run(go())
    assert found == "solver_timeout"
    assert seconds < 3


def test_nobody_at_the_address_is_an_infrastructure_error_and_refused_at_the_start():
    async def go():
        server = Server(lambda number, body: "ok")
        server.url = "http://127.0.0.1:9/v1"
        solver = make(server, max_retries=1)
        assert await outcome(solver, "x") == "unavailable"
        with pytest.raises(SolverMisconfigured, match=r"^solver\.base_url: no reply from http://127\.0\.0\.1:9/v1: "):
            await solver.start()

    asyncio.run(go())


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("no_choices", "solver_empty"),
        ("refusal", "solver_refused"),
        ("filtered", "solver_refused"),
        ("content_filter", "solver_refused"),
        ("context_length_exceeded", "prompt_too_long"),
        ("400: request (5000 tokens) exceeds the available context size (4096 tokens)", "prompt_too_long"),
        ("400 gemini: The input token count exceeds the maximum number of tokens allowed (1048575).",
         "prompt_too_long"),
        ("422 tgi: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000", "prompt_too_long"),
        ("422 tgi: Input validation error: `inputs` must have less than 1024 tokens. Given: 2000", "prompt_too_long"),
        ("400 vllm: The decoder prompt (length 600) is longer than the maximum model length of 512.",
         "prompt_too_long"),
        ("400 sglang: The input (600 tokens) is longer than the model's context length (512 tokens).",
         "prompt_too_long"),
        ("400: input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000", "prompt_too_long"),
        ("400 fastapi: This model's maximum context length is 512 tokens", "prompt_too_long"),
        ("400 text: maximum context length is 512 tokens", "prompt_too_long"),
    ],
)  # fmt: skip
def test_what_the_solver_got_wrong_has_a_name_and_is_not_asked_again(kind, name):
    async def go():
        async with Server(lambda number, body: kind) as server:
            return await outcome(make(server, api="chat"), "x"), len(server.requests)

    assert asyncio.run(go()) == (name, 1)


def test_a_reply_that_was_cut_off_is_a_reply():
    assert ask("cut")[0].text == "half of"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("401", r"^solver\.api_key_env: the key in OPENAI_API_KEY is not accepted; the server answered 401"),
        ("403", r"^solver\.api_key_env: "),
        ("402", r"^solver\.api_key_env: the account of the key in OPENAI_API_KEY"),
        ("404", r"^solver\.model: 'm' is not known at http://127\.0\.0\.1:\d+/v1, or solver\.api: 'completions'"),
        ("400", r"^solver: http://127\.0\.0\.1:\d+/v1 does not take the request; the server answered 400"),
        ("insufficient_quota", r"^solver\.api_key_env: the account of the key in OPENAI_API_KEY"),
        ("400 gemini: API key not valid.", r"^solver: .* the server answered 400: API key not valid\.$"),
        ("400 fastapi: no chat template", r"^solver: .* the server answered 400: no chat template$"),
        ("422 fields: Field required", r"^solver: .* the server answered 422: Field required \(body/x\)$"),
        ("400 tgi: model 'm' not found", r"^solver\.model: 'm' is not known at .* the server answered 400: model 'm'"),
        ("400 html: the prompt is too long", r"^solver: .* the server answered 400$"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start_by_key_and_without_the_key(kind, says):
    async def go():
        async with Server(lambda number, body: kind) as server:
            with pytest.raises(SolverMisconfigured, match=says) as error:
                await make(server).start()
            return str(error.value), len(server.requests)

    message, count = asyncio.run(go())
    assert count == 1
    assert KEY not in message
    assert "\n" not in message


def test_a_missing_key_is_said_to_be_missing(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(SolverMisconfigured, match="the key in OPENAI_API_KEY is not set"):
        ask("401")


def test_a_prompt_that_is_turned_down_in_the_middle_is_that_episodes_outcome():
    async def go():
        async with Server(lambda number, body: "ok" if number == 0 else "400") as server:
            solver = make(server)
            await solver.start()
            return await outcome(solver, "x")

    assert asyncio.run(go()) == "solver_refused"


def test_the_key_is_in_nothing_that_comes_out(caplog, capfd):
    caplog.set_level(0)
    kinds = ["ok", "401", "500", "echo_key", "400", "garbage", "closed"]

    async def go():
        said = []
        for kind in kinds:
            async with Server(lambda number, body, kind=kind: kind) as server:
                solver = make(server, max_retries=1)
                try:
                    reply = await solver.ask("x", purpose="solve")
                    said += [reply.text, repr(reply)]
                except Exception as error:  # noqa: BLE001 - whatever comes out is looked at
                    said += [repr(error), repr(error.__cause__), repr(getattr(error, "args", ""))]
                said += [repr(solver.identity), repr(solver.settings), repr(solver.usage)]
        return said

    said = asyncio.run(go())
    assert any("[key]" in text for text in said), "the server did say it"
    assert all(KEY not in text for text in said)
    assert KEY not in caplog.text
    assert KEY not in "".join(capfd.readouterr())


def test_tokens_are_priced_and_a_spent_budget_is_told():
    async def go():
        async with Server(lambda number, body: "ok") as server:
            by_cost = make(server, price_prompt=1e6, price_completion=2e6, budget_cost=26.0)
            by_tokens = make(server, budget_tokens=20)
            states = []
            for _ in range(2):
                await asyncio.gather(*(solver.ask("x", purpose="solve") for solver in (by_cost, by_tokens)))
                states.append((by_cost.usage.cost, by_cost.spent, by_tokens.spent))
            return states

    assert asyncio.run(go()) == [(13.0, False, False), (26.0, True, True)]


def test_tokens_that_a_server_does_not_tell_are_estimated():
    reply, solver, _ = ask("no_usage")
    assert (reply.tokens, reply.prompt_tokens) == (5, 3)
    assert solver.usage.completion_tokens == 5


def test_retry_after_is_read_in_each_of_its_forms():
    assert retry_after({"retry-after": "2"}) == 2
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    soon = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert retry_after({"retry-after": soon}) == pytest.approx(30, abs=2)
    assert retry_after({"retry-after": email.utils.formatdate(0, usegmt=True)}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


def test_what_is_sent_is_json_of_nothing_but_the_request():
    _, _, server = ask("ok")
    assert KEY not in json.dumps([body for _, body in server.requests])


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_what_only_the_server_knows_is_added_to_every_request(api):
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "top_k": 20}
    _, solver, server = ask("ok", api=api, extra_body=extra)
    assert extra.items() <= server.requests[0][1].items()
    assert solver.identity["extra_body"] == extra
    assert "extra_body" not in ask("ok", api=api)[1].identity


@pytest.mark.parametrize("name", ["model", "temperature", "stop", "messages", "stream"])
def test_what_other_keys_say_of_a_request_is_not_said_twice(name):
    with pytest.raises(ValueError, match=f"'{name}' is set by another key"):
        openai_solver("http://127.0.0.1:1/v1", extra_body={name: 1})
