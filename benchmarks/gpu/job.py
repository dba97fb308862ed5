"""Job: the whole default job as a user starts it, in the documented layout, with a few steps of each stage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.gpu.machine import gpus, layout
from benchmarks.gpu.task import Task
from conf.schema.override_text import override
from conf.schema.places import ROOT
from trainer.run_folder.files import read_json, read_rows

# Enough of each stage to see it work; the sizes of a batch are those of the default.
SHORT = ("sft.problems=480", "algorithm.steps=8", "evaluation.problems=96")
ON_A_CPU = ("sft.problems=48", "algorithm.steps=2", "algorithm.batch_size=16", "evaluation.problems=8",
            "solver=program")  # fmt: skip
# Of the metrics, which is the mean over the steps and which is the largest.
MEANS = (
    "policy/engine_logprob_gap_mean", "staleness/mean", "throughput/episodes_s", "throughput/learner_tokens_s",
    "time/pause", "time/weight_push", "time/learn", "time/rollout_wait", "time/learner_wait",
)  # fmt: skip
LARGEST = ("policy/engine_logprob_gap", "policy/ratio_max", "staleness/max")


def measure(task: Task) -> None:
    """Run the job and add what its run folder says; raises RuntimeError with the end of its output if it fails."""
    count = len(gpus())
    run_job(task, [*layout(count), *(SHORT if count else ON_A_CPU)])


def run_job(task: Task, overrides: Sequence[str]) -> None:
    """Run ``launch.train`` and add what its run folder says; raises RuntimeError if it fails."""
    folder = Path(task.folder) / f"{task.part}_run"
    command = [sys.executable, "-m", "launch.train", "tracking.wandb=disabled", *overrides]
    task.add("command", {"overrides": " ".join(overrides)})
    status = subprocess.run([*command, override("run_dir", str(folder))], cwd=ROOT, check=False).returncode
    for name, figures in run_figures(folder).items():
        task.add(name, figures)
    if status:
        raise RuntimeError(f"launch.train ended with status {status}; see {task.part}.log and {folder.name}/logs")


def run_figures(folder: Path) -> dict[str, Any]:
    """Return what a run folder says: its status, seconds and accuracies, and metrics over its steps."""
    summary, rows = read_json(folder / "summary.json"), read_rows(folder / "metrics.jsonl")

    def over_steps(names: Sequence[str], how: Any) -> dict[str, float]:
        found = {name: [row[name] for row in rows if name in row] for name in names}
        return {name: how(values) for name, values in found.items() if values}

    accuracy = {name: entry["mean"] for name, entry in summary.get("accuracy", {}).items()}
    return {
        "run": {"status": summary.get("status", "none"), "steps": len(rows)},
        "seconds": summary.get("seconds", {}),
        "accuracy": accuracy,
        "mean": over_steps(MEANS, fmean),
        "largest": over_steps(LARGEST, max),
    }
