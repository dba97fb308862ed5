"""Measure the start of the default job, by part: ``python -m benchmarks.startup RUN_DIR [overrides]``.

Starts the job, with stage 1 and PPO cut short, and prints two tables: the seconds to each line that a user sees, up to
the first trained step, and the CPU seconds of each kind of process until all actors were ready.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import psutil

SHORT = ["sft.problems=96", "algorithm.steps=1", "evaluation.problems=16", "tracking.wandb=disabled"]
READY = "done starting Ray"


class Watched(threading.Thread):
    """Adds up the CPU seconds of a command and of all that it started, by kind, until ``ended`` is set."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self.process, self.ended = process, threading.Event()
        self.seconds: dict[tuple[int, float], tuple[str, float]] = {}

    def run(self) -> None:
        """Look twice a second."""
        while not self.ended.wait(0.5):
            with suppress(psutil.Error):
                for found in [self.process, *self.process.children(recursive=True)]:
                    with suppress(psutil.Error, IndexError):
                        used = found.cpu_times()
                        key = (found.pid, found.create_time())
                        self.seconds[key] = (self._kind(found), used.user + used.system)

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


def main() -> None:
    """Start, watch, print."""
    parser = argparse.ArgumentParser(prog="benchmarks.startup", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    arguments, overrides = parser.parse_known_args()
    command = [sys.executable, "-m", "launch.train", *SHORT, *overrides, f"run_dir={arguments.run_dir}"]
    print(f"load before: {os.getloadavg()[0]:.2f} of {os.cpu_count()} cores\n\n| s | line |\n|---|---|")
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watched = Watched(psutil.Process(process.pid))
    watched.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(("starting", "done", "stage")):
            print(f"| {time.monotonic() - began:.1f} | {line.strip()} |", flush=True)
        if line.startswith(READY):
            watched.ended.set()
            watched.join()
    print("\n| until ready | CPU s |\n|---|---|")
    for kind, used in watched.by_kind():
        print(f"| {kind} | {used:.1f} |")
    sys.exit(process.wait())


if __name__ == "__main__":
    main()
