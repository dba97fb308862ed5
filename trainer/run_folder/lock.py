"""A folder that is to be written in: it can be, what others have there stays, and one process at a time holds it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from conf.schema.base import ConfigError

LOCK = Path("logs") / "lock"


def make_folder(folder: Path, key: str = "run_dir") -> None:
    """Make a folder that is to be written in, unless it is there. Raises ConfigError, with the key that names it, if it
    cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        said = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise ConfigError(f"{key}: '{folder}' cannot be written: {said}") from None


def refuse_others(folder: Path, key: str = "run_dir", names: Iterable[str] = ("",)) -> None:
    """Leave a folder to whom it belongs. Raises ConfigError, with the key that names it, if it holds one of ``names``,
    or without them anything; of a folder in it, only what it holds counts."""
    for name in names:
        try:
            path = folder / name
            there = any(path.iterdir()) if path.is_dir() else os.path.lexists(path)
        except OSError as error:
            raise ConfigError(f"{key}: '{folder}' cannot be read: {error.strerror}") from None
        if there:
            found = f"'{name}' of something else" if name else "something else"
            raise ConfigError(f"{key}: '{folder}' holds {found}; allowed: a new or an empty folder")


@contextmanager
def held_folder(folder: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Make the folder this process's own for the block; the system lets go of it if the process is killed. Raises
    ConfigError if another process holds it for longer than ``wait_s`` seconds, or if it cannot be written."""
    make_folder(folder)
    try:
        (folder / LOCK).parent.mkdir(exist_ok=True)
        lock = FileLock(folder / LOCK).acquire(timeout=wait_s)
    except Timeout:
        raise ConfigError(
            f"run_dir: another process is at work in '{folder}'; allowed: another folder, or this one once that ended"
        ) from None
    except OSError as error:
        raise ConfigError(f"run_dir: '{folder}' cannot be written: {error.strerror}") from None
    with lock:
        yield
