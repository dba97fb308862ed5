"""Kills a rollout worker, a reward actor and a learner rank again and again in one run of the main job, and checks that
nothing is lost: the run finishes, its steps are those of any run, and every problem has exactly one outcome. Prints a
table of how long each kill kept the learner from its next step.

    python -m benchmarks.kill_roles RUN_DIR [--kills 3] [--seed 0] [--compare OTHER_RUN_DIR]... [overrides]

``--compare`` prints the accuracy of undisturbed runs beside this one's. With a solver that fails one call in ten:

    solver=own solver.backend=benchmarks.failing_solver:Failing '+solver.options={fails: 10}'
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from conf.schema.config import Config
from launch.compose import compose
from rollout.data.source import make_source
from trainer.run_folder.files import read_rows
from trainer.workers.scored_episode_json import read_scored

ROLES = {"rollout worker": "ray::RolloutWorker", "reward actor": "ray::RewardActor", "learner rank": "ray::Learner"}
WAIT_S = 1800.0


def main() -> int:
    """Run, kill, check; 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", type=Path, action="append", default=[])
    arguments, overrides = parser.parse_known_args()
    overrides = [*overrides, "rollout.record=true", f"run_dir={arguments.run_dir}"]
    config = compose(overrides)
    rng = random.Random(arguments.seed)
    plan = sorted((rng.uniform(1, config.algorithm.steps - 1), role) for role in ROLES for _ in range(arguments.kills))
    process = subprocess.Popen([sys.executable, "-m", "launch.train", *overrides])
    steps = Steps(arguments.run_dir / "metrics.jsonl")
    steps.start()
    kills = []
    try:
        for moment, role in plan:
            kills += kill(process, steps, moment, role)
        code = process.wait(WAIT_S)
    finally:
        process.terminate()
        steps.ended.set()
        steps.join()
    print(f"exit status {code}\n{table(kills, steps.times)}")
    problems = check(arguments.run_dir, config)
    for text in problems:
        print(f"WRONG: {text}")
    for folder in (arguments.run_dir, *arguments.compare):
        found = json.loads((folder / "summary.json").read_text())["accuracy"].get("ppo")
        if found:
            print(f"accuracy {found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f}) in {folder}")
    return 1 if code or problems else 0


class Steps(threading.Thread):
    """Notes when each learner step was written."""

    def __init__(self, file: Path) -> None:
        super().__init__(daemon=True)
        self.file, self.times, self.ended = file, list[float](), threading.Event()

    def run(self) -> None:
        """Look five times a second until ``ended`` is set."""
        while not self.ended.wait(0.2):
            new = len(read_rows(self.file)) - len(self.times)
            self.times += [time.monotonic()] * new


@dataclass(frozen=True)
class Kill:
    """A process of ``role`` was killed at ``time``, when ``step`` steps were written."""

    role: str
    step: int
    time: float


def kill(process: subprocess.Popen[bytes], steps: Steps, moment: float, role: str) -> list[Kill]:
    """SIGKILL one process of a role, ``moment`` learner steps after the beginning; return that, or nothing if the run
    ended before."""
    deadline = time.monotonic() + WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        if len(steps.times) >= int(moment):
            time.sleep(moment % 1)
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if child.cmdline()[0].startswith(ROLES[role]):
                        child.kill()
                        print(f"killed a {role} after step {len(steps.times)}", flush=True)
                        return [Kill(role, len(steps.times), time.monotonic())]
        time.sleep(0.1)
    return []


def table(kills: Sequence[Kill], steps: Sequence[float]) -> str:
    """Return a Markdown table: each kill and the seconds to the next step that was written."""
    usual = median(after - before for before, after in itertools.pairwise(steps)) if len(steps) > 1 else math.nan
    rows = ["| killed | after step | s to the next step |", "|---|---|---|"]
    for found in kills:
        waited = f"{steps[found.step] - found.time:.1f}" if found.step < len(steps) else "none came"
        rows.append(f"| {found.role} | {found.step} | {waited} |")
    return "\n".join([*rows, f"\nA step took {usual:.1f} s (median of all)."])


def check(folder: Path, config: Config) -> list[str]:
    """Return what is wrong with a run's end, steps and outcomes."""
    summary = json.loads((folder / "summary.json").read_text())
    if summary["status"] != "finished":
        return [f"status {summary['status']}: {summary.get('error')}"]
    wrong = []
    steps, size = config.algorithm.steps, config.algorithm.group_size
    found = [row["step"] for row in read_rows(folder / "metrics.jsonl")]
    if found != list(range(1, steps + 1)):
        wrong.append(f"steps {found}")
    state = json.loads((folder / "checkpoints" / "ppo" / "state.json").read_text())["controller"]
    skipped = config.sft.problems if "sft" in config.stages else 0
    source = make_source(config.data).train(config.seed)
    # A file's problems come again every epoch, so they are counted; the generator's never do.
    drawn = Counter(problem.id for problem in itertools.islice(source, skipped, skipped + state["drawn"]))
    trained = Counter(item.job.problem.id for item in read_scored(folder / "recorded.jsonl"))
    given_up = state["counters"]["dropped"] // size + state["counters"]["flat_groups"]
    if sum(trained.values()) != steps * config.algorithm.batch_size:
        wrong.append(f"{sum(trained.values())} episodes were trained on")
    over = [name for name, count in trained.items() if count > drawn[name] * size or count % size]
    if over:
        wrong.append(f"trained on more than once, or never drawn: {', '.join(over[:10])}")
    lost = state["drawn"] - sum(trained.values()) // size - given_up - len(state["put_back"])
    if lost:
        wrong.append(f"{lost} problems have no outcome")
    restarts = f"{state['pipeline']['restarts']} rollout workers, {summary['learner_restarts']} learners"
    print(f"drawn {state['drawn']}, trained on {len(trained)}, given up {given_up}; restarted: {restarts}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
