"""The whole thing on a cluster of this machine: ``python -m tests.cluster.prove FOLDER``; about a quarter of an hour.

A head and two nodes with token authentication. The default job, shortened, is submitted from another process with its
actors spread over the nodes, and followed to its end; then again, and a node is killed in the middle; then once more,
and it is stopped in the middle. Prints what it saw; the exit status is 0 if all of it was right.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil

from conf.schema.places import ROOT
from tests.cluster.nodes import Cluster, cluster

SHORT = ["sft.problems=480", "algorithm.batch_size=32", "evaluation.problems=64", "cluster.strategy=spread",
         "tracking.wandb=disabled"]  # fmt: skip
START_S = 600
GONE_S = 30


def say(text: str) -> None:
    """Print with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)  # noqa: T201


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
        f"found = list_actors(address={made.address!r}, filters=[('state', '!=', 'DEAD')], limit=1000);"
        "print(json.dumps([(a.class_name, a.node_id or '') for a in found]))"
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
    places = {}
    for place, node in enumerate(made.nodes):
        for process in family(node):
            for word in process.cmdline():
                if word.startswith(("--node_id=", "--node-id=")):
                    places[word.partition("=")[2]] = place
    return places


def family(node: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A node's processes, none of one that was ended."""
    return psutil.Process(node.pid).children(recursive=True) if node.poll() is None else []


def of_the_job(made: Cluster) -> list[str]:
    """What runs on the nodes for a job: its actors, its driver, and what that started."""
    found = []
    for node in made.nodes:
        for process in family(node):
            try:
                line = " ".join(process.cmdline())
            except psutil.NoSuchProcess:
                continue
            if "launch.train" in line or (line.startswith("ray::") and "IDLE" not in line and "Agent" not in line):
                found.append(line[:80])
    return found


def steps(folder: Path) -> int:
    """Learner steps so far."""
    file = folder / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def start(made: Cluster, folder: Path, count: int, reached: int) -> subprocess.Popen[str]:
    """Submit a run of so many steps, followed, and wait until some are done."""
    process = submit(
        made, "--name", folder.name, "--follow", "--", *SHORT, f"algorithm.steps={count}", f"run_dir={folder}"
    )
    deadline = time.monotonic() + START_S
    while steps(folder) < reached:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline, f"no {reached} steps in {START_S} s"
        time.sleep(1)
    return process


def finished(process: subprocess.Popen[str], folder: Path, count: int) -> bool:
    """Wait for a run's end and show what the command showed; whether it finished, with its folder complete."""
    output, _ = process.communicate(timeout=1800)
    print(output, flush=True)  # noqa: T201
    summary = json.loads((folder / "summary.json").read_text())
    say(json.dumps({key: summary[key] for key in ("status", "steps", "seconds", "weight_version", "accuracy")}))
    return (
        process.returncode == 0
        and summary["status"] == "finished"
        and [json.loads(row)["step"] for row in (folder / "metrics.jsonl").read_text().splitlines()]
        == list(range(1, count + 1))
        and (folder / "checkpoints" / "ppo" / "model.safetensors").is_file()
        and (folder / "report.html").is_file()
    )


def spread(made: Cluster, folder: Path, count: int) -> bool:
    """A run whose actors are on several nodes."""
    process = start(made, folder, count, 2)
    found = homes(made)
    say(f"actors on nodes: { {role: [node[:6] for node in nodes] for role, nodes in found.items()} }")
    return finished(process, folder, count) and len({node for nodes in found.values() for node in nodes}) == 3


def killed(made: Cluster, folder: Path, count: int) -> bool:
    """A run that loses the node of its rollout worker, or else of its solver, in the middle."""
    process = start(made, folder, count, count // 2)
    places, found = node_ids(made), homes(made)
    # The head, place 0, is what the job itself runs on.
    role = next(role for role in ("RolloutWorker", "SolverActor") if places[found[role][0]] > 0)
    lost = [other for other, nodes in found.items() if found[role][0] in nodes]
    made.end(made.nodes[places[found[role][0]]])
    say(f"killed the node of {', '.join(lost)} at step {steps(folder)}")
    return finished(process, folder, count)


def stopped(made: Cluster, folder: Path) -> bool:
    """A run that is stopped in the middle: nothing of it is left."""
    process = start(made, folder, 500, 2)
    say(f"before: {of_the_job(made)}")
    began = time.monotonic()
    stop = submit(made, "--stop", folder.name)
    output, _ = stop.communicate(timeout=120)
    say(f"{output.strip()} ({time.monotonic() - began:.0f} s)")
    while (left := of_the_job(made)) and time.monotonic() - began < GONE_S:
        time.sleep(0.5)
    say(f"after {time.monotonic() - began:.0f} s: actors {homes(made)}, processes {left}")
    followed, _ = process.communicate(timeout=60)
    status = json.loads((folder / "summary.json").read_text())["status"]
    say(f"its own summary: {status}; the follower ended with {process.returncode}: {followed.strip().splitlines()[-1]}")
    return stop.returncode == 0 and not left and not homes(made) and status == "interrupted"


def main() -> int:
    """All three runs; the exit status."""
    parser = argparse.ArgumentParser(prog="tests.cluster.prove", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=24)
    options = parser.parse_args()
    folder, count = options.folder.resolve(), options.steps
    with cluster(cpus=2) as made:
        made.join(cpus=2)
        made.join(cpus=2)
        made.wait()
        good = {"spread": spread(made, folder / "spread", count)}
        # What is lost with the node has to find room on the others.
        made.join(cpus=2)
        made.wait()
        good["killed"] = killed(made, folder / "killed", count)
        good["stopped"] = stopped(made, folder / "stopped")
        say(str(good))
        return 0 if all(good.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
