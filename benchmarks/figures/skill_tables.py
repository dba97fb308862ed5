"""The tables and the picture of where the skill lives, in docs/studies.md.

They are made of the matrix's cells, one a seed (``skill.csv``), and of what each arm was trained on
(``skill_arms.csv``). A cell is named by its solver and its decomposer; that of a model which does both has no
decomposer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from benchmarks.figures.kept import Row, difference, mean_interval, over_seeds, read
from trainer.tracking.statistics import difference_over_seeds

Cell = tuple[str, str]
# By cell, the accuracy by seed.
Accuracies = Mapping[Cell, Mapping[str, float]]

NONE, ONE_START, ONE = ("second", "start"), ("one_start", "none"), ("one", "none")
DECOMPOSER, SOLVER, IN_TURN = ("second", "decomposer"), ("solver", "start"), ("in_turn", "in_turn")
FEWER_SOLVER, FEWER_ONE = ("solver_as_many_tokens", "start"), ("one_as_many_tokens", "none")
TURNS = ("turn_1", "turn_2", "turn_3", "turn_4")


class Arm(NamedTuple):
    """An arm in the table: its name, its cell, the start's cell, and the runs that trained it."""

    name: str
    cell: Cell
    start: Cell
    runs: tuple[str, ...]


ARMS = (
    Arm("nothing: the start", NONE, NONE, ()),
    Arm("the decomposer", DECOMPOSER, NONE, ("decomposer",)),
    Arm("the solver", SOLVER, NONE, ("solver",)),
    Arm("the solver, about as many tokens", FEWER_SOLVER, NONE, ("solver_as_many_tokens",)),
    Arm("both in turn", IN_TURN, NONE, TURNS),
    Arm("nothing: the start of the one model", ONE_START, ONE_START, ()),
    Arm("one model for both", ONE, ONE_START, ("one",)),
    Arm("one model, about as many tokens", FEWER_ONE, ONE_START, ("one_as_many_tokens",)),
)


class Gain(NamedTuple):
    """Name what training brought with a partner: the cell with the trained model, and that with its start instead."""

    trained: str
    partner: str
    after: Cell
    before: Cell


# The first of each trained model is with the partner that it had in training.
GAINS = (
    Gain("decomposer", "second, as in training", DECOMPOSER, NONE),
    Gain("decomposer", "tiny", ("tiny", "decomposer"), ("tiny", "start")),
    Gain("decomposer", "the program", ("program", "decomposer"), ("program", "start")),
    Gain("decomposer", "independent", ("independent", "decomposer"), ("independent", "start")),
    Gain("decomposer", "the trained solver", ("solver", "decomposer"), SOLVER),
    Gain("solver", "the start's decompositions, as in training", SOLVER, NONE),
    Gain("solver", "gold", ("solver", "gold"), ("second", "gold")),
    Gain("solver", "the base's", ("solver", "base"), ("second", "base")),
    Gain("solver", "the trained decomposer's", ("solver", "decomposer"), DECOMPOSER),
    Gain("decomposer, in turn", "the last solver, trained after it", IN_TURN, ("in_turn", "start")),
    Gain("decomposer, in turn", "second, as in its first turn", ("second", "in_turn"), NONE),
    Gain("decomposer, in turn", "tiny", ("tiny", "in_turn"), ("tiny", "start")),
    Gain("decomposer, in turn", "the program", ("program", "in_turn"), ("program", "start")),
    Gain("decomposer, in turn", "independent", ("independent", "in_turn"), ("independent", "start")),
    Gain("solver, in turn", "the decomposer of its last turn", IN_TURN, ("second", "in_turn")),
    Gain("solver, in turn", "the start's", ("in_turn", "start"), NONE),
    Gain("solver, in turn", "gold", ("in_turn", "gold"), ("second", "gold")),
    Gain("solver, in turn", "the base's", ("in_turn", "base"), ("second", "base")),
)


def accuracies(table: Path) -> Accuracies:
    """Return the accuracy of each cell by seed, from ``skill.csv``."""
    found: dict[Cell, dict[str, float]] = {}
    for row in read(table):
        found.setdefault((row["solver"], row["decomposer"]), {})[row["seed"]] = float(row["accuracy"])
    return found


def arms(studies: Path) -> list[Row]:
    """Return each arm's accuracy, its gain over its start, and what it was trained on, as means over the seeds."""
    cells, trained = accuracies(studies / "skill.csv"), read(studies / "skill_arms.csv")
    problems = int(read(studies / "skill.csv")[0]["problems"])
    return [
        {"trained": arm.name, "accuracy": mean_interval(cells[arm.cell], problems)}
        | {"over seeds": over_seeds(cells[arm.cell])}
        | {"gain over its start": difference(cells[arm.start], cells[arm.cell]) if arm.runs else ""}
        | {"trained tokens": _total(trained, arm.runs, "trained_tokens")}
        | {"solver's tokens": _total(trained, arm.runs, "solver_tokens")}
        | {"sampled, first quarter": _end(trained, arm.runs[:1], "sampled_first")}
        | {"sampled, last quarter": _end(trained, arm.runs[-1:], "sampled_last")}
        for arm in ARMS
    ]


