"""The tables of the README and of docs/results.md.

They are made of the evaluations of the default job's seeds (``default.csv``), of those without stage 1
(``default_from_base.csv``), of the matrix of what it is compared with (``baselines.csv``, ``baselines_pairs.csv``) and
of that of solvers not seen in training (``unseen.csv``, ``unseen_pairs.csv``; ``default_again.csv`` has the training's
own solver).
Each function takes the folder of the CSV files and returns rows, each with the text of its cells by column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.figures.kept import Row, cell_over_seeds, find, interval, mean_interval, over_seeds, read
from trainer.tracking.statistics import difference_over_seeds

# Of a row of the tables: its cell of the matrix, strategy and decomposer.
CELLS = {
    "nothing": ("direct", "none"),
    "no sub-questions; majority vote over repeated answers, on as many tokens as PPO's row": (
        "self_consistency",
        "none",
    ),
    "the shipped base as decomposer, prompted, untrained": ("daslam", "base"),
    "the SFT decomposer (2,000 examples)": ("daslam", "sft"),
    "SFT on 8,000 examples": ("daslam", "sft_longest"),
    "SFT, then two rounds of answer-screened self-distillation on as many episodes as PPO": ("daslam", "distilled"),
    "PPO straight from the base": ("daslam", "ppo_from_base"),
    "**SFT, then PPO: the default**": ("daslam", "ppo"),
    "gold sub-questions": ("daslam", "gold"),
}
FILLER = "filler sub-questions, as many as gold"
OTHERS = {
    "the prompted base": "base",
    "SFT": "sft",
    "SFT on 8,000 examples": "sft_longest",
    "self-distillation": "distilled",
    "PPO straight from the base": "ppo_from_base",
    "gold sub-questions": "gold",
}
# What a solver of the table of unseen solvers answers with.
WITH = {
    "nothing": ("direct", "none"),
    "the prompted base": ("daslam", "base"),
    "the SFT decomposer": ("daslam", "sft"),
    "**the PPO decomposer**": ("daslam", "ppo"),
    "gold sub-questions": ("daslam", "gold"),
}
# The solver of the training.
TRAINING = "tiny"
GAINS = (("base", "ppo"), ("sft", "ppo"), ("ppo", "gold"))
STEPS = ("2", "3", "4", "5", "6")


def summary(studies: Path) -> list[Row]:
    """Return accuracies with their interval over the problems, and over the seeds where they depend on the seed."""
    cells = read(studies / "baselines.csv")
    (filler,) = {row["accuracy"] for row in read(studies / "default.csv") if row["kind"] == "filler"}
    table = []
    for name, (strategy, decomposer) in CELLS.items():
        cell = find(cells, solver="tiny", strategy=strategy, decomposer=decomposer)
        told = interval(float(cell["accuracy"]))
        table.append(
            {"the frozen solver, with": name, "accuracy": f"**{told}**" if name.startswith("**") else told}
            | {"over seeds": cell_over_seeds(cell)}
        )
    table.insert(2, {"the frozen solver, with": FILLER, "accuracy": interval(float(filler)), "over seeds": ""})
    return table


def gains(studies: Path) -> list[Row]:
    """Return by how much PPO is above the other rows, paired by seed, with the t interval."""
    pairs = read(studies / "baselines_pairs.csv")
    return [
        {"PPO above": name, "difference, over seeds": above(pairs, decomposer, "ppo")}
        for name, decomposer in OTHERS.items()
    ]


def unseen(studies: Path) -> list[Row]:
    """Return what each solver answers with each decomposer, with both intervals: first the solver of the training, then
    those that were not in it."""
    cells, again = read(studies / "unseen.csv"), _again(studies)
    table = []
    for solver in (TRAINING, *_solvers(cells)):
        for name, (strategy, decomposer) in WITH.items():
            if solver == TRAINING:
                values = again["direct" if decomposer == "none" else decomposer]
                told, over = mean_interval(values), over_seeds(values) if len(set(values.values())) > 1 else ""
            else:
                cell = find(cells, solver=solver, strategy=strategy, decomposer=decomposer)
                told, over = interval(float(cell["accuracy"])), cell_over_seeds(cell)
            told = f"**{told}**" if name.startswith("**") else told
            table.append({"solver": f"`{solver}`", "with": name, "accuracy": told, "over seeds": over})
    return table


def unseen_gains(studies: Path) -> list[Row]:
    """Return by how much PPO is above the base and SFT with each solver, paired by seed, with the t interval, and the
    share of the distance from the base to gold that this is."""
    pairs, cells, again = read(studies / "unseen_pairs.csv"), read(studies / "unseen.csv"), _again(studies)
    table = []
    for solver in (TRAINING, *_solvers(cells)):
        if solver == TRAINING:
            means = {kind: fmean(values.values()) for kind, values in again.items()}
            gains = [_signed(again[lower], again[upper]) for lower, upper in GAINS]
        else:
            means = {row["decomposer"]: float(row["accuracy"]) for row in cells if row["solver"] == solver}
            gains = [above(pairs, lower, upper, solver) for lower, upper in GAINS]
        closed = (means["ppo"] - means["base"]) / (means["gold"] - means["base"])
        named = zip(("PPO above the prompted base", "PPO above SFT", "gold above PPO"), gains, strict=True)
        table.append({"solver": f"`{solver}`", **dict(named), "distance closed": f"{closed:.2f}"})
    return table


def _again(studies: Path) -> dict[str, dict[str, float]]:
    """Return the accuracies by seed of each kind of evaluation of the runs whose decomposers met other solvers."""
    found: dict[str, dict[str, float]] = {}
    for row in read(studies / "default_again.csv"):
        found.setdefault(row["kind"], {})[row["seed"]] = float(row["accuracy"])
    return found


def _signed(first: Mapping[str, float], second: Mapping[str, float]) -> str:
    over = difference_over_seeds(first, second)
    return _in_brackets(over.mean, over.low, over.high)


def _in_brackets(mean: float, low: float | None, high: float | None) -> str:
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")


def _solvers(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["solver"] for row in rows))


def above(pairs: Sequence[Row], lower: str, upper: str, solver: str = TRAINING) -> str:
    """Return by how much one decomposer is above another, whichever of them the pair names first."""
    names = [f"daslam · {lower}", f"daslam · {upper}"]
    (pair,) = [row for row in pairs if row["solver"] == solver and {row["first"], row["second"]} == set(names)]
    ends = [float(pair[column]) for column in ("difference", "seed_low", "seed_high")]
    mean, low, high = ends if pair["second"] == names[1] else (-ends[0], -ends[2], -ends[1])
    return _in_brackets(mean, low, high)


def seed_by_seed(studies: Path) -> list[Row]:
    """Return the accuracies of each seed."""
    rows = read(studies / "default.csv")
    kinds = {"base": "base", "SFT": "sft", "PPO": "ppo", "gold": "gold"}
    return [
        {"seed": seed}
        | {name: interval(float(find(rows, seed=seed, kind=kind)["accuracy"])) for name, kind in kinds.items()}
        for seed in dict.fromkeys(row["seed"] for row in rows)
    ]


def changes(studies: Path) -> list[Row]:
    """Return what the decompositions of each origin are like, and the accuracy by steps: means over the seeds."""
    own, from_base = read(studies / "default.csv"), read(studies / "default_from_base.csv")
    origins = {"base": (own, "base"), "SFT": (own, "sft"), "PPO": (own, "ppo"), "PPO from the base": (from_base, "ppo")}
    table = []
    for name, (rows, kind) in (origins | {"gold": (own, "gold")}).items():

        def mean(column: str, rows: list[Row] = rows, kind: str = kind) -> float:
            return fmean(float(row[column]) for row in rows if row["kind"] == kind)

        table.append(
            {"decompositions of": name, "right": f"{mean('right'):.2f}"}
            | {"in an order that fails": f"{1 - mean('ordered'):.2f}"}
            | {"with a repeat": f"{mean('repeats'):.2f}", "something needless": f"{mean('needless'):.2f}"}
            | {f"accuracy, {steps} steps": f"{mean(f'steps_{steps}'):.2f}" for steps in STEPS}
            | {"solver's tokens": f"{mean('solver_tokens'):.0f}"}
        )
    return table


def examples(studies: Path) -> list[Row]:
    """Return the accuracy after fine-tuning on so many examples, a mean over the seeds that there are."""
    rows, table = read(studies / "examples.csv"), []
    for count in dict.fromkeys(row["examples"] for row in rows):
        values = {row["seed"]: float(row["accuracy"]) for row in rows if row["examples"] == count}
        several = len(set(values.values())) > 1
        table.append(
            {"examples": f"{int(count):,}" if count != "0" else "0 (the base)", "seeds": ", ".join(values)}
            | {"accuracy": mean_interval(values), "over seeds": over_seeds(values) if several else ""}
        )
    return table
