"""The lock of a run's folder: one process at a time writes in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from conf.schema.base import ConfigError

LOCK = Path("logs") / "lock"


@contextmanager
def held_folder(folder: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Make the folder this process's own for the block; the system lets go of it if the process is killed. Raises
    ConfigError if another process holds it for longer than ``wait_s`` seconds."""
    try:
        lock = FileLock(folder / LOCK).acquire(timeout=wait_s)
    except Timeout:
        raise ConfigError(
            f"run_dir: another process is at work in '{folder}'; allowed: another folder, or this one once that ended"
        ) from None
    with lock:
        yield
