"""The extensions that DeepSpeed compiles at the first start of a learner.

torch marks a build in progress by a file, and every other process waits without limit until the file is gone. A process
that is killed while it compiles leaves that file behind. So builds here take turns by a lock that the system releases
with its holder, in a folder that only this environment uses: whoever has the lock knows that a file is a dead one's.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path


def extensions_folder() -> Path:
    """Return where compiled extensions are kept: ``TORCH_EXTENSIONS_DIR``, else the environment's own folder, or the
    home folder's cache where the environment cannot be written."""
    if named := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(named)
    environment = Path(sys.prefix)
    return (environment if os.access(environment, os.W_OK) else Path.home() / ".cache" / "decomposer_rl") / "extensions"


def compile_extension(name: str) -> None:
    """Compile and load the extension of a DeepSpeed builder's name, unless the accelerator has none of that name.

    One process at a time compiles; the files of builds that were killed are removed.
    """
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    folder = extensions_folder()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder)
    with (folder / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for left in folder.glob("*/lock"):
            left.unlink()
        builder = get_accelerator().create_op_builder(name)
        if builder is not None and deepspeed.ops.__compatible_ops__.get(builder.NAME, False):
            builder.load()
