"""Compile the extensions that DeepSpeed needs at the first start of a learner.

torch marks a build in progress with a file, and every other process waits without limit until the file is gone. A
process that is killed while it compiles leaves its file behind. So builds here take turns with a lock that the system
releases when its holder ends, in a folder that only this environment uses. Whoever has the lock knows that a file that
is already there was left by a process that died.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from pathlib import Path

_LOG = logging.getLogger(__name__)


def extensions_folder() -> Path:
    """Return the folder of compiled extensions: ``TORCH_EXTENSIONS_DIR`` if set, else the environment's own folder, or
    the home folder's cache if the environment is read-only."""
    if named := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(named)
    environment = Path(sys.prefix)
    return (environment if os.access(environment, os.W_OK) else Path.home() / ".cache" / "decomposer_rl") / "extensions"


def compile_extension(name: str) -> None:
    """Compile and load the extension of the DeepSpeed builder with this name, unless the accelerator has none.

    Only one process compiles at a time; the files of killed builds are removed.
    """
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    folder = extensions_folder()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder)
    with (folder / "turn").open("w") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _LOG.info("waiting for another process that compiles an extension in %s", folder)
            fcntl.flock(turn, fcntl.LOCK_EX)
        for left in folder.glob("*/lock"):
            left.unlink()
        builder = get_accelerator().create_op_builder(name)
        if builder is not None and deepspeed.ops.__compatible_ops__.get(builder.NAME, False):
            _LOG.info("loading DeepSpeed's %s; at the first use it is compiled, which takes a minute", builder.NAME)
            builder.load()
