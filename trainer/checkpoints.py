"""Folders on disk that are complete or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """A folder to write in that takes its name only when the block ends without an error."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    for file in partial.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def prune(parent: Path, prefix: str, keep: int) -> None:
    """Remove all but the newest ``keep`` folders whose names are ``prefix`` and a number."""
    found = sorted(parent.glob(f"{prefix}*"), key=lambda path: int(path.name.removeprefix(prefix)))
    for path in found[:-keep]:
        shutil.rmtree(path)
