"""A small real matrix, killed outright after its first cell and started again."""

from __future__ import annotations

import csv
import subprocess
import sys
import time

import psutil

from conf.schema.places import ROOT


def test_a_matrix_that_was_killed_goes_on_where_it_was(tmp_path):
    command = [
        sys.executable, "-m", "launch.evaluate", "matrix=chained", "matrix.run=package:tiny_decomposer",
        "~matrix.solvers.tiny", "~matrix.solvers.second",
        "~matrix.equal_tokens.self_consistency", "matrix.problems=12", f"run_dir={tmp_path}",
        *(f"~matrix.decomposers.{name}" for name in ("sft", "ppo")),
        *(f"~matrix.strategies.{name}" for name in ("self_consistency", "least_to_most", "daslam_no_feedback",
                                                    "dependency_graph")),
    ]  # fmt: skip
    with (tmp_path / "first.log").open("w") as log:
        first = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 900
        while not list(tmp_path.glob("cells/*.json")):
            assert time.monotonic() < deadline
            assert first.poll() is None, (tmp_path / "first.log").read_text()
            time.sleep(0.05)
        family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
        for process in family:
            process.kill()
        first.wait()
        psutil.wait_procs(family, timeout=120)
    finished = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.glob("cells/*.json")}
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stderr == ""
    assert f"3 cells, {len(finished)} of them finished before" in again.stdout
    assert all((path.stat().st_mtime_ns, path.read_bytes()) == before for path, before in finished.items())
    table = {row["strategy"] + "." + row["decomposer"]: row for row in csv.DictReader((tmp_path / "table.csv").open())}
    assert set(table) == {"direct.none", "daslam.base", "daslam.gold"}
    # A program that does one step at a time solves nothing alone, and everything with the gold sub-questions.
    assert float(table["direct.none"]["accuracy"]) == 0
    assert float(table["daslam.gold"]["accuracy"]) == 1
    assert table["daslam.gold"]["gained"] == "12"
    assert (tmp_path / "matrix.png").stat().st_size > 0
