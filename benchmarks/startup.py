"""Measure the start of the default job, by part: ``python -m benchmarks.startup RUN_DIR [overrides]``.

Starts the job, with stage 1 and PPO cut short, and prints two tables: the seconds to each line that a user sees, up to
the first trained step, and the CPU seconds of each kind of process until all actors were ready.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.processes import Machine, Watched

SHORT = ["sft.problems=96", "algorithm.steps=1", "evaluation.problems=16", "tracking.wandb=disabled"]
READY = "done starting Ray"


def main() -> None:
    """Start, watch, print."""
    parser = argparse.ArgumentParser(prog="benchmarks.startup", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    arguments, overrides = parser.parse_known_args()
    command = [sys.executable, "-m", "launch.train", *SHORT, *overrides, f"run_dir={arguments.run_dir}"]
    print("| s | line |\n|---|---|")
    machine = Machine()
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watched = Watched(psutil.Process(process.pid))
    watched.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(("starting", "done", "stage")):
            print(f"| {time.monotonic() - began:.1f} | {line.strip()} |", flush=True)
        if line.startswith(READY):
            watched.stop()
    print("\n| until ready | CPU s |\n|---|---|")
    for kind, used in watched.by_kind():
        print(f"| {kind} | {used:.1f} |")
    status = process.wait()
    print(f"\n{machine.line()}")
    sys.exit(status)


if __name__ == "__main__":
    main()
