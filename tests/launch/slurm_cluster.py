"""A small SLURM on this machine: stand-ins for sbatch, srun and scontrol that start "nodes" as processes.

What of SLURM they keep: sbatch reads the script's own lines and returns at once; the script runs on the first node;
srun starts a task on every node; ``scontrol requeue``, and a node that fails, end all of the job's processes and run
the script again with a higher SLURM_RESTART_COUNT.

With ``STAND_IN_NODE`` set, nodes are what that command makes them, such as sets of Linux namespaces: ``COMMAND NODE
WORDS...`` runs something there, and ``COMMAND NODE`` ends everything that is there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

POLL_S = 0.05
Process = subprocess.Popen[bytes]


class Stand:
    """The stand-ins' folder, and what a test asks of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self) -> Path:
        """Write the commands; return the folder to put on PATH."""
        commands = self.folder / "bin"
        commands.mkdir(parents=True)
        for name in ("sbatch", "srun", "scontrol"):
            words = [sys.executable, str(Path(__file__)), name, str(self.folder)]
            (commands / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            (commands / name).chmod(0o755)
        return commands

    def ask(self, what: str) -> None:
        """Have the job lose a node (``lose 1``) or its script get a signal (``signal SIGUSR1``)."""
        (self.folder / f"{what}.ask").touch()

    def wait(self, seconds: float) -> tuple[int, int]:
        """Return the exit status of the job's script and how often it was started again. Raises AssertionError."""
        file, deadline = self.folder / "done.json", time.monotonic() + seconds
        while not file.exists():
            assert time.monotonic() < deadline, f"the job did not end in {seconds} s"
            time.sleep(POLL_S)
        status, restarts = json.loads(file.read_text())
        return status, restarts


class Job:
    """One job, in a process of its own that stands for SLURM's daemons."""

    def __init__(self, folder: Path, script: str, number: str) -> None:
        self.folder, self.script, self.number = folder, script, number
        self.asked = options(Path(script).read_text())
        self.nodes = int(self.asked["--nodes"])
        self.tasks: list[Process] = []
        self.ended: float | None = None

    def run(self) -> None:
        """Run the script until it ends without being queued again."""
        output = Path(self.asked["--output"].replace("%j", self.number).replace("%%", "%"))
        environment = os.environ | {
            "SLURM_JOB_ID": self.number, "SLURM_JOB_NUM_NODES": str(self.nodes), "SLURM_JOB_NODELIST": "node[0-9]"
        }  # fmt: skip
        restarts = 0
        while True:
            environment["SLURM_RESTART_COUNT"] = str(restarts)
            with output.open("ab") as log:
                batch = start(0, ["bash", self.script], environment, log)
            again = self.attend(batch)
            self.end(batch)
            if not again:
                write(self.folder / "done.json", [batch.returncode, restarts])
                return
            restarts += 1

    def attend(self, batch: Process) -> bool:
        """Do what is asked until the script ends, or loses a node; return whether the job is queued again."""
        while batch.poll() is None:
            for file in list(self.folder.glob("*.ask")):
                file.unlink()
                what, _, which = file.stem.partition(" ")
                if what == "signal":
                    signal_script(batch.pid, signal.Signals[which])
                elif what == "lose":
                    end_node(int(which), self.tasks[int(which)])
                    return True
                elif what == "requeue":
                    return True
            self.step(batch)
            time.sleep(POLL_S)
        return False

    def step(self, batch: Process) -> None:
        """Start what srun asks for, and tell it how that ended."""
        file = self.folder / "step.json"
        if file.exists():
            step = json.loads(file.read_text())
            file.unlink()
            self.wait_s, self.ended = step["wait_s"], None
            with Path(self.asked["--output"].replace("%j", self.number).replace("%%", "%")).open("ab") as log:
                for node in range(self.nodes):
                    environment = step["environment"] | {"SLURM_NODEID": str(node), "SLURM_PROCID": str(node)}
                    self.tasks.append(start(node, step["command"], environment, log, step["folder"]))
        running = [task for task in self.tasks if task.poll() is None]
        if self.tasks and len(running) < len(self.tasks):
            self.ended = self.ended or time.monotonic()
            if running and time.monotonic() > self.ended + self.wait_s:
                for task in running:
                    end_group(task)
        if self.tasks and not running:
            write(self.folder / "step-done.json", max(task.returncode % 256 for task in self.tasks))
            self.tasks = []

    def end(self, batch: Process) -> None:
        """End what is left of the script and of its tasks."""
        for node in range(self.nodes):
            end_node(node, self.tasks[node] if self.tasks else None)
        end_group(batch)
        batch.wait()
        self.tasks = []
        for name in ("step.json", "step-done.json"):
            (self.folder / name).unlink(missing_ok=True)


def options(script: str) -> dict[str, str]:
    """The script's own lines for sbatch, read as sbatch reads them: quotes are taken off."""
    words = [word for line in re.findall(r"^#SBATCH (.*)$", script, re.MULTILINE) for word in shlex.split(line)]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def start(node: int, words: list[str], environment: dict[str, str], log: object, folder: str | None = None) -> Process:
    """Start a command on a node."""
    return subprocess.Popen(
        [*there(node), *words], env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True
    )


def there(node: int) -> list[str]:
    """The words before a command that runs it on a node."""
    given = shlex.split(os.environ.get("STAND_IN_NODE", ""))
    return [*given, str(node)] if given else []


def end_node(node: int, task: Process | None) -> None:
    """End everything on a node."""
    if given := there(node):
        subprocess.run(given, check=True)
    if task is not None:
        end_group(task)
        task.wait()


def end_group(process: Process) -> None:
    """Kill a process and all that it started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def signal_script(process: int, number: int) -> None:
    """Send a signal to the script alone, as ``--signal=B:`` asks; a node's command may have started it."""
    found = psutil.Process(process)
    while found.name() != "bash":
        (found,) = found.children()
    found.send_signal(number)


def write(file: Path, value: object) -> None:
    """Write a file whole: another process waits for it."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(value))
    part.rename(file)


def sbatch(folder: Path, arguments: list[str]) -> int:
    """Take the job, and leave a process that runs it."""
    number = str(os.getpid())
    with (folder / "control.log").open("a") as log:
        subprocess.Popen(
            [sys.executable, __file__, "control", str(folder), arguments[-1], number],
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    sys.stdout.write(f"{number};here\n")
    return 0


def srun(folder: Path, arguments: list[str]) -> int:
    """Have a task run on every node; return the highest exit status."""
    first = next(place for place, word in enumerate(arguments) if not word.startswith("--"))
    own = dict(word.split("=", 1) for word in arguments[:first])
    step = {"wait_s": float(own["--wait"]), "command": arguments[first:], "environment": dict(os.environ)}
    write(folder / "step.json", step | {"folder": os.getcwd()})
    while not (folder / "step-done.json").exists():
        time.sleep(POLL_S)
    return int(json.loads((folder / "step-done.json").read_text()))


def scontrol(folder: Path, arguments: list[str]) -> int:
    """Queue the job again: the script is ended before this returns."""
    assert arguments == ["requeue", os.environ["SLURM_JOB_ID"]], arguments
    Stand(folder).ask("requeue")
    time.sleep(30)
    return 1


if __name__ == "__main__":
    name, place, *rest = sys.argv[1:]
    if name == "control":
        Job(Path(place), *rest).run()
    else:
        sys.exit({"sbatch": sbatch, "srun": srun, "scontrol": scontrol}[name](Path(place), rest))
