"""The same matrix with several training seeds: a table over the seeds as Markdown and CSV, differences paired by seed,
and a picture."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from launch.evaluate.matrix_table import (
    CELL,
    Result,
    accuracy,
    cell_label,
    couple,
    couples,
    means,
    rounded,
    share,
    span,
    write_tables,
)
from trainer.reports.pictures import OTHER_COLOUR, literal, plain
from trainer.reports.tables import markdown
from trainer.tracking.statistics import difference_over_seeds, mean_over_seeds

# A cell's results, one a seed, in the order of the folders.
Replicates = Sequence[Result]
# The matrix's axes, in the order of ``CELL``.
AXES = ("data", "solvers", "strategies", "decomposers")
# How the picture shows them.
MEAN: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": ""}
SEEDS: dict[str, Any] = {"marker": "|", "markersize": 8, "linewidth": 1.5}
PROBLEMS: dict[str, Any] = {"linewidth": 8, "alpha": 0.3, "solid_capstyle": "butt"}
FIGURES = ("policy_tokens", "solver_tokens", "verifier_tokens", "tokens", "subquestions", "rewritten")
ABOUT = (
    "A row is a cell over all seeds, one seed a folder. Accuracy is the mean over seeds. The interval over seeds is a "
    "95 % t interval, clipped to 0 and 1: how well these seeds tell the mean over all seeds, on these problems. There "
    "is none where all seeds are alike, as where neither strategy nor decomposer depends on the seed. The interval "
    "over problems is Wilson's 95 % interval of the mean, with the number of problems of one seed, since all seeds "
    "have the same: how well these problems tell the mean over all problems, with these seeds. Tokens, sub-questions "
    "and those that the verifier had written again are means an episode. replicates_pairs.csv has the differences of "
    "every two cells of one solver and data set, paired by seed."
)


def write(out: Path, folders: Sequence[Path], cells: Sequence[Replicates]) -> Path:
    """Write replicates.csv, replicates_pairs.csv, replicates.md and replicates.png; return the Markdown file's path.
    The cells come in the order of the first folder's matrix.yaml, where there is one."""
    cells = _in_order(folders[0] / "matrix.yaml", cells)
    rows = [line(cell) for cell in cells]
    write_tables(out, {"replicates": rows, "replicates_pairs": pairs(cells)})
    path = out / "replicates.md"
    path.write_text(page(folders, rows), encoding="utf-8")
    picture(out / "replicates.png", rows)
    return path


def _in_order(matrix: Path, cells: Sequence[Replicates]) -> list[Replicates]:
    """Return the cells in the order of a matrix's axes; what it does not name comes last."""
    config = yaml.safe_load(matrix.read_text(encoding="utf-8")) if matrix.is_file() else {}
    axes = [list(config.get("matrix", {}).get(axis, ())) for axis in AXES]

    def place(cell: Replicates) -> list[int]:
        names = [cell[0][name] for name in CELL]
        return [axis.index(name) if name in axis else len(axis) for axis, name in zip(axes, names, strict=True)]

    return sorted(cells, key=place)


def line(cell: Replicates) -> dict[str, Any]:
    """Return a cell's line: the mean accuracy over seeds with its interval over problems (``low``, ``high``), that
    over seeds (``seed_low``, ``seed_high``), the lowest and the highest seed, and means over all episodes."""
    scores = _scores(cell)
    over = mean_over_seeds(scores, share=True)
    # The same problems are in each: more seeds are not more problems.
    found = {name: cell[0][name] for name in CELL} | share(scores, accuracy(cell[0])["problems"])
    found |= {"seed_low": over.low, "seed_high": over.high}
    found |= {"lowest": min(scores), "highest": max(scores), "seeds": over.seeds}
    figures = means([row for result in cell for row in result["rows"]])
    return found | {name: figures[name] for name in FIGURES}


