"""The whole thing on a cluster of this machine: ``python -m tests.cluster.prove FOLDER``; about a quarter of an hour.

A head and two nodes with token authentication; the default job, shortened, submitted from another process with its
actors spread over the nodes, followed to its end; then the same again, and the node of the rollout worker is killed in
the middle. Prints what it saw; the exit status is 0 if all of it was right.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster.nodes import Cluster, cluster

ROOT = Path(__file__).resolve().parent.parent.parent
SHORT = ["sft.problems=480", "algorithm.steps=24", "algorithm.batch_size=32", "evaluation.problems=64",
         "cluster.strategy=spread", "tracking.wandb=disabled"]  # fmt: skip
START_S = 600


def submit(made: Cluster, *arguments: str) -> subprocess.Popen[str]:
    """The command, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "launch.submit", "--address", made.address, *arguments],
        cwd=ROOT, env=made.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def homes(made: Cluster) -> dict[str, list[str]]:
    """The living actors by class, each with the node that it is on."""
    code = (
        "import json; from ray.util.state import list_actors;"
        f"found = list_actors(address={made.address!r}, filters=[('state', '=', 'ALIVE')], limit=1000);"
        "print(json.dumps([(a.class_name, a.node_id) for a in found]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=made.environment, capture_output=True, text=True, check=True, timeout=120
    )
    found: dict[str, list[str]] = {}
    for name, node in json.loads(done.stdout.splitlines()[-1]):
        found.setdefault(name, []).append(node)
    return found


def node_ids(made: Cluster) -> dict[str, int]:
    """Each node's id, with its place in ``made.nodes``: a raylet says its id on its command line."""
    import psutil

    places = {}
    for place, node in enumerate(made.nodes):
        for process in psutil.Process(node.pid).children(recursive=True):
            for word in process.cmdline():
                if word.startswith(("--node_id=", "--node-id=")):
                    places[word.partition("=")[2]] = place
    return places


def steps(folder: Path) -> int:
    """Learner steps so far."""
    file = folder / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def run(made: Cluster, folder: Path, kill_at: int | None) -> bool:
    """Submit, follow, and perhaps kill the rollout worker's node after some steps; whether it finished."""
    name = folder.name
    process = submit(made, "--name", name, "--follow", "--", *SHORT, f"run_dir={folder}")
    deadline = time.monotonic() + START_S
    while steps(folder) < (kill_at or 2):
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline, f"no {kill_at or 2} steps in {START_S} s"
        time.sleep(1)
    found = homes(made)
    print({role: [node[:6] for node in nodes] for role, nodes in found.items()}, flush=True)  # noqa: T201
    if kill_at is not None:
        place = node_ids(made).get(found["RolloutWorker"][0])
        print(f"the rollout worker is on node {place}", flush=True)  # noqa: T201
        assert place, "the rollout worker is on the head, or not found: nothing to kill"
        made.end(made.nodes[place])
        print(f"killed node {place} at step {steps(folder)}", flush=True)  # noqa: T201
    output, _ = process.communicate(timeout=1800)
    print(output, flush=True)  # noqa: T201
    summary = json.loads((folder / "summary.json").read_text())
    print(json.dumps({key: summary[key] for key in ("status", "steps", "seconds", "weight_version")}))  # noqa: T201
    return process.returncode == 0 and summary["status"] == "finished" and steps(folder) == summary["steps"] == 24


def main(folder: Path) -> int:
    """Both runs; the exit status."""
    with cluster(cpus=2) as made:
        made.join(cpus=2)
        made.join(cpus=2)
        good = run(made, folder / "spread", None)
        # What is lost with the node has to find room on the others.
        made.join(cpus=2)
        return 0 if run(made, folder / "killed", 6) and good else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
