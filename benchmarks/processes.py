"""Measure who uses the processor during a benchmark: its own processes by kind, and all others."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from contextlib import suppress

import psutil

# A machine is called quiet while others use less than this share of it.
QUIET = 0.05


class Watched(threading.Thread):
    """CPU seconds of a process and its descendants, also of those that end meanwhile. Start it, and ``stop`` it."""

    def __init__(self, process: psutil.Process, every_s: float = 0.5) -> None:
        super().__init__(daemon=True)
        self.process, self.every_s, self.ended = process, every_s, threading.Event()
        self.seconds: dict[tuple[int, float], tuple[str, float]] = {}

    def run(self) -> None:
        """Look again and again."""
        while not self.ended.wait(self.every_s):
            self.look()

    def look(self) -> None:
        """Note what each process has used so far."""
        with suppress(psutil.Error):
            for found in [self.process, *self.process.children(recursive=True)]:
                with suppress(psutil.Error, IndexError):
                    used = found.cpu_times()
                    self.seconds[found.pid, found.create_time()] = (self._kind(found), used.user + used.system)

    def stop(self) -> None:
        """Look no more."""
        self.ended.set()
        self.join()

    def _kind(self, found: psutil.Process) -> str:
        if found.pid == self.process.pid:
            return "driver"
        name = str(found.cmdline()[0])
        return name.split(".")[0] if name.startswith("ray::") else os.path.basename(name)

    def by_kind(self) -> list[tuple[str, float]]:
        """Return the seconds of each kind, most first."""
        total: defaultdict[str, float] = defaultdict(float)
        for kind, used in self.seconds.values():
            total[kind] += used
        return sorted(total.items(), key=lambda item: -item[1])


class Machine:
    """The machine from now on, seen by a benchmark that wants it for itself."""

    def __init__(self) -> None:
        self._own = Watched(psutil.Process(), every_s=2.0)
        self._own.look()
        self._before = time.monotonic(), _busy(), self._used()
        self._own.start()

    def line(self) -> str:
        """Stop looking; say how much of the machine others used, and whether figures may be called quiet."""
        self._own.stop()
        self._own.look()
        began, busy, used = self._before
        others = max(0.0, _busy() - busy - (self._used() - used))
        return quiet_line(others / ((time.monotonic() - began) * psutil.cpu_count()), psutil.cpu_count())

    def _used(self) -> float:
        return sum(used for _, used in self._own.seconds.values())


def quiet_line(share: float, cores: int) -> str:
    """Say what it means that others used this ``share`` of all cores."""
    found = f"other processes used {share:.0%} of the {cores} cores"
    if share < QUIET:
        return f"{found}: a quiet machine"
    return f"{found}: NOT a quiet machine (that is below {QUIET:.0%}), so that rates and seconds are not to be quoted"


def _busy() -> float:
    """Return the seconds that all cores have worked, those that a hypervisor took away included."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
