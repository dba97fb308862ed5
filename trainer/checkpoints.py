"""Folders on disk that are complete or not there, and the checkpoints of a run among them.

A checkpoint is an ordinary Hugging Face folder of the policy with three things more: ``state.json`` (the controller's
and the run's state), ``waiting.jsonl`` (the scored episodes that wait to be trained on) and ``learner/`` (see
``trainer.learner_state``).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATE = "state.json"
WAITING = "waiting.jsonl"
LEARNER = "learner"
PARTIAL = ".partial"


def begin_folder(folder: Path) -> Path:
    """A new folder to write in, for ``complete``; what an earlier attempt left is removed."""
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
    """A folder to write in that takes its name only when the block ends without an error."""
    partial = begin_folder(folder)
    yield partial
    complete(partial)


def prune(parent: Path, prefix: str, keep: int) -> None:
    """Remove all but the newest ``keep`` folders whose names are ``prefix`` and a number."""
    numbers = {path.name.removeprefix(prefix): path for path in parent.glob(f"{prefix}*")}
    found = sorted((number for number in numbers if number.isdigit()), key=int)
    for number in found[:-keep]:
        shutil.rmtree(numbers[number])


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: its folder and ``state.json``, which has ``version``, ``controller`` and ``run``."""

    folder: Path
    state: dict[str, Any]

    @property
    def version(self) -> int:
        """The learner steps taken."""
        return int(self.state["version"])


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint's state."""
    return Checkpoint(folder, json.loads((folder / STATE).read_text(encoding="utf-8")))


def newest(parent: Path) -> Checkpoint | None:
    """The complete checkpoint with the most steps, if there is one."""
    found = [read_checkpoint(path.parent) for path in parent.glob(f"*/{STATE}") if path.parent.suffix != PARTIAL]
    return max(found, key=lambda checkpoint: checkpoint.version, default=None)