def pairs(cells: Sequence[Replicates]) -> list[dict[str, Any]]:
    """Return by how much the second is above the first of every two cells of one solver and data set, seed by seed: the
    mean and its 95 % t interval."""
    by_name = {tuple(cell[0][name] for name in CELL): dict(enumerate(_scores(cell))) for cell in cells}
    rows = []
    for first, second in couples([cell[0] for cell in cells]):
        one, other = (by_name[tuple(result[name] for name in CELL)] for result in (first, second))
        over = difference_over_seeds(one, other)
        difference = {"difference": over.mean, "seed_low": over.low, "seed_high": over.high, "seeds": over.seeds}
        rows.append(couple(first, second) | difference)
    return rows


def _scores(cell: Replicates) -> list[float]:
    return [float(accuracy(result)["accuracy"]) for result in cell]


def page(folders: Sequence[Path], rows: Sequence[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    judged = any(row["rewritten"] is not None for row in rows)
    table = [
        {name: row[name] for name in CELL}
        | {"accuracy": row["accuracy"], "95 % over seeds": span(row["seed_low"], row["seed_high"])}
        | {"95 % over problems": span(row["low"], row["high"]), "lowest – highest": span(row["lowest"], row["highest"])}
        | {"seeds": row["seeds"], "policy tokens": rounded(row["policy_tokens"], 0)}
        | {"solver tokens": rounded(row["solver_tokens"], 0)}
        | ({"verifier tokens": rounded(row["verifier_tokens"], 0)} if judged else {})
        | {"all tokens": rounded(row["tokens"], 0), "sub-questions": rounded(row["subquestions"], 2)}
        | ({"rewritten": rounded(row["rewritten"], 2)} if judged else {})
        for row in rows
    ]
    named = "\n".join(f"- {folder}" for folder in folders)
    return "\n\n".join(["# Over seeds", ABOUT, markdown(list(table[0]), table), f"The folders:\n\n{named}"]) + "\n"


def picture(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw a row a cell, a colour a decomposer: the mean accuracy, a pale bar for the interval over problems, and over
    it a line with ends for the one over seeds; a gap between solvers and data sets."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    decomposers = list(dict.fromkeys(row["decomposer"] for row in rows))
    panels = [(row["data"], row["solver"]) for row in rows]
    gaps = [0.0, *(0.7 * (one != other) for one, other in itertools.pairwise(panels))]
    places = [index + sum(gaps[: index + 1]) for index in range(len(rows))]
    labels = _labels(rows)
    width = 6.5 + 0.075 * max(map(len, labels))
    figure = Figure(figsize=(width, 1.4 + 0.27 * (places[-1] + 1)), layout="constrained")
    axis = figure.subplots()
    for place, row in zip(places, rows, strict=True):
        colour = f"C{decomposers.index(row['decomposer']) % 10}"
        axis.plot([row["low"], row["high"]], [place, place], color=colour, **PROBLEMS)
        if row["seed_low"] is not None:
            axis.plot([row["seed_low"], row["seed_high"]], [place, place], color=colour, **SEEDS)
        axis.plot(row["accuracy"], place, color=colour, **MEAN)
        far = max(row["high"], row["seed_high"] or 0.0)
        said = rounded(row["accuracy"], 3)
        axis.annotate(said, (far, place), (6, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(places, [literal(name) for name in labels], fontsize=9)
    axis.set(xlabel="accuracy", ylim=(places[-1] + 0.8, -0.8))
    axis.margins(x=0.08)
    axis.tick_params(axis="y", length=0)
    plain(axis, "x")
    styles = {"mean over seeds": MEAN, "95 % over seeds": SEEDS, "95 % over problems": PROBLEMS}
    kinds = [Line2D([], [], color=OTHER_COLOUR, label=name, **style) for name, style in styles.items()]
    figure.legend(handles=kinds, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    figure.savefig(path, dpi=120)


def _labels(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the rows' names: data set and solver only where there are several of them."""
    several = [name for name in CELL[:2] if len({row[name] for row in rows}) > 1]
    return [", ".join([*(row[name] for name in several), cell_label(row).replace("_", " ")]) for row in rows]
