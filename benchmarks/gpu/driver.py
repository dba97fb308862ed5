"""The kit's driver: parts one after another, each in a process with its own limit, and a summary after each.

Invariant: whatever becomes of a part, the others' result files and the summary stay, and none of its processes is left
when the next one begins.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.gpu.summary import flat, in_words, write_summary
from benchmarks.gpu.task import Task, result_file
from conf.schema.places import ROOT
from trainer.run_folder.files import read_json

# The most that one part takes of the time left, so that one that hangs leaves some to the others.
SHARE = 0.6
# Seconds in which what a part has started may end by itself.
GRACE_S = 5.0
POLL_S = 0.5
# Nothing is asked of the network.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}


@dataclass(frozen=True)
class Part:
    """A part of the kit: ``module:function``, the seconds that it has at most, and those that it needs at least."""

    name: str
    function: str
    most_s: float
    least_s: float = 10.0


def limit(part: Part, left_s: float, last: bool) -> float:
    """Return the seconds that a part has of those that are left; 0 if they are too few for it."""
    if left_s < part.least_s:
        return 0.0
    return min(part.most_s, left_s if last else max(part.least_s, SHARE * left_s))


def run_kit(parts: Sequence[Part], task: Task, say: Callable[[str], object]) -> list[str]:
    """Run the parts in their order until ``task.deadline``; return the names of those that failed."""
    folder, names = Path(task.folder), [part.name for part in parts]
    for name in names:
        own = replace(task, part=name)
        own.file.unlink(missing_ok=True)
        own.note(part=name, state="waiting")
    for number, part in enumerate(parts, 1):
        own, said = replace(task, part=part.name), f"{number}/{len(parts)} {part.name}"
        seconds = limit(part, task.left_s, number == len(parts))
        if seconds:
            say(f"{said}: at most {seconds:.0f} s")
        began = time.monotonic()
        state, reason = "interrupted", ""
        try:
            state, reason = run_part(part, replace(own, deadline=time.time() + seconds), seconds, say)
        finally:
            own.note(state=state, reason=reason, seconds=round(time.monotonic() - began, 1))
            write_summary(folder, names)
        say(f"{said}: {state}{reason and f' ({reason})'}")
    return [name for name in names if read_json(result_file(folder, name))["state"] == "failed"]


def run_part(part: Part, task: Task, seconds: float, say: Callable[[str], object]) -> tuple[str, str]:
    """Run a part for so many seconds at most, and say its figures as they come; return its state, and the reason where
    there is more to say."""
    if not seconds:
        return "no time left", f"it needs {part.least_s:.0f} s"
    command = [sys.executable, "-m", "benchmarks.gpu.run_part", part.function, task.encoded()]
    with (Path(task.folder) / f"{part.name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    family = Family(process)
    said: dict[str, Any] = {}
    try:
        while process.poll() is None and task.left_s > 0:
            with suppress(subprocess.TimeoutExpired):
                process.wait(min(POLL_S, max(0.0, task.left_s)))
            family.look()
            said = say_new(task, said, say)
        status = process.poll()
    finally:
        family.end()
    say_new(task, said, say)
    return state_of(task, status, seconds)


def state_of(task: Task, status: int | None, seconds: float) -> tuple[str, str]:
    """Return the state of a part whose process ended with ``status``, None if it did not in time; and the reason."""
    found = read_json(task.file)
    if found["state"] not in ("waiting", "running"):
        return found["state"], found.get("reason", "")
    if status is None:
        return "out of time", f"ended after {seconds:.0f} s"
    return "failed", f"its process ended with status {status}; see {task.part}.log"


def say_new(task: Task, said: dict[str, Any], say: Callable[[str], object]) -> dict[str, Any]:
    """Say the figures that were added since; return all."""
    figures: dict[str, Any] = read_json(task.file).get("figures", {})
    new = {name: value for name, value in figures.items() if said.get(name) != value}
    for line in flat(new):
        say(f"    {in_words(*line)}")
    return figures


class Family:
    """A process and all that it started, also what its parent left behind."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._members: set[psutil.Process] = set()
        self.look()

    def look(self) -> None:
        """Note the processes that are there now."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self._process.pid)
            self._members |= {found, *found.children(recursive=True)}

    def end(self) -> None:
        """End them all: the first is asked to, and those that are left after a moment are killed."""
        self.look()
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self._members |= {child for one in self._members for child in _children(one)}
        _, left = psutil.wait_procs(self._members, GRACE_S if self._process.poll() is not None else 0.0)
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, GRACE_S)
        self._process.wait()


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found
