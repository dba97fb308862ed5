"""What went wrong: in a line for the screen, and whole for the log."""

from __future__ import annotations

import traceback

from ray.exceptions import RayError, RayTaskError


def reason(error: BaseException) -> str:
    """What went wrong, in a line: of an error in an actor its cause, of the rest of Ray's errors what they begin with;
    their stacks and advice are for the log."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        error = error.cause
    text = str(error).strip()
    if isinstance(error, RayError):
        text = text.splitlines()[0] if text else ""
    return f"{type(error).__name__}: {text}"


def whole(error: BaseException) -> str:
    """The error with its stack and its causes."""
    return "".join(traceback.format_exception(error))
