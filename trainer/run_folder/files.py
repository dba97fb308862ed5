"""Files and folders that are written whole or not at all, and JSON lines."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rollout.json_lines import PARTIAL, write_whole


def begin_folder(folder: Path) -> Path:
    """Return a new folder to write in, for ``complete``; what an earlier attempt left is removed."""
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def complete(partial: Path) -> Path:
    """Give a folder from ``begin_folder`` its name, once everything in it is on disk."""
    folder = partial.with_name(partial.name.removesuffix(PARTIAL))
    for path in (partial, *partial.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


@contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write in that takes its name only when the block ends without an error."""
    partial = begin_folder(folder)
    yield partial
    complete(partial)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file; an empty one without a file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file so that it is complete or absent."""
    write_whole(path, json.dumps(value, indent=2) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file up to a line that a killed process left unfinished; none without a
    file."""
    return list(_rows(path))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with suppress(ValueError, FileNotFoundError), path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def cut(path: Path, keep: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Rewrite a JSON-lines file without the rows that ``keep`` rejects; return the rejected rows. A file may be far
    larger than what is rejected, so it is read row by row."""
    rejected: list[dict[str, Any]] = []
    if path.is_file():
        partial = path.with_name(path.name + PARTIAL)
        with partial.open("w", encoding="utf-8") as kept:
            for row in _rows(path):
                if keep(row):
                    kept.write(json.dumps(row) + "\n")
                else:
                    rejected.append(row)
        partial.replace(path)
    return rejected
