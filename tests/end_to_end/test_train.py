"""The real thing, small: Ray, two vLLM engines, the reward actor, DeepSpeed, W&B offline."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.gpu.job import run_job
from benchmarks.gpu.task import Task
from conf.schema.places import ROOT
from tests.end_to_end import offline
from trainer.run_folder.files import read_rows
from trainer.tracking.metrics_catalogue import CATALOGUE

SMALL = ["sft.problems=96", "algorithm.batch_size=16", "evaluation.problems=16"]
STEPS = ["algorithm.steps=4", "learner.checkpoint_every=2"]


def command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "launch.train", *SMALL, *overrides]


def lines(path: Path) -> list[dict]:
    """Return the rows of a file; the last line of a run that goes on may be half there."""
    return read_rows(path)


def measure(task: Task) -> None:
    """Run the job as the part "job" of the proof kit for GPUs does, but with more steps, and W&B."""
    copy = f"file://{task.folder}/copy"
    run_job(
        task,
        [
            *SMALL, *STEPS, "evaluation.every=4", "evaluation.subset=8", "rollout.record=true", f"mirror={copy}",
            "tracking.wandb=offline", "tracking.tags=[tests]", "rollout.weights.bucket_mib=0.5",
            "rollout.weights.verify=true",
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("runs")
    task = Task("job", str(folder), str(folder), time.time() + 900)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu.run_part", f"{__name__}:measure", task.encoded()],
        cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "job_run", done


def test_the_run_folder_is_as_promised(finished):
    folder, done = finished
    for name in ("config.yaml", "metrics.jsonl", "episodes.jsonl", "summary.json", "learning_curve.png", "report.html"):
        assert (folder / name).stat().st_size > 0, name
    assert any((folder / "wandb").iterdir())
    assert {path.name for path in (folder / "logs").glob("*.log")} >= {
        "solver-0.log", "rollout-0.log", "reward-0.log", "learner-0.log",
    }  # fmt: skip
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"sft", "step-2", "ppo", "best"}
    assert done.stdout.strip().splitlines()[-1] == str(folder)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.strip() == ""


def test_the_copy_elsewhere_is_the_folder(finished):
    folder, _ = finished

    def files(root: Path) -> dict[Path, bytes]:
        found = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
        return {path.relative_to(root): path.read_bytes() for path in found}

    assert files(folder.parent / "copy" / folder.name) == files(folder)


def test_the_summary_has_what_other_tools_read(finished):
    summary = json.loads((finished[0] / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert (summary["seed"], summary["steps"], summary["n_eval"], summary["weight_version"]) == (0, 4, 16, 4)
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", summary["code"])
    assert set(summary["seconds"]) >= {"start", "sft", "ppo", "evaluate"}
    # What a resumed run goes on from has the seconds of the stage under way.
    kept = json.loads((finished[0] / "checkpoints" / "step-2" / "state.json").read_text())["run"]["summary"]["seconds"]
    assert 0 < kept["ppo"] < summary["seconds"]["ppo"]
    for key in ("direct", "base", "sft", "ppo", "gold", "filler"):
        entry = summary["accuracy"][key]
        assert 0 <= entry["low"] <= entry["mean"] <= entry["high"] <= 1
    assert {"rescued", "broken", "max_staleness_seen"} <= set(summary)


def test_the_kits_part_tells_what_the_run_folder_says(finished):
    found = json.loads((finished[0].parent / "job.json").read_text())
    assert found["state"] == "done"
    figures = found["figures"]
    assert figures["command"]["overrides"].startswith(" ".join(SMALL))
    assert figures["run"] == {"status": "finished", "steps": 4}
    assert set(figures["accuracy"]) == {"direct", "gold", "filler", "base", "sft", "ppo"}
    assert figures["largest"]["policy/engine_logprob_gap"] < 1e-3


def test_metrics_are_the_catalogues_and_within_their_bounds(finished):
    rows = lines(finished[0] / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert set(row) - {"step"} <= set(CATALOGUE)
        assert row["policy/engine_logprob_gap"] < 1e-3
        assert row["staleness/max"] <= 1
    assert max(row["staleness/max"] for row in rows) > 0
    missing = set(CATALOGUE) - set().union(*rows)
    assert not missing


def test_wandb_has_every_metric_of_the_catalogue_at_its_step_and_the_episodes(finished):
    folder, _ = finished
    (found,) = offline.records(folder)
    run = next(record["run"] for record in found if record["type"] == "run")
    assert (run["display_name"], run["tags"]) == ("job_run", ["tests"])
    sent = offline.history(found)
    assert sent == [{"_step": row.pop("step"), **row} for row in lines(folder / "metrics.jsonl")]
    assert set(CATALOGUE) <= set().union(*sent)
    assert offline.summary(found)["status"] == "finished"
    assert offline.summary(found)["learning_curve"]["_type"] == "image-file"
    offline.check_table(folder, offline.episodes_table(folder, found))
    assert found[-1]["exit"]["exit_code"] == 0


def test_the_policy_was_judged_on_the_way(finished):
    rows = [row for row in lines(finished[0] / "metrics.jsonl") if "eval/accuracy" in row]
    assert [row["eval/version"] for row in rows] == [4]
    # No push comes after the last, so every token is by the weights that were judged.
    assert rows[-1]["eval/version_mean"] == 4
    summary = json.loads((finished[0] / "summary.json").read_text())
    best = json.loads((finished[0] / "checkpoints" / "best" / "evaluation.json").read_text())
    assert summary["best"] == best
    assert best["problems"] == 8
    assert best["mean"] == rows[-1]["eval/best"]
    assert (finished[0] / "checkpoints" / "best" / "model.safetensors").is_file()


def test_episodes_can_be_scored_again(finished):
    folder, _ = finished
    episodes = folder / "episodes.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "rewards.score", str(episodes)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    again = [json.loads(line) for line in done.stdout.splitlines()]
    recorded = lines(episodes)
    assert len(again) == len(recorded) > 16
    for now, then in zip(again, recorded, strict=True):
        assert now["total"] == pytest.approx(then["reward"]["total"], abs=1e-6)


def test_the_recorded_run_is_taken_again_from_stage_1s_checkpoint_and_ends_with_the_same_weights(finished, tmp_path):
    folder = tmp_path / "again"
    done = subprocess.run(
        command(
            *STEPS, "stages=[ppo]", f"start_from={finished[0] / 'checkpoints' / 'sft'}", "tracking.wandb=disabled",
            f"rollout.replay={finished[0] / 'recorded.jsonl'}", f"run_dir={folder}",
        ),
        cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    weights = [load_file(run / "checkpoints" / "ppo" / "model.safetensors") for run in (folder, finished[0])]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
