"""Replies kept on disk, before any backend."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import sqlite3
from typing import Any

import pytest

from launch.compose import compose
from rollout.engine.sampling import Sampling
from rollout.episode.contracts import Likelihood, Reply, SolverFailure
from rollout.solvers import make_solver
from rollout.solvers.base import Backend, SolverMisconfigured
from rollout.solvers.cache import CachedSolver, ReplyCache, cache_key
from rollout.solvers.program import ProgramSolver
from tests.rollout.server import Server
from tests.settings import openai_solver


class Counting(Backend):
    """Says how often it was asked."""

    def __init__(self, model: str = "one", **settings: Any) -> None:
        super().__init__(openai_solver("http://127.0.0.1:1/v1", **settings))
        self.model, self.asked = model, 0

    @property
    def identity(self) -> dict[str, Any]:
        return {"model": self.model}

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        self.asked += 1
        if prompt == "refuse":
            raise SolverFailure("solver_refused")
        reply = Reply(f"{self.asked}", 3, 7)
        self.usage.count(reply)
        return reply


class Telling(Counting):
    """Tells log-probabilities too."""

    async def log_likelihood(self, prompt: str, completion: str) -> Likelihood:
        self.asked += 1
        return Likelihood(-self.asked / 3, 7)


def test_half_a_surrogate_pair_in_a_reply_is_kept_as_a_question_mark(tmp_path):
    """SQLite, tokenizers and terminals take none."""
    cache = ReplyCache(str(tmp_path / "cache.sqlite"))
    cache.put("key", Reply("so \ud83d 5, and \U0001f600", 3, 7))
    assert cache.get("key") == Reply("so ? 5, and \U0001f600", 3, 7)
    cache.close()


def cached(tmp_path, solver=None, mode="deterministic") -> CachedSolver:
    solver = solver or Counting()
    kept = {"cache": mode, "cache_path": str(tmp_path / "new" / "cache.sqlite")}
    solver.settings = solver.settings.model_copy(update=kept)
    return CachedSolver(solver)


def texts(solver, *asks):
    return [asyncio.run(solver.ask(prompt, purpose=purpose, sample=sample)).text for prompt, purpose, sample in asks]


def test_that_a_reply_was_cut_off_is_kept_beside_replies_of_earlier_versions(tmp_path):
    path = str(tmp_path / "cache.sqlite")
    ReplyCache(path).put("whole", Reply("12", 1, 2))
    cache = ReplyCache(path)
    cache._table.execute("DROP TABLE cut_replies")
    again = ReplyCache(path)
    again.put("cut", Reply("1", 1, 2, cut=True))
    assert [again.get(key) for key in ("whole", "cut")] == [Reply("12", 1, 2), Reply("1", 1, 2, cut=True)]


def test_a_greedy_reply_is_asked_for_once_also_by_the_next_run(tmp_path):
    solver = cached(tmp_path)
    assert texts(solver, ("a", "solve", 0), ("a", "solve", 0), ("b", "solve", 0)) == ["1", "1", "2"]
    assert (solver.usage.cache_hits, solver.usage.cache_misses, solver.usage.requests) == (1, 2, 2)
    assert solver.usage.prompt_tokens == 14
    later = cached(tmp_path)
    reply = asyncio.run(later.ask("a", purpose="solve"))
    assert reply == Reply("1", 3, 7)
    assert later.solver.asked == later.usage.requests == 0


@pytest.mark.parametrize("mode", ["deterministic", "all"])
def test_a_log_probability_is_asked_for_once_and_kept_exactly(tmp_path, mode):
    solver = cached(tmp_path, Telling(), mode)

    def told(prompt: str, completion: str) -> Likelihood:
        return asyncio.run(solver.log_likelihood(prompt, completion))

    assert told("a", " 9.") == told("a", " 9.") == Likelihood(-1 / 3, 7)
    assert told("a 9", ".") == Likelihood(-2 / 3, 7)
    assert told("a", " 8.") == Likelihood(-1.0, 7)
    assert (solver.usage.cache_hits, solver.usage.cache_misses) == (1, 3)
    # Nor is it taken for a reply to the same prompt.
    assert texts(solver, ("a", "solve", 0)) == ["4"]


def test_a_solver_that_tells_no_log_probabilities_says_so(tmp_path):
    with pytest.raises(SolverMisconfigured, match=r"^solver\.backend: Counting tells no .*; allowed .*: vllm, or"):
        asyncio.run(cached(tmp_path).log_likelihood("a", " 9."))


def test_draws_are_kept_only_where_all_is_kept(tmp_path):
    asks = [("a", "solve", sample) for sample in (1, 2, 1)]
    assert texts(cached(tmp_path), *asks) == ["1", "2", "3"]
    assert texts(cached(tmp_path, mode="all"), *asks) == ["1", "2", "1"]
    warm = Counting(temperature=0.5)
    assert texts(cached(tmp_path, warm), ("c", "solve", 0), ("c", "solve", 0)) == ["1", "2"]


def test_anything_that_changes_the_request_changes_the_key():
    base = {"identity": {"model": "m", "base_url": "u"}, "prompt": "p", "sampling": Sampling(8), "sample": 0}
    others = [
        base | {"identity": {"model": "m2", "base_url": "u"}}, base | {"identity": {"model": "m", "base_url": "u2"}},
        base | {"prompt": "p "}, base | {"sample": 1}, base | {"sampling": Sampling(9)},
        base | {"sampling": Sampling(8, 0.5)}, base | {"sampling": Sampling(8, stop=("x",))},
        base | {"sampling": Sampling(8, seed=1)},
    ]  # fmt: skip
    keys = {cache_key(**each) for each in [base, *others]}
    assert len(keys) == len(others) + 1
    assert cache_key(**base) == cache_key(**base)


def test_another_model_has_its_own_replies(tmp_path):
    assert texts(cached(tmp_path), ("a", "solve", 0)) == ["1"]
    other = cached(tmp_path, Counting(model="two"))
    assert texts(other, ("a", "solve", 0)) == ["1"]
    assert other.solver.asked == 1


def test_the_mark_of_a_reply_that_came_second_is_not_the_firsts(tmp_path):
    cache = ReplyCache(str(tmp_path / "cache.sqlite"))
    cache.put("a", Reply("whole", 5, 7))
    cache.put("a", Reply("cut of", 5, 7, cut=True))
    assert cache.get("a") == Reply("whole", 5, 7)


class Slow(Telling):
    """Answers when it is let go, and says how many requests were given up."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.given_up = asyncio.Event(), 0

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return await super().ask(prompt, purpose=purpose, sample=sample)


