"""The tables of the README and of docs/results.md, from the evaluations of the default job's seeds. Each function takes
the folder of the CSV files and returns rows, each with the text of its cells by column."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures.kept import Row, find, interval, mean_interval, over_seeds, read
from trainer.tracking.statistics import difference_over_seeds

# Of a row of the tables: the kind of evaluation, and whether it depends on the seed.
ROWS = {
    "nothing": ("direct", False),
    "filler sub-questions, as many as gold": ("filler", False),
    "the shipped base as decomposer, prompted, untrained": ("base", False),
    "the SFT decomposer": ("sft", True),
    "**the PPO decomposer**": ("ppo", True),
    "gold sub-questions": ("gold", False),
}
STEPS = ("2", "3", "4", "5", "6")


def evaluations(studies: Path) -> list[Row]:
    """Return the evaluations of the default job's runs."""
    return read(studies / "default.csv")


def of_kind(studies: Path, kind: str, column: str = "accuracy") -> dict[str, float]:
    """Return a column of a kind of evaluation by seed."""
    return {row["seed"]: float(row[column]) for row in evaluations(studies) if row["kind"] == kind}


def summary(studies: Path) -> list[Row]:
    """Return accuracies with their interval over the problems, and over the seeds where it depends on the seed."""
    table = []
    for name, (kind, trained) in ROWS.items():
        values = of_kind(studies, kind)
        told = mean_interval(values)
        table.append(
            {"the frozen solver, with": name, "accuracy": f"**{told}**" if name.startswith("**") else told}
            | {"over seeds": over_seeds(values) if trained else ""}
        )
    return table


def gains(studies: Path) -> list[Row]:
    """Return by how much PPO is above the other rows, paired by seed, with the t interval."""
    ppo = of_kind(studies, "ppo")
    table = []
    for name, kind in (("the prompted base", "base"), ("the SFT decomposer", "sft"), ("gold sub-questions", "gold")):
        over = difference_over_seeds(of_kind(studies, kind), ppo)
        told = f"{over.mean:+.3f} [{over.low:+.3f}, {over.high:+.3f}]".replace("-", "−")
        table.append({"PPO above": name, "difference, over seeds": told})
    return table


def seed_by_seed(studies: Path) -> list[Row]:
    """Return the accuracies of each seed."""
    rows = evaluations(studies)
    kinds = {"base": "base", "SFT": "sft", "PPO": "ppo", "gold": "gold"}
    return [
        {"seed": seed}
        | {name: interval(float(find(rows, seed=seed, kind=kind)["accuracy"])) for name, kind in kinds.items()}
        for seed in of_kind(studies, "ppo")
    ]


def changes(studies: Path) -> list[Row]:
    """Return what the decompositions of each origin are like, and the accuracy by steps: means over the seeds."""
    table = []
    for name, kind in (("base", "base"), ("SFT", "sft"), ("PPO", "ppo"), ("gold", "gold")):

        def mean(column: str, kind: str = kind) -> str:
            values = of_kind(studies, kind, column)
            return f"{sum(values.values()) / len(values):.2f}"

        table.append(
            {"decompositions of": name, "right": mean("right"), "in an order that fails": _rest(mean("ordered"))}
            | {"with a repeat": mean("repeats"), "something needless": mean("needless")}
            | {f"accuracy, {steps} steps": mean(f"steps_{steps}") for steps in STEPS}
            | {"solver's tokens": mean("solver_tokens").partition(".")[0]}
        )
    return table


def _rest(share: str) -> str:
    return f"{1 - float(share):.2f}"
