"""Replies kept on disk, by solver, prompt and sampling.

One SQLite file serves any number of processes of a machine (write-ahead log) and of runs. It holds hashes of
prompts, and replies as the solver gave them; failures are never kept. A file that cannot be read or written in
the middle of a run costs replies, not episodes: the solver is asked, and the log says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rollout.engine.sampling import Sampling
from rollout.episode.contracts import Likelihood, Reply
from rollout.solvers.base import Backend, SolverMisconfigured, telling

LOCK_WAIT_S = 10.0
LOCK_RETRY_S = 0.02
_LOG = logging.getLogger(__name__)


def cache_key(identity: dict[str, Any], prompt: str, sampling: Sampling, sample: int) -> str:
    """Return the name of a reply: the same exactly where the same request would be sent."""
    request = {"solver": identity, "prompt": prompt, "sampling": asdict(sampling), "sample": sample}
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def likelihood_key(identity: dict[str, Any], prompt: str, completion: str) -> str:
    """Return the name of a text's log-probability after a prompt."""
    request = {"solver": identity, "prompt": prompt, "completion": completion}
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _opened(file: Path) -> sqlite3.Connection:
    """Return a connection to the file, with its tables. Raises sqlite3.Error or OSError if it cannot be one.

    SQLite does not wait for the lock while another process makes the same file, or closes it as the last one: it says
    at once that it is busy. So it is tried again here, for as long as SQLite waits elsewhere.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        table = sqlite3.connect(file, timeout=LOCK_WAIT_S, isolation_level=None)
        try:
            table.execute("PRAGMA journal_mode=WAL")
            table.execute("PRAGMA synchronous=NORMAL")
            table.execute(
                "CREATE TABLE IF NOT EXISTS replies "
                "(key TEXT PRIMARY KEY, text TEXT NOT NULL, tokens INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL) "
                "WITHOUT ROWID"
            )
            # Of their own, so that a file of an earlier version, which does not know of them, is read as it is.
            table.execute("CREATE TABLE IF NOT EXISTS cut_replies (key TEXT PRIMARY KEY) WITHOUT ROWID")
        except sqlite3.Error as error:
            table.close()
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(LOCK_RETRY_S)
        else:
            return table


class ReplyCache:
    """A table of replies. Raises SolverMisconfigured if the file cannot be opened as one."""

    def __init__(self, path: str) -> None:
        try:
            self._table = _opened(Path(path))
        except (sqlite3.Error, OSError) as error:
            raise SolverMisconfigured(
                f"solver.cache_path: '{path}' cannot be used ({error}); allowed: a file of its own on a local disk"
            ) from None

    def get(self, key: str) -> Reply | None:
        """Return the reply under a key; None if there is none."""
        try:
            found = self._table.execute(
                "SELECT text, tokens, prompt_tokens, EXISTS (SELECT 1 FROM cut_replies WHERE key = ?1) FROM replies "
                "WHERE key = ?1",
                (key,),
            )
            row = found.fetchone()
        except sqlite3.Error as error:
            _LOG.warning("a cached reply could not be read: %s", error)
            return None
        if row is None:
            return None
        text, tokens, prompt_tokens, cut = row
        return Reply(text, tokens, prompt_tokens, cut=bool(cut))

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply; of two under one key the first stays."""
        try:
            row = (key, reply.text, reply.tokens, reply.prompt_tokens)
            with self._table:  # a reply and its mark are there together, or neither is
                self._table.execute("BEGIN IMMEDIATE")
                kept = self._table.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?)", row).rowcount
                if kept and reply.cut:
                    self._table.execute("INSERT OR IGNORE INTO cut_replies VALUES (?)", (key,))
        except sqlite3.Error as error:
            _LOG.warning("a reply could not be cached: %s", error)

    def close(self) -> None:
        """Close the file."""
        self._table.close()


@dataclass
class _Sent:
    """A request that was sent, and how many wait for its answer."""

    task: asyncio.Task[Reply]
    waiting: int = 0


class CachedSolver(Backend):
    """Any solver behind the cache. A hit has the tokens of the reply when it was written; it counts as no request. Of
    equal requests at the same time one is sent, and the others wait for it: the samples of a group begin alike."""

    def __init__(self, solver: Backend) -> None:
        super().__init__(solver.settings)
        self.solver = solver
        self.usage = solver.usage
        self.cache = ReplyCache(self.settings.cache_path)
        self._identity = solver.identity
        self._sent: dict[str, _Sent] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """The solver's."""
        return self._identity

    @property
    def spent(self) -> bool:
        """The solver's."""
        return self.solver.spent

    @property
    def left(self) -> float:
        """The solver's."""
        return self.solver.left

    async def start(self) -> None:
        """Check the solver: what is not in the cache it will be asked."""
        await self.solver.start()

    async def check(self) -> None:
        """Check the solver itself."""
        await self.solver.check()

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Return the kept reply, or the solver's; raises what the solver raises."""
        sampling = self.sampling(prompt, purpose, sample)
        if sampling.temperature > 0 and self.settings.cache != "all":
            return await self.solver.ask(prompt, purpose=purpose, sample=sample)
        key = cache_key(self._identity, prompt, sampling, sample)
        return await self._once(key, lambda: self.solver.ask(prompt, purpose=purpose, sample=sample))

    async def log_likelihood(self, prompt: str, completion: str) -> Likelihood:
        """Return the kept log-probability, or the solver's; raises what the solver raises. Nothing is drawn, so it is
        kept in every mode."""
        key = likelihood_key(self._identity, prompt, completion)

        async def told() -> Reply:
            found = await telling(self.solver).log_likelihood(prompt, completion)
            return Reply(repr(found.logprob), 0, found.prompt_tokens)

        kept = await self._once(key, told)
        return Likelihood(float(kept.text), kept.prompt_tokens)

    async def _once(self, key: str, send: Callable[[], Coroutine[Any, Any, Reply]]) -> Reply:
        """Return what is kept under a key, or what ``send`` returns, which is then kept; raises what it raises. Where
        the same was sent and is not answered yet, that answer is waited for. It is given up with the last who waits."""
        if (reply := self.cache.get(key)) is not None:
            self.usage.cache_hits += 1
            return reply
        sent = self._sent.get(key)
        if sent is None:
            self.usage.cache_misses += 1
            sent = self._sent[key] = _Sent(asyncio.create_task(self._send(key, send)))
        else:
            self.usage.cache_hits += 1
        sent.waiting += 1
        try:
            return await asyncio.shield(sent.task)
        finally:
            sent.waiting -= 1
            if not sent.waiting:
                sent.task.cancel()
                if self._sent.get(key) is sent:
                    del self._sent[key]

    async def _send(self, key: str, send: Callable[[], Coroutine[Any, Any, Reply]]) -> Reply:
        reply = await send()
        self.cache.put(key, reply)
        return reply
