"""Runs a long main job of a small configuration and compares the resident memory of each of its processes early and
late. Prints a table, and ends with 1 if a process grew by more than the limit.

    python -m benchmarks.soak RUN_DIR [--early 100] [--late 600] [--limit 0.03] [overrides]

A figure is the median over ten seconds that begin at that learner step. "Resident" counts the pages of the object store
that a process has touched, "private" does not. A process that was not there at both steps has a row with one figure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil

from benchmarks.processes import Machine
from trainer.run_folder.files import read_rows

SMALL = [
    "sft.problems=256", "algorithm.batch_size=16", "evaluation.problems=16", "evaluation.every=0",
    "learner.checkpoint_every=50", "tracking.wandb=disabled",
]  # fmt: skip
SAMPLES = 10
MIB = 2**20
WAIT_S = 3600.0

# Of a process: its name, and resident and private MiB.
Memory = dict[int, tuple[str, float, float]]


def main() -> int:
    """Run, measure twice, print; 0 if nothing grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--early", type=int, default=100)
    parser.add_argument("--late", type=int, default=600)
    parser.add_argument("--limit", type=float, default=0.03)
    arguments, overrides = parser.parse_known_args()
    machine = Machine()
    # Some steps more than are looked at, so that the last figures are of a run at work.
    steps = arguments.late + 30
    given = [*SMALL, *overrides, f"algorithm.steps={steps}", f"run_dir={arguments.run_dir}"]
    process = subprocess.Popen([sys.executable, "-m", "launch.train", *given])
    try:
        early, late = (
            measured(process, arguments.run_dir / "metrics.jsonl", step) for step in (arguments.early, arguments.late)
        )
        code = process.wait(WAIT_S)
    finally:
        process.terminate()
    text, grown = table(early, late, arguments.limit)
    print(f"exit status {code}\n{text}\n{machine.line()}")
    for line in grown:
        print(f"GREW: {line}")
    return 1 if code or grown else 0


def measured(process: subprocess.Popen[bytes], metrics: Path, step: int) -> Memory:
    """Wait for a learner step; return the median memory of each process over the ten seconds that follow."""
    deadline = time.monotonic() + WAIT_S
    while len(read_rows(metrics)) < step:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the run did not reach step {step}")
        time.sleep(0.5)
    samples = defaultdict[int, list[tuple[str, float, float]]](list)
    for _ in range(SAMPLES):
        for pid, one in memory(psutil.Process(process.pid)).items():
            samples[pid].append(one)
        time.sleep(1.0)
    return {
        pid: (seen[-1][0], median(one[1] for one in seen), median(one[2] for one in seen))
        for pid, seen in samples.items()
        if len(seen) > SAMPLES // 2
    }


def memory(driver: psutil.Process) -> Memory:
    """Return the memory of a process and of its descendants now."""
    found: Memory = {}
    for process in [driver, *driver.children(recursive=True)]:
        with suppress(psutil.Error, IndexError):
            used, name = process.memory_info(), process.cmdline()[0]
            kind = "driver" if process == driver else name.split(".")[0] if "::" in name else os.path.basename(name)
            found[process.pid] = (kind, used.rss / MIB, (used.rss - used.shared) / MIB)
    return found


def table(early: Memory, late: Memory, limit: float) -> tuple[str, list[str]]:
    """Return a Markdown table of both times, largest first, and what grew by more than ``limit``."""
    rows = [
        "| process | resident, early | late | ratio | private, early | late | ratio |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    grown = []
    for pid in sorted(early.keys() | late.keys(), key=lambda one: -late.get(one, early.get(one, ("", 0, 0)))[1]):
        name = f"{(late.get(pid) or early[pid])[0]} ({pid})"
        if pid in early and pid in late:
            (_, resident, private), (_, resident_late, private_late) = early[pid], late[pid]
            ratios = resident_late / resident, private_late / max(private, 0.1)
            rows.append(
                f"| {name} | {resident:.0f} MiB | {resident_late:.0f} | {ratios[0]:.3f} | {private:.0f} MiB "
                f"| {private_late:.0f} | {ratios[1]:.3f} |"
            )
            if ratios[0] > 1 + limit:
                grown.append(f"{name}: {ratios[0] - 1:+.1%} resident, {ratios[1] - 1:+.1%} private")
        else:
            there = "early" if pid in early else "late"
            rows.append(f"| {name} | only {there}: {(early.get(pid) or late[pid])[1]:.0f} MiB | | | | | |")
    return "\n".join(rows), grown


if __name__ == "__main__":
    sys.exit(main())
