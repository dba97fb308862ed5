"""The version of the project that a run is made with."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from contextlib import suppress

from conf.schema.places import CHECKOUT, ROOT

# Set by ``launch.submit`` for a job, whose copy of the project has no history.
VARIABLE = "DECOMPOSER_CODE"


def code_version() -> str | None:
    """Return the commit of the checkout, with ``-dirty`` if files were changed since; None if it has no history.

    Of an installed project, return the package's version: its folder may lie in a repository of somebody else's.
    """
    if given := os.environ.get(VARIABLE):
        return given
    if not CHECKOUT:
        return importlib.metadata.version("decomposer-rl")
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()
    return None
