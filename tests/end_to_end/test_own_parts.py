"""The example's six parts, copied outside the repository, in a real run with Ray actors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conf.schema.places import ROOT

SMALL = [
    "algorithm.steps=2", "algorithm.batch_size=16", "sft.problems=32", "evaluation.problems=8",
    "tracking.wandb=disabled",
]  # fmt: skip


def run(package: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{package}"}
    return subprocess.run(
        [sys.executable, *command], cwd=package.parent, env=environment,
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return Path(shutil.copytree(ROOT / "examples" / "own_parts", tmp_path_factory.mktemp("elsewhere") / "mine"))


@pytest.fixture(scope="module")
def folder(package) -> Path:
    folder = package.parent / "run"
    searched = f"hydra.searchpath=[file://{package / 'conf'}]"
    done = run(package, "-m", "launch.train", searched, "experiment=own_parts", *SMALL, f"run_dir={folder}")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_of_the_six_parts_did_its_work(folder):
    metrics, episodes = lines(folder / "metrics.jsonl"), lines(folder / "episodes.jsonl")
    trained = [row for row in episodes if row["split"] == "train"]
    assert {row["strategy"] for row in trained} == {"own_parts.strategy:voted"}
    assert all(len(row["draws"]) == 3 for row in trained if row["outcome"] == "ok")
    assert all(row["problem"]["meta"]["item"] in ("pens", "cups", "coins", "books") for row in episodes)
    assert json.loads((folder / "summary.json").read_text())["solver"]["completion_tokens"] > 0
    assert [row["step"] for row in metrics] == [1, 2]
    assert all(0 < row["reward/brevity/mean"] <= 1 for row in metrics)
    assert (folder / "accuracy.txt").read_text().splitlines()[-1] == "finished"
    assert len((folder / "accuracy.txt").read_text().splitlines()) == 3


def test_an_own_part_of_the_reward_is_in_the_page_and_can_be_explained(package, folder):
    assert "brevity" in (folder / "report.html").read_text()
    own = ["--parts", "brevity=own_parts.reward_part:brevity", "--weights", "brevity=0.1"]
    done = run(package, "-m", "rewards.explain", f"{folder}/episodes.jsonl", *own)
    assert done.returncode == 0, done.stderr
    assert "brevity" in done.stdout


REFUSED = [
    ("strategy.name", "own_parts.strategy:nobody", "cannot be imported (AttributeError"),
    ("solver.backend", "own_parts.nothing:Mine", "cannot be imported (ModuleNotFoundError"),
    ("rewards.parts.brevity", "own_parts.reward_part:WORDS", "must point to a function or a class, and is a int"),
    ("data.source", "__main__:Mine", "must not be of __main__"),
    ("algorithm.advantage", "own_parts.advantage:", "must have the form package.module:attribute"),
    ("tracking.also.text", "no.such:Tracker", "cannot be imported (ModuleNotFoundError"),
]


def test_a_wrong_name_is_refused_in_one_line_before_anything_starts(package):
    folder = package.parent / "refused"
    common = [f"hydra.searchpath=[file://{package / 'conf'}]", "experiment=own_parts", f"run_dir={folder}"]
    commands = [[*common, f"{key}='{name}'"] for key, name, _ in REFUSED]
    # One process for all: most of a command's time is the imports'.
    script = "import json, sys; from launch.train import main; print([main(one) for one in json.loads(sys.argv[1])])"
    done = run(package, "-c", script, json.dumps(commands))
    assert done.stdout.strip() == str([2] * len(REFUSED)), done.stderr
    for line, (key, name, reason) in zip(done.stderr.strip().splitlines(), REFUSED, strict=True):
        assert line.startswith(f"{key}: '{name}' is not allowed: {reason}")
    assert not folder.exists()
