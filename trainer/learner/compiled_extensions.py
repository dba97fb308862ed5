"""Compile the extensions that DeepSpeed needs at the first start of a learner, once for all runs of a user.

torch compiles again wherever the paths of its headers are others, as in every checkout that has a link to one
environment. So what was compiled is kept with a note of what it was made from, and loaded as it is where that is the
same.

torch also marks a build in progress with a file, and every other process waits without limit until the file is gone. A
process that is killed while it compiles leaves its file behind, and its compilers at work. So builds here take turns
with a lock that the system releases when its holder ends, in a folder that nothing else uses. Whoever has the lock
knows that a file that is already there, and a compiler of this folder, was left by a process that died.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import os
import re
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

_LOG = logging.getLogger(__name__)
# Beside a library: what it was made from.
NOTE = "made_from"
# Set for the compilers of a build: its folder.
BUILD_VARIABLE = "DECOMPOSER_RL_BUILD"


def made_from() -> str:
    """Return the name of all that a compiled extension depends on: torch, DeepSpeed, Python and the processor, whose
    instructions the compiler chooses from."""
    features = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    processor = hashlib.sha256(features[1].encode() if features else b"").hexdigest()[:8]
    packages = [f"{name}-{version(name)}" for name in ("torch", "deepspeed")]
    return "_".join([*packages, str(sysconfig.get_config_var("SOABI")), f"cpu-{processor}"])


def extensions_folder() -> Path:
    """Return the folder of compiled extensions, which is named after what they are made from: below
    ``TORCH_EXTENSIONS_DIR`` if set, where other programs may build theirs, else in the user's cache; in the
    environment, or with temporary files, where the cache is read-only. Raises PermissionError."""
    if named := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(named) if Path(named).name == made_from() else Path(named) / "decomposer_rl" / made_from()
    # Of a user without a home folder this is no absolute path.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    folders = (cache / "decomposer_rl", Path(sys.prefix))
    usable = next((one for one in folders if one.is_absolute() and _can_be_written(one)), None)
    return (usable or _own_temporary_folder()) / "extensions" / made_from()


def _own_temporary_folder() -> Path:
    """Return a folder among temporary files, made if need be, in which nobody but this user can put what is loaded.

    Raises PermissionError for one that somebody else made, or may write to.
    """
    folder = Path(tempfile.gettempdir()) / f"decomposer_rl-{os.geteuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=stat.S_IRWXU)
    found = folder.lstat()
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or others:
        raise PermissionError(
            f"'{folder}' is no folder that this user alone may write to, so nothing is loaded from it; allowed: "
            "to remove it, or TORCH_EXTENSIONS_DIR=FOLDER, a folder of your own"
        )
    return folder


def _can_be_written(folder: Path) -> bool:
    """Return whether a folder, or the first above it that exists, may be written to."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def compile_extension(name: str) -> None:
    """Compile and load the extension of the DeepSpeed builder with this name, unless the accelerator has none.

    Only one process compiles at a time; the files of killed builds are removed, and their compilers ended.
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
        _end_compilers(folder)
        for left in folder.glob("*/lock"):
            left.unlink()
        builder = get_accelerator().create_op_builder(name)
        if builder is not None and deepspeed.ops.__compatible_ops__.get(builder.NAME, False):
            _load(builder, folder / builder.NAME)


def _load(builder: Any, folder: Path) -> None:
    """Load a builder's extension, compiled before from the same or compiled now, so that DeepSpeed has it."""
    library, note, made = folder / f"{builder.NAME}.so", folder / NOTE, made_from()
    if library.is_file() and note.is_file() and note.read_text(encoding="utf-8") == made:
        _LOG.info("loading %s", library)
        # Where DeepSpeed looks before it compiles.
        builder._loaded_ops[builder.NAME] = _imported(builder.NAME, library)
        return
    _LOG.info("compiling DeepSpeed's %s in %s, which takes a minute", builder.NAME, folder)
    note.unlink(missing_ok=True)
    with _compilers_of(folder.parent):
        builder.load()
    note.write_text(made, encoding="utf-8")


@contextmanager
def _compilers_of(folder: Path) -> Iterator[None]:
    """Have every process that is started in the block bear the name of a build's folder."""
    os.environ[BUILD_VARIABLE] = str(folder)
    try:
        yield
    finally:
        del os.environ[BUILD_VARIABLE]


def _end_compilers(folder: Path) -> None:
    """End the compilers of a killed build on this machine: they would write the files of the next one."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended, or is another user's
            if process.environ().get(BUILD_VARIABLE) == str(folder):
                _LOG.info("ending %s (%d), which a killed build left", process.name(), process.pid)
                process.kill()


def _imported(name: str, library: Path) -> Any:
    """Return the module of a compiled library."""
    spec = importlib.util.spec_from_file_location(name, library)
    if spec is None or spec.loader is None:
        raise ImportError(f"{library} is no module that Python can import")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
