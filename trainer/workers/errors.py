"""Errors and log excerpts: in a line for the screen, and whole for the log."""

from __future__ import annotations

import traceback
from pathlib import Path

from ray.exceptions import RayError, RayTaskError


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


def log_tail(log_folder: Path, name: str, lines: int = 12) -> str:
    """Return the last lines of an actor's log."""
    file = log_folder / f"{name}.log"
    text = file.read_text(errors="replace") if file.is_file() else ""
    return "\n".join(text.splitlines()[-lines:])