def test_equal_requests_at_the_same_time_are_sent_once(tmp_path):
    async def go():
        solver = cached(tmp_path, Slow())
        asks = [
            asyncio.create_task(solver.ask(prompt, purpose="solve")) for prompt in ["a", "a", "b", "a", "refuse"] * 2
        ]
        await asyncio.sleep(0)
        asks[0].cancel()  # the others wait for the same
        await asyncio.sleep(0)
        solver.solver.go.set()
        return solver, await asyncio.gather(*asks, return_exceptions=True)

    solver, (gone, *replies) = asyncio.run(go())
    assert isinstance(gone, asyncio.CancelledError)
    said = [str(reply.text) if isinstance(reply, Reply) else type(reply).__name__ for reply in replies]
    assert len({said[0], said[2], said[4], said[5], said[7]}) == 1
    assert [said[3], said[8]] == ["SolverFailure"] * 2
    assert solver.solver.asked == 3
    assert (solver.usage.cache_misses, solver.usage.cache_hits) == (3, 7)
    assert solver._sent == {}


def test_a_request_for_which_nobody_waits_any_more_is_given_up(tmp_path):
    async def go():
        solver = cached(tmp_path, Slow())
        asks = [asyncio.create_task(solver.ask("a", purpose="solve")) for _ in range(2)]
        await asyncio.sleep(0.01)
        for ask in asks:
            ask.cancel()
        await asyncio.gather(*asks, return_exceptions=True)
        await asyncio.sleep(0)
        solver.solver.go.set()
        return solver, await solver.ask("a", purpose="solve")

    solver, reply = asyncio.run(go())
    assert (solver.solver.given_up, solver.solver.asked, reply.text) == (1, 1, "1")