def _total(trained: list[Row], runs: tuple[str, ...], column: str) -> str:
    """Return the sum over the runs of an arm, in the mean over the seeds."""
    total = sum(fmean(float(row[column]) for row in trained if row["arm"] == run) for run in runs)
    return f"{total:,.0f}" if runs else ""


def _end(trained: list[Row], runs: tuple[str, ...], column: str) -> str:
    return "".join(f"{fmean(float(row[column]) for row in trained if row['arm'] == run):.2f}" for run in runs)


def transfer(studies: Path) -> list[Row]:
    """Return what each trained model gains over its start with each partner, paired by seed, and how much of the gain
    with the partner that it was trained with that is."""
    cells, rows = accuracies(studies / "skill.csv"), []
    for gain in GAINS:
        own = next(one for one in GAINS if one.trained == gain.trained)
        rows.append(
            {"trained model": gain.trained, "with": gain.partner}
            | {"its start": f"{_mean(cells[gain.before]):.3f}", "trained": f"{_mean(cells[gain.after]):.3f}"}
            | {"gain": difference(cells[gain.before], cells[gain.after])}
            | {"less half the gain as trained": "" if gain is own else difference(*_half_and_gain(cells, own, gain))}
        )
    return rows


def _mean(values: Mapping[str, float]) -> float:
    return fmean(values.values())


def _gain(cells: Accuracies, after: Cell, before: Cell) -> dict[str, float]:
    return {seed: accuracy - cells[before][seed] for seed, accuracy in cells[after].items()}


def _half_and_gain(cells: Accuracies, own: Gain, gain: Gain) -> tuple[dict[str, float], dict[str, float]]:
    half = {seed: value / 2 for seed, value in _gain(cells, own.after, own.before).items()}
    return half, _gain(cells, gain.after, gain.before)


def predictions(studies: Path) -> list[Row]:
    """Return the differences that the predictions of experiment=skill are about, paired by seed."""
    cells = accuracies(studies / "skill.csv")
    in_one, in_decomposer = _gain(cells, ONE, ONE_START), _gain(cells, DECOMPOSER, NONE)
    told = {
        "1": ("decomposer, less the solver on about as many tokens", cells[FEWER_SOLVER], cells[DECOMPOSER]),
        "2, decomposer": ("in turn, less the decomposer alone", cells[DECOMPOSER], cells[IN_TURN]),
        "2, solver": ("in turn, less the solver alone", cells[SOLVER], cells[IN_TURN]),
        "5": ("gain of the one model, less that of the decomposer", in_decomposer, in_one),
    }
    return [
        {"prediction": number, "what is compared": words, "difference": difference(first, second)}
        for number, (words, first, second) in told.items()
    ]


def picture(table: Path) -> Any:
    """Return a figure of the gains in ``skill.csv``: a row a partner, a colour a trained model, a line with ends for
    the 95 % t interval over the seeds, and a dot a seed."""
    from matplotlib.figure import Figure

    from trainer.reports.pictures import plain

    cells = accuracies(table)
    names = list(dict.fromkeys(gain.trained for gain in GAINS))
    places = [index + 0.6 * names.index(gain.trained) for index, gain in enumerate(GAINS)]
    figure = Figure(figsize=(8.0, 1.2 + 0.3 * (places[-1] + 1)), layout="constrained")
    axis = figure.subplots()
    for place, gain in zip(places, GAINS, strict=True):
        colour = f"C{names.index(gain.trained)}"
        over = difference_over_seeds(cells[gain.before], cells[gain.after])
        values = list(_gain(cells, gain.after, gain.before).values())
        axis.plot(values, [place] * len(values), "o", color=colour, markersize=3, alpha=0.4)
        axis.plot([over.low, over.high], [place, place], "|-", color=colour, markersize=8, linewidth=1.5)
        axis.plot(over.mean, place, "o", color=colour, markersize=6)
    axis.axvline(0, color="#9aa0a6", linewidth=1)
    axis.set_yticks(places, [f"{gain.trained}: with {gain.partner}" for gain in GAINS], fontsize=9)
    axis.set(xlabel="gain in held-out accuracy over the start", ylim=(places[-1] + 0.8, -0.8))
    axis.tick_params(axis="y", length=0)
    plain(axis, "x")
    return figure
