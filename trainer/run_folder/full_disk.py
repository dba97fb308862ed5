"""A disk that is full: how an error says so, and what can be given up for the little that is still to be written."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from ray.exceptions import RayTaskError

from rollout.json_lines import PARTIAL
from trainer.run_folder.checkpoints import FINE_TUNING

FULL = {errno.ENOSPC, errno.EDQUOT}
# Libraries that are not written in Python say it in their own errors.
SAID = ("no space left on device", "disk quota exceeded")


def full_disk(error: BaseException, folder: Path) -> str | None:
    """Return in a line that a disk is full, if that is what an error or one of its causes says; ``folder`` is where,
    unless the error names a file."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if isinstance(found, OSError) and found.errno in FULL:
            name = found.filename
            return f"no space left on device in {Path(name).parent if isinstance(name, str) and name else folder}"
        if any(text in str(found).lower() for text in SAID):
            return f"no space left on device in {folder}"
        cause = found.cause if isinstance(found, RayTaskError) else None
        found = cause or found.__cause__ or found.__context__
    return None


def give_up_partial(checkpoints: Path) -> None:
    """Remove checkpoints of either stage that were not completed, of which nothing could be read."""
    for path in [*checkpoints.glob(f"*{PARTIAL}"), *(checkpoints / FINE_TUNING).glob(f"*{PARTIAL}")]:
        shutil.rmtree(path, ignore_errors=True)
