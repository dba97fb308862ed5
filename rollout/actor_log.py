"""One log file an actor: everything its process writes, vendors' output included, goes there."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
from pathlib import Path


def actor_log(folder: str, name: str) -> None:
    """Send this process's standard output and error, at file-descriptor level, to ``folder/name.log``."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    stream = os.open(Path(folder) / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.close(stream)
    faulthandler.enable(file=sys.__stderr__ or sys.stderr)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
