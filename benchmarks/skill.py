"""Run the study of where the skill lives: ``python -m benchmarks.skill FOLDER [--seeds 0,1,2,3,4] [OVERRIDE ...]``.

For each seed, in turn: the two starts are fine-tuned, every arm of ``experiment=skill`` is trained by PPO, and
``matrix=skill`` evaluates their decomposers and solvers with those that they never saw. Every run has a folder of its
own, FOLDER/ARM/seed=N. The same command goes on where it was stopped; it takes finished runs from there. At the end
FOLDER has the tables of ``launch.evaluate.replicates`` over the seeds, ``cells.csv`` with each seed's cells, and
``arms.csv`` with what each arm was trained on. OVERRIDES are of all runs.

What is expected is in conf/experiment/skill.yaml, results are in docs/studies.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.figures.kept import read
from conf.schema.override_text import override
from launch.evaluate.matrix_table import write_tables
from trainer.run_folder.files import read_json, read_rows

# Of an arm in experiment=skill, and the turns that share them.
STEPS = 16
TURNS = 4
# Of an arm's 16 steps of 64 episodes, those whose tokens are as many as the decomposer's.
AS_MANY_TOKENS = {"solver": 16, "one": 16}
ONE = [
    "strategy=monolith", "strategy.max_tokens=384", "policy.plays=both", "model.path=package:tiny_branched_monolith",
]  # fmt: skip
SOLVER_START = "package:tiny_branched_second_solver"
# Of a cell in the matrix's table.
CELL = ("solver", "strategy", "decomposer")
FIGURES = ("problems", "accuracy", "subquestions", "policy_tokens", "solver_tokens")


def arms(folder: Path, seed: int) -> dict[str, list[str]]:
    """Return each arm's overrides of ``experiment=skill``, in an order in which they can be run."""

    def trained(arm: str, stage: str = "ppo") -> str:
        return str(folder / arm / f"seed={seed}" / "checkpoints" / stage)

    def decomposer(solver: str) -> list[str]:
        return [override("solver.path", solver)]

    def solver(decomposer: str) -> list[str]:
        return ["policy.plays=solver", "policy.decomposer=solver", override("solver.path", decomposer)]

    start, one_start = trained("start", "sft"), trained("one_start", "sft")
    ppo, short = "stages=[ppo]", f"algorithm.steps={STEPS // TURNS}"
    found = {
        "start": ["stages=[sft]"],
        "decomposer": [ppo, override("start_from", start)],
        "solver": [ppo, *solver(start), override("model.path", SOLVER_START)],
        "turn_1": [ppo, short, override("start_from", start)],
        "turn_2": [ppo, short, *solver(trained("turn_1")), override("model.path", SOLVER_START)],
        "turn_3": [ppo, short, *decomposer(trained("turn_2")), override("start_from", trained("turn_1"))],
        "turn_4": [ppo, short, *solver(trained("turn_3")), override("start_from", trained("turn_2"))],
        "one_start": ["stages=[sft]", "sft.role=monolith", *ONE],
        "one": [ppo, *ONE, override("start_from", one_start)],
    }
    for arm, size in AS_MANY_TOKENS.items():
        found[f"{arm}_as_many_tokens"] = [*found[arm], f"algorithm.batch_size={size}"]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.skill", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the runs are, or go on")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="commas between")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="of all runs, such as tracking.wandb=disabled")
    options = parser.parse_intermixed_args(arguments)  # overrides may follow --seeds
    folder: Path = options.folder.resolve()
    seeds = [int(text) for text in options.seeds.split(",")]
    for seed in seeds:
        for arm, own in arms(folder, seed).items():
            run = folder / arm / f"seed={seed}"
            if read_json(run / "summary.json").get("status") == "finished":
                continue
            sys.stdout.write(f"seed {seed}: {arm}\n")
            sys.stdout.flush()
            given = ["experiment=skill", *own, *options.overrides]
            _run("launch.train", [*given, f"seed={seed}", override("run_dir", str(run)), "resume=auto"])
        matrix = ["matrix=skill", override("matrix.run", str(folder)), f"seed={seed}"]
        _run("launch.evaluate", [*matrix, override("run_dir", str(_matrix(folder, seed))), *options.overrides])
    tables = [str(_matrix(folder, seed)) for seed in seeds]
    _run("launch.evaluate.replicates", [*tables, "--out", str(folder)])
    write_tables(folder, {"cells": evaluated(folder, seeds), "arms": trained_on(folder, seeds)})
    return 0


def _matrix(folder: Path, seed: int) -> Path:
    return folder / "matrix" / f"seed={seed}"


def _run(module: str, arguments: Sequence[str]) -> None:
    """Run a command of this project. Raises SystemExit with its exit status where that is not 0."""
    status = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
    if status:
        raise SystemExit(status)


def evaluated(folder: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return a row for each seed and cell of its matrix, with the accuracy over all problems and by number of steps."""
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        steps: dict[tuple[str, ...], dict[str, str]] = {}
        for group in read(_matrix(folder, seed) / "groups.csv"):
            if group["by"] == "steps":
                own = steps.setdefault(tuple(group[name] for name in CELL), {})
                own[f"steps_{group['group']}"] = group["accuracy"]
        for row in read(_matrix(folder, seed) / "table.csv"):
            cell = {name: row[name] for name in CELL}
            figures = {name: row[name] for name in FIGURES}
            rows.append({"seed": seed, **cell, **figures, **steps[tuple(cell.values())]})
    return rows


def trained_on(folder: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return for each arm and seed the learner's steps, the episodes and tokens that it was trained on, the tokens that
    solvers wrote for it, and sampled accuracy in the first and the last quarter of the steps."""
    rows = []
    for seed in seeds:
        for arm in arms(folder, seed):
            steps = read_rows(folder / arm / f"seed={seed}" / "metrics.jsonl")
            steps = [row for row in steps if row.get("tokens/policy") is not None]
            if not steps:
                continue
            quarter = max(1, len(steps) // 4)
            accuracy = [row["episode/accuracy_final"] for row in steps]
            rows.append(
                {"arm": arm, "seed": seed, "steps": len(steps)}
                | {"trained_tokens": round(sum(row["tokens/policy"] for row in steps))}
                | {"solver_tokens": round(sum(row["tokens/solver"] for row in steps))}
                | {"sampled_first": round(fmean(accuracy[:quarter]), 4)}
                | {"sampled_last": round(fmean(accuracy[-quarter:]), 4)}
            )
    return rows


if __name__ == "__main__":
    sys.exit(main())
