"""The proof kit's parts that start actors, in tiny sizes on the CPU.

tests/end_to_end/test_train.py has the part that runs the whole job, and tests/benchmarks/gpu/test_measured_parts.py
those without actors.
"""

from __future__ import annotations

import json
import subprocess
import sys

from conf.schema.places import ROOT


def test_the_parts_with_actors_run_without_a_gpu(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--minutes", "30", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--parts", "push,async,people"], cwd=ROOT, capture_output=True, text=True, timeout=1700, check=False
    )
    logs = {path.name: path.read_text(errors="replace")[-3000:] for path in tmp_path.glob("*.log")}
    assert done.returncode == 0, (done.stdout, logs)
    assert "1/3 push: done" in done.stdout
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("push", "async", "people")}
    states = {name: one["state"] for name, one in found.items()}
    assert states == {"push": "done", "async": "done", "people": "skipped"}

    machine = json.loads((tmp_path / "machine.json").read_text())
    assert machine["gpus"] == []
    assert machine["torch"]

    push = found["push"]["figures"]
    assert push["NCCL"] == {"skipped": "needs two GPUs, 0 here"}
    stored = push["object store"]
    assert 0 < stored["pause ms"] < stored["push ms"]
    assert 3 < stored["MiB"] < 4

    modes = found["async"]["figures"]
    assert modes["max_staleness"] == 1
    assert modes["synchronous"]["step_s"] > 0
    assert modes["asynchronous"]["steps"] == modes["synchronous"]["steps"] > 0

    summary = (tmp_path / "summary.md").read_text()
    assert all(f"| {name} | done |" in summary for name in ("push", "async"))
    assert "| people | skipped: no pretrained model;" in summary
