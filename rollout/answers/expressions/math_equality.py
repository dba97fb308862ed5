"""Call math-verify with a time limit.

The library uses sympy, which may compute forever on a text such as ``9^{9^{9^9}}``, and its own time-outs need the
main thread. So it runs in one helper process, which is started on first use and killed when it is late. Calls are safe
from any thread. Identical texts, and pairs that were compared before, are not sent to the process.

The helper runs this file by path, so the file imports nothing of the project at its top. It is not a
``multiprocessing`` child, which would import the caller's main module once more: perhaps a script without a guard, or
all of Ray.
"""

from __future__ import annotations

import atexit
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from functools import lru_cache
from multiprocessing.connection import Connection, Pipe

DEADLINE_SECONDS = 5.0
# Loading sympy on a busy machine is slow, and is nobody's wrong answer.
START_SECONDS = 60.0
MEMORY_BYTES = 4 << 30


class TimeLimitError(ValueError):
    """Two texts whose comparison took longer than allowed; the message names both."""


class EquivalenceError(ValueError):
    """Two texts whose comparison failed; the message names both and the cause."""


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]}...{text[-17:]}"


class _Helper:
    """The helper process: it gets one question at a time, is killed when late, and restarts at the next question."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def ask(self, gold: str, found: str) -> bool:
        """Return whether math-verify finds the two texts equal. Raises TimeLimitError or EquivalenceError."""
        named, limit = f"{_shortened(gold)!r} and {_shortened(found)!r}", DEADLINE_SECONDS
        with self._lock:
            try:
                connection = self._started()
                connection.send((gold, found, int(limit) + 5))
                if not connection.poll(limit):
                    raise TimeLimitError(f"comparing {named} took longer than {limit:g} s")
                reply: bool | str = connection.recv()
            except (OSError, EOFError) as error:
                self._close()
                raise EquivalenceError(f"the math-verify process died while comparing {named}: {error!r}") from error
            except BaseException:
                # A reply that nobody waited for must not be taken for the next question's.
                self._close()
                raise
        if isinstance(reply, str):
            raise EquivalenceError(f"comparing {named} failed: {reply}")
        return reply

    def _started(self) -> Connection:
        """Return the connection to the process; start the process if there is none or it has died."""
        if self._connection is not None and self._process is not None and self._process.poll() is None:
            return self._connection
        self._close()
        self._connection, theirs = Pipe()
        command, null = [sys.executable, "-P", __file__], subprocess.DEVNULL
        with theirs:
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=null, stderr=null)
        if not self._connection.poll(START_SECONDS):
            raise EquivalenceError(f"the math-verify process gave no sign within {START_SECONDS:g} s")
        self._connection.recv()
        return self._connection

    def _close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def stop(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._close()


def _forget() -> None:
    """Start afresh in a forked child: the process belongs to the parent, and the parent may hold the lock."""
    global _helper
    _helper = _Helper()


_helper = _Helper()
atexit.register(lambda: _helper.stop())
os.register_at_fork(after_in_child=_forget)


@lru_cache(maxsize=65_536)
def _ask(gold: str, found: str) -> bool:
    return _helper.ask(gold, found)


def math_equal(gold: str, found: str) -> bool:
    """Return whether two LaTeX texts are mathematically equal according to math-verify; the gold text comes first.

    Raises TimeLimitError after ``DEADLINE_SECONDS`` and EquivalenceError if the comparison failed. Neither is
    remembered, so the next call tries again.
    """
    return gold == found or _ask(gold, found)


def _equal(gold: str, found: str) -> bool:
    """Return whether math-verify finds two LaTeX texts equal; a text that cannot be read equals nothing."""
    from math_verify import LatexExtractionConfig, parse, verify
    from sympy import nan, zoo

    sides = []
    for text in (gold, found):
        # The library's own time-outs use signals and would fire in the wrong place; the caller keeps the time.
        read = parse(f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
        values = [value for value in read if not isinstance(value, str)]
        if not values or any(value.has(nan, zoo) for value in values):
            return False
        sides.append(values)
    return bool(verify(*sides, timeout_seconds=None))


def _serve() -> None:
    """Answer questions in the helper process until the caller closes standard input."""
    logging.disable(logging.CRITICAL)
    # A tower of powers must end in an error here, not take the machine's memory.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    caller = Connection(0)
    caller.send(_equal("x+1", "1+x"))
    while True:
        try:
            gold, found, seconds = caller.recv()
        except EOFError:
            return
        # Should the caller die in the middle, nobody is left to end a computation that never ends.
        signal.alarm(seconds)
        reply: bool | str
        try:
            reply = _equal(gold, found)
        except Exception as error:  # noqa: BLE001 - sympy raises anything; the caller decides what it means
            reply = f"{type(error).__name__}: {error}"[:300]
        signal.alarm(0)
        caller.send(reply)


if __name__ == "__main__":
    _serve()
