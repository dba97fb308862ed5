"""math-verify behind a time limit.

The library works on sympy, which may compute for ever on a text such as ``9^{9^{9^9}}``, and its own time-outs need
the main thread. So it runs in one helper process, started on first use and killed when it is late. Calls are safe
from any thread; equal texts and pairs asked before never reach the process.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 5.0
# Loading sympy on a busy machine is slow, and is nobody's wrong answer.
START_SECONDS = 60.0

_HELPER = Path(__file__).with_name("equivalence_helper.py")


class TimeLimitError(ValueError):
    """Two texts whose comparison took longer than allowed; the message names both."""


class EquivalenceError(ValueError):
    """Two texts whose comparison failed; the message names both and the cause."""


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]}...{text[-17:]}"


class _Helper:
    """The helper process: asked one question at a time, killed when late, started again by the next question."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, gold: str, found: str) -> bool:
        """Whether math-verify finds both the same. Raises TimeLimitError or EquivalenceError."""
        named = f"{_shortened(gold)!r} and {_shortened(found)!r}"
        with self._lock:
            try:
                process, limit = self._started(), DEADLINE_SECONDS
                reply = self._exchange(process, gold, found, limit)
            except TimeoutError:
                self._close()
                raise TimeLimitError(f"comparing {named} took longer than {limit:g} s") from None
            except OSError as error:
                self._close()
                raise EquivalenceError(f"the math-verify process died while comparing {named}: {error}") from error
            except BaseException:
                # A half-read reply must not be taken for the next question's.
                self._close()
                raise
        if "error" in reply:
            raise EquivalenceError(f"comparing {named} failed: {reply['error']}")
        return bool(reply["equal"])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_HELPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._exchange(self._process, "x+1", "1+x", START_SECONDS)
        except TimeoutError:
            raise EquivalenceError(f"the math-verify process gave no sign within {START_SECONDS:g} s") from None
        return self._process

    @staticmethod
    def _exchange(process: subprocess.Popen[bytes], gold: str, found: str, limit: float) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        request = {"gold": gold, "found": found, "seconds": int(limit) + 5}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        end, reply = time.monotonic() + limit, b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not reply.endswith(b"\n"):
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise TimeoutError
                piece = os.read(process.stdout.fileno(), 65536)
                if not piece:
                    raise ConnectionResetError("it closed its output")
                reply += piece
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                continue

    def stop(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._close()

    def forget(self) -> None:
        """In a forked child: the process is the parent's, and so may the lock be."""
        self._lock, self._process = threading.Lock(), None


_helper = _Helper()
atexit.register(_helper.stop)
os.register_at_fork(after_in_child=_helper.forget)


@lru_cache(maxsize=65_536)
def _ask(gold: str, found: str) -> bool:
    return _helper.ask(gold, found)


def math_equal(gold: str, found: str) -> bool:
    """Whether two LaTeX texts are mathematically the same, by math-verify, gold first.

    Raises TimeLimitError after ``DEADLINE_SECONDS``, EquivalenceError where the comparison failed; neither is
    remembered, so the next call tries again.
    """
    return gold == found or _ask(gold, found)
