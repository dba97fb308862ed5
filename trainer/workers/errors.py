"""Errors and log excerpts: in a line for the screen, and whole for the log."""

from __future__ import annotations

import asyncio
import re
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from ray.exceptions import (
    ActorUnavailableError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from rollout.jobs import NotReady

Result = TypeVar("Result")
WAIT_KEY = "controller.wait_timeout_s"
START_KEY = "controller.start_timeout_s"
# A wait that takes longer says so as often.
SAID_EVERY_S = 30.0
# In a log: a line of a logger, ours or vLLM's, which names its actor first; and a sentence of at least three words.
_LOGGED = re.compile(r"(\([^()]+\) )?(\d{4}-\d\d-\d\d \S+ )?(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b[ :]")
_SENTENCE = re.compile(r"[A-Za-z][\w'’./:,;%-]*( [\w'’\"./:,;%-]+){2,}[.!…]*")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
RESTART_POLL_S = 0.5


def reason(error: BaseException) -> str:
    """Return what went wrong, in a line: of an error in an actor its cause, of the rest of Ray's errors what they begin
    with; their stacks and advice are for the log."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        error = error.cause
    return f"{type(error).__name__}: {first_line(error) if isinstance(error, RayError) else str(error).strip()}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(error).strip().partition("\n")[0]


def whole(error: BaseException) -> str:
    """Return the error with its stack and its causes."""
    return "".join(traceback.format_exception(error))


class WaitTimeout(RuntimeError):
    """Nothing came within the configured limit; the message says what was waited for."""


class InfrastructureError(RuntimeError):
    """A job failed as often as is allowed, for reasons that are not the episode's, or an actor did not come back."""


class WorkerLost(RuntimeError):
    """A rollout worker ended, or is a new process, in the middle of a transfer of weights; the message names it."""


def log_tail(log_folder: Path, name: str, lines: int = 12) -> str:
    """Return the last lines of an actor's log."""
    file = log_folder / f"{name}.log"
    text = file.read_text(errors="replace") if file.is_file() else ""
    return "\n".join(text.splitlines()[-lines:])


def is_gone(error: BaseException) -> bool:
    """Return whether an actor's process is gone, or ended by Ray for want of memory, with its answer if that lay on a
    node that is lost, or is a new one that was not made ready. What an actor raised because another one died, which Ray
    makes an error of both kinds, is not that."""
    if isinstance(error, RayTaskError):
        return isinstance(error.cause, NotReady)
    return isinstance(error, RayActorError | OutOfMemoryError | ObjectLostError | NotReady)


def is_lost(error: BaseException) -> bool:
    """Return whether an actor did not get what it was given a reference to: its owner died, or Ray lost it."""
    return isinstance(error, RayTaskError) and isinstance(error.cause, ObjectLostError)


async def answer(
    call: Awaitable[Result], name: str, what: str, seconds: float, log_folder: Path, key: str = WAIT_KEY
) -> Result:
    """Return what an actor's call returns. Raises WaitTimeout, which names the actor, the call, the seconds and the key
    that they come from, and has the end of the actor's log, if it does not return in time."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await call
    except TimeoutError:
        if not limit.expired():
            raise
        raise WaitTimeout(
            f"{name} did not {what} in {seconds:g} s ({key}); the end of its log:\n{log_tail(log_folder, name)}"
        ) from None


async def restarted(actor: Any, name: str, seconds: float, log_folder: Path, *arguments: Any) -> Any:
    """Wait for an actor that Ray restarts, or may have to, and return what it says when it is ready: until its process
    is there, Ray answers that it is unavailable. It loads again what it loaded at the start, and has the same
    ``seconds`` for that. Raises InfrastructureError with the end of its log."""
    try:
        async with asyncio.timeout(seconds) as limit:
            while True:
                try:
                    return await actor.ready.remote(*arguments)
                except ActorUnavailableError:
                    await asyncio.sleep(RESTART_POLL_S)
    except (RayActorError, TimeoutError) as error:
        why = f"in {seconds:g} s ({START_KEY})" if limit.expired() else f"({type(error).__name__})"
        raise InfrastructureError(
            f"{name} died and did not come back {why}; the end of its log:\n{log_tail(log_folder, name)}"
        ) from None


def log_sizes(log_folder: Path) -> dict[str, int]:
    """Return how many bytes an earlier start has left in each log, by its actor's name."""
    return {file.stem: file.stat().st_size for file in log_folder.glob("*.log")}


def last_said(log_folder: Path, name: str, since: int = 0) -> str:
    """Return the last line of an actor's log, from byte ``since`` on, that says something to a person; ``loading``
    where there is none. Code, tracebacks, bars and tables are for the log alone."""
    file = log_folder / f"{name}.log"
    written = file.read_bytes()[since:] if file.is_file() else b""
    lines = reversed(_COLOUR.sub("", written.decode(errors="replace")).splitlines())
    return next((line[:200].rstrip() for line in lines if _LOGGED.match(line) or _SENTENCE.fullmatch(line)), "loading")


async def watched(
    call: Awaitable[Result], name: str, log_folder: Path, say: Callable[[str], object], since: int = 0
) -> Result:
    """Return what an actor's call returns; while it takes long, ``say`` whom it waits for and what its log says, which
    this start writes from byte ``since`` on."""
    task, started = asyncio.ensure_future(call), time.monotonic()
    try:
        while not (await asyncio.wait({task}, timeout=SAID_EVERY_S))[0]:
            last = last_said(log_folder, name, since)
            say(f"  waiting for {name} for {time.monotonic() - started:.0f} s: {last}")
    finally:
        task.cancel()
    return task.result()
