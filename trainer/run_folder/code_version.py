"""The version of the project that a run was made with."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

from conf.schema.places import ROOT

# Set by ``launch.submit`` for a job, whose copy of the project has no history.
VARIABLE = "DECOMPOSER_CODE"


def code_version() -> str | None:
    """Return the commit of the project's checkout, with ``-dirty`` if files were changed since; None where there is
    none."""
    if given := os.environ.get(VARIABLE):
        return given
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()
    return None
