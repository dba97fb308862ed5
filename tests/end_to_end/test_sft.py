"""Stage 1 alone, with the real engines: mixed, screened, measured, killed and gone on with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conf.schema.places import ROOT
from tests.end_to_end.test_resume import finish, kill_all, wait_for
from trainer.tracking.metrics_catalogue import SFT_CATALOGUE

SMALL = [
    "sft.problems=64", "sft.batch_size=8", "sft.epochs=3", "sft.checkpoint_every=2", "sft.held_out.problems=16",
    "sft.held_out.every=8", "sft.held_out.scored=16", "+sft.sources.own={kind: distilled, samples: 2}",
    "solver=program",
]  # fmt: skip


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "launch.sft", f"run_dir={folder}", *SMALL, *overrides],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_fine_tuning_that_was_killed_ends_with_every_step_once_and_a_model_that_is_described(tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    wait_for(process, lambda: (folder / "checkpoints" / "sft_steps" / "step-4").is_dir())
    kill_all(process)
    output = finish(start(folder, "resume=auto"))
    assert "steps of stage 1" in output
    assert "Decompositions beside the reference" in output

    rows = lines(folder / "logs" / "sft.jsonl")
    assert [row["step"] for row in rows] == list(range(25))
    assert {name for row in rows for name in row} - {"step"} == set(SFT_CATALOGUE)
    summary = json.loads((folder / "summary.json").read_text())
    report = summary["sft"]
    assert (summary["status"], report["steps"], report["held_out"]) == ("finished", 24, 16)
    assert report["held_out_loss"]["after"] < report["held_out_loss"]["before"]
    for when in ("before", "after"):
        entry = report["decompositions"][when]["held_out"]
        assert entry["problems"] == 16
        assert 0 < entry["coverage"] <= 1

    own = report["sources"]["own"]
    assert own["sampled"] == own["unusable"] + own["wrong"] + own["repeats"] + own["surplus"] + own["kept"] == 64
    assert 0 < own["kept"] < 64
    kept = lines(folder / "sft" / "own.jsonl")
    assert len(kept) == own["kept"]
    # What was kept is what led to the right answer; the program cannot tell without.
    assert all(row["subquestions"] and row["attempt"] for row in kept)
    examples = lines(folder / "sft" / "examples.jsonl")
    assert [row["source"] for row in examples].count("own") == own["examples"] == 32
    assert {row["id"] for row in examples if row["source"] == "own"} <= {row["id"] for row in kept}

    checkpoint = folder / "checkpoints" / "sft"
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["sft"]
    card = (checkpoint / "README.md").read_text()
    assert "- examples: data 32, own 32" in card
    assert f"| {report['decompositions']['after']['held_out']['coverage']:.3f} |" in card
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 2
    assert pytest.approx(rows[-1]["sft/held_out_loss"]) == report["held_out_loss"]["after"]


def test_another_role_is_fine_tuned_by_the_learner_alone_and_gone_on_with(tmp_path):
    folder = tmp_path / "run"
    command = [
        sys.executable, "-m", "launch.sft", f"run_dir={folder}", "data=chained", "sft.role=verifier", "stages=[sft]",
        "model.path=package:tiny_solver", "sft.problems=64", "sft.batch_size=8", "sft.epochs=4",
        "sft.checkpoint_every=2", "sft.held_out.problems=16",
    ]  # fmt: skip
    settings = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **settings)
    wait_for(process, lambda: (folder / "checkpoints" / "sft_steps" / "step-4").is_dir())
    kill_all(process)
    # Somebody's machine may have less memory by then.
    again = [*command, "resume=auto", "learner.max_tokens_per_microbatch=512"]
    output = finish(subprocess.Popen(again, start_new_session=True, **settings))
    assert "goes on after 4 steps of stage 1" in output or "goes on after 6 steps of stage 1" in output
    assert "requests answered" not in output
    assert {path.name.split(".")[0] for path in (folder / "logs").glob("*-0.log")} == {"learner-0"}
    rows, summary = lines(folder / "logs" / "sft.jsonl"), json.loads((folder / "summary.json").read_text())
    assert [row["step"] for row in rows] == list(range(summary["sft"]["steps"] + 1))
    assert summary["status"] == "finished"
    assert summary["sft"]["held_out_loss"]["after"] < summary["sft"]["held_out_loss"]["before"]
    assert (folder / "checkpoints" / "sft" / "model.safetensors").is_file()
