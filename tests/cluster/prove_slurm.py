"""The batch script for SLURM with a real Ray: ``python -m tests.cluster.prove_slurm FOLDER``, as root, in ten minutes.

The stand-ins for SLURM's commands start two "nodes" that are namespaces of this machine. A small run is submitted, its
second node is lost in the middle, and the job is queued again and goes on. FOLDER is not below /tmp, of which each node
has its own. Prints what it saw; the exit status is 0 if the run finished with every step once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from conf.schema.places import ROOT
from tests.launch.slurm_cluster import Stand

STEPS, LOST_AT, START_S = 8, 4, 1500
SMALL = ["sft.problems=96", "algorithm.batch_size=16", "evaluation.problems=16", "learner.checkpoint_every=2",
         "tracking.wandb=disabled", "cluster.strategy=spread", f"algorithm.steps={STEPS}"]  # fmt: skip


def steps(run: Path) -> list[int]:
    """The numbers of the learner steps so far."""
    file = run / "metrics.jsonl"
    return [json.loads(row)["step"] for row in file.read_text().splitlines()] if file.is_file() else []


def main(folder: Path) -> int:
    """Submit, lose a node, wait for the end; the exit status."""
    run, stand, began = folder / "run", Stand(folder / "slurm"), time.monotonic()
    os.environ["PATH"] = f"{stand.install()}{os.pathsep}{os.environ['PATH']}"
    os.environ["STAND_IN_NODE"] = str(ROOT / "tests" / "cluster" / "slurm_node.sh")

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)  # noqa: T201

    command = [sys.executable, "-m", "launch.submit", "--slurm", "--nodes", "2", "--cpus", "4", "--"]
    subprocess.run([*command, *SMALL, f"run_dir={run}"], cwd=ROOT, check=True)
    while len(steps(run)) < LOST_AT:
        assert time.monotonic() - began < START_S, f"no {LOST_AT} steps in {START_S} s: see {run}/logs"
        assert not (folder / "slurm" / "done.json").exists(), f"the job ended: see {run}/logs"
        time.sleep(0.5)
    say(f"node 1 is lost after step {steps(run)[-1]}")
    stand.ask("lose 1")
    status, restarts = stand.wait(START_S)
    summary = json.loads((run / "summary.json").read_text())
    say(f"the job ended with {status} after {restarts} restarts; the run {summary['status']}, steps {steps(run)}")
    return 0 if (status, restarts, steps(run)) == (0, 1, list(range(1, STEPS + 1))) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
