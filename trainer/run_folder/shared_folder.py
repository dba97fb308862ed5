"""Prove that processes on other nodes see a run's folder, before anything is to be written there."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

# A network's file system may show a new file to other nodes a little later.
SEEN_S = 5.0
POLL_S = 0.2


class FolderNotShared(RuntimeError):
    """A process does not see a run's folder, or cannot write to it; the message names process, node and folder."""


def leave_mark(folder: Path) -> Path:
    """Write an empty file, which the others are to find, under a new name; return its absolute path."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder.absolute() / f".shared-{uuid.uuid4().hex}"
    mark.touch()
    return mark


def check_shared(mark: Path, name: str, node: str, seen_s: float = SEEN_S) -> None:
    """Find the mark that another process left, and write and remove a file beside it. Raises FolderNotShared for the
    process ``name`` on this node."""
    folder, end = mark.parent, time.monotonic() + seen_s
    # Not mark.exists(): of a folder that may not be read it raises, and that is one that is not seen.
    while not os.path.exists(mark):
        if time.monotonic() > end:
            raise FolderNotShared(
                f"{name} on node {node} does not see {folder} as the driver does: run_dir must be in a folder that all "
                "nodes with learner ranks share"
            )
        time.sleep(POLL_S)
    own = mark.with_name(f"{mark.name}-{name}")
    try:
        own.touch()
        own.unlink()
    except OSError as error:
        raise FolderNotShared(
            f"{name} on node {node} cannot write to {folder} ({error.strerror}): it is to write checkpoints to run_dir"
        ) from None
