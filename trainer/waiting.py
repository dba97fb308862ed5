"""What a wait for an actor ends with that took too long."""

from __future__ import annotations

from pathlib import Path


class WaitTimeout(RuntimeError):
    """Nothing came within the configured limit; the message says what was waited for."""


def log_tail(log_folder: Path, name: str, lines: int = 12) -> str:
    """The last lines of an actor's log."""
    file = log_folder / f"{name}.log"
    text = file.read_text(errors="replace").splitlines() if file.is_file() else []
    return "\n".join(text[-lines:])
