"""Who used the machine during a benchmark, with a process that is not its own."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from benchmarks.processes import Machine, Watched, quiet_line

BUSY = "import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"


def test_figures_are_called_quiet_only_where_others_used_next_to_nothing():
    assert quiet_line(0.01, 2).endswith("a quiet machine")
    assert "NOT a quiet machine" in quiet_line(0.05, 2)


def test_a_child_is_counted_and_kept_when_it_has_ended():
    watched = Watched(psutil.Process(), every_s=0.05)
    watched.start()
    subprocess.run([sys.executable, "-c", BUSY.format(seconds=0.6)], check=True)
    watched.stop()
    used = dict(watched.by_kind())
    assert used.pop("driver") > 0
    assert sum(used.values()) > 0.1


def test_the_machine_says_what_others_used():
    machine = Machine()
    time.sleep(0.3)
    assert machine.line().startswith("other processes used ")