def test_a_failure_is_not_kept(tmp_path):
    solver = cached(tmp_path)
    for _ in range(2):
        with pytest.raises(SolverFailure, match="solver_refused"):
            asyncio.run(solver.ask("refuse", purpose="solve"))
    assert solver.solver.asked == 2


def _write(path: str, worker: int) -> None:
    cache = ReplyCache(path)
    for index in range(100):
        cache.put(f"{index}", Reply(f"text {index}", index))
        cache.put(f"{worker}-{index}", Reply("own", index))
    cache.close()


def test_several_processes_write_one_file(tmp_path):
    path = str(tmp_path / "cache.sqlite")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    cache = ReplyCache(path)
    assert all(cache.get(f"{index}") == Reply(f"text {index}", index) for index in range(100))
    assert all(cache.get(f"{number}-{index}") for number in range(3) for index in range(100))


class Busy(sqlite3.Connection):
    """Says at once that it is busy, as often as `left`: as SQLite does while another process opens the file."""

    left = 0

    def execute(self, *arguments):
        if Busy.left:
            Busy.left -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
            raise error
        return super().execute(*arguments)


@pytest.mark.parametrize("times", [1, 5])
def test_a_file_that_another_process_is_opening_is_waited_for(tmp_path, monkeypatch, times):
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Busy))
    monkeypatch.setattr(Busy, "left", times)
    cache = ReplyCache(str(tmp_path / "cache.sqlite"))
    cache.put("a", Reply("kept", 1))
    assert cache.get("a") == Reply("kept", 1)


def test_a_file_that_stays_locked_is_refused_by_key(tmp_path, monkeypatch):
    monkeypatch.setattr("rollout.solvers.cache.LOCK_WAIT_S", 0.1)
    path = tmp_path / "cache.sqlite"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SolverMisconfigured, match=r"^solver\.cache_path: .* \(database is locked\)"):
        ReplyCache(str(path))
    holder.close()


def test_a_file_that_is_none_is_refused_by_key(tmp_path):
    (tmp_path / "notes.txt").write_text("no database at all, but long enough to be looked at as one" * 30)
    for path in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "cache.sqlite"):
        with pytest.raises(SolverMisconfigured, match=r"^solver\.cache_path: "):
            ReplyCache(str(path))


def test_a_file_that_breaks_costs_replies_and_not_episodes(tmp_path, caplog):
    solver = cached(tmp_path)
    solver.cache.close()
    assert texts(solver, ("a", "solve", 0), ("a", "solve", 0)) == ["1", "2"]
    assert "could not be cached" in caplog.text


def test_a_backend_is_made_with_its_cache_and_no_key_is_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-4711")
    path = tmp_path / "cache.sqlite"

    async def go():
        async with Server(lambda number, body: "echo_key") as server:
            overrides = ["solver=openai", f"solver.base_url={server.url}", "solver.model=m", "solver.api=completions"]
            solver = make_solver(compose([*overrides, f"solver.cache_path={path}"]))
            return [await solver.ask("a", purpose="solve") for _ in range(2)], len(server.requests)

    (first, second), requests = asyncio.run(go())
    assert first == second
    assert requests == 1
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"[key]" in written
    assert b"sk-planted" not in written


def test_without_a_cache_the_backend_stands_alone():
    assert isinstance(make_solver(compose(["solver=program"])), ProgramSolver)
