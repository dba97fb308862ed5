"""Parts that measure nothing: what the kit's driver has to cope with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu.task import Skipped, Task

# A process that does not end when it is asked to.
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def good(task: Task) -> None:
    task.add("first", {"speed": 12_345.678, "share": 0.25})
    task.add("second", {"inner": {"count": 3, "known": None}})


def hangs(task: Task) -> None:
    """Add a figure, leave the id of a process that is hard to end, and never come back."""
    child = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    child.stdout.readline()
    (Path(task.folder) / "child.pid").write_text(str(child.pid))
    task.add("before", {"speed": 1.0})
    time.sleep(600)


def dies(task: Task) -> None:
    task.add("before", {"speed": 1.0})
    os.kill(os.getpid(), signal.SIGKILL)


def raises(task: Task) -> None:
    task.add("before", {"speed": 1.0})
    raise ValueError("nothing fits\nand more")


def skips(task: Task) -> None:
    raise Skipped("no GPU of two here")


def cases(task: Task) -> None:
    task.case("good", case, "good")
    task.case("short", case, "good", needs_s=1e6)
    for what in ("skips", "raises", "dies"):
        task.case(what, case, what)
    task.case("last", case, "good")


def case(what: str) -> dict[str, float]:
    if what == "skips":
        raise Skipped("too large")
    if what == "raises":
        raise RuntimeError("out of memory")
    if what == "dies":
        os._exit(7)
    return {"speed": 2.0}
