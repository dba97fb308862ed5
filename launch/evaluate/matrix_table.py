"""What a matrix found: one table as Markdown and CSV, paired tests, results by group, and a picture."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from conf.schema.matrix import Matrix
from launch.evaluate.matrix import GROUPS
from trainer.tracking.statistics import holm, mcnemar, pass_at_k, wilson

Result = dict[str, Any]
NAMES = ("data", "solver", "strategy", "decomposer")


def write(folder: Path, results: Sequence[Result], matrix: Matrix) -> Path:
    """Write table.csv, pairs.csv, groups.csv, table.md and matrix.png; the Markdown file's path."""
    rows = [summary(result, _baseline(results, result, matrix), matrix) for result in results]
    _csv(folder / "table.csv", rows)
    tests = pairs(results)
    if tests:
        _csv(folder / "pairs.csv", tests)
    grouped = [row for result in results for row in by_group(result)]
    if grouped:
        _csv(folder / "groups.csv", grouped)
    path = folder / "table.md"
    path.write_text(markdown(rows, grouped, matrix), encoding="utf-8")
    picture(folder / "matrix.png", rows)
    return path


def per_problem(result: Result) -> dict[str, list[float]]:
    """Marks of every sample, by problem, in the problems' order."""
    marks: dict[str, list[float]] = {}
    for row in result["rows"]:
        marks.setdefault(row["problem"], []).append(row["correct"])
    return marks


def discordant(first: Result, second: Result) -> tuple[int, int]:
    """Problems that only ``first``, and only ``second``, got fully right; of several samples the first counts."""
    one, other = per_problem(first), per_problem(second)
    shared = [(one[name][0] >= 1, other[name][0] >= 1) for name in one if name in other]
    return sum(a and not b for a, b in shared), sum(b and not a for a, b in shared)


def _baseline(results: Sequence[Result], of: Result, matrix: Matrix) -> Result | None:
    """The solver alone on the same problems."""
    same = [r for r in results if (r["data"], r["solver"]) == (of["data"], of["solver"])]
    return next((result for result in same if result["strategy"] == matrix.baseline), None)


def summary(result: Result, baseline: Result | None, matrix: Matrix) -> dict[str, Any]:
    """A cell's line. The interval is Wilson's over problems: samples of one problem are no independent trials.
    ``rescued`` and ``broken`` count problems that only this cell, and only the baseline, got right."""
    rows, marks = result["rows"], per_problem(result)
    accuracy = wilson(sum(fmean(values) for values in marks.values()), len(marks))
    line: dict[str, Any] = {name: result[name] for name in NAMES}
    line |= {"problems": len(marks), "accuracy": accuracy["mean"], "low": accuracy["low"], "high": accuracy["high"]}
    if baseline is not None and baseline is not result:
        broken, rescued = discordant(baseline, result)
        line |= {"rescued": rescued, "broken": broken, "p_baseline": mcnemar(rescued, broken)}
    else:
        line |= {"rescued": None, "broken": None, "p_baseline": None}
    counted = {k: [sum(mark >= 1 for mark in values) for values in marks.values()] for k in matrix.pass_at if k > 1}
    line |= {f"pass@{k}": fmean(pass_at_k(matrix.samples, n, k) for n in right) for k, right in counted.items()}
    asked = [row["subquestions"] for row in rows if row["subquestions"] is not None]
    line["subquestions"] = fmean(asked) if asked else None
    for name in ("solver_tokens", "solver_prompt_tokens", "policy_tokens"):
        line[name] = fmean(row[name] for row in rows)
    line["cost"] = sum(row["cost"] for row in rows)
    line["solver_failures"] = sum(row["outcome"] != "ok" for row in rows)
    line["errors"] = sum(row["error"] is not None for row in rows)
    return line


def pairs(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Every two cells of one solver and data set, compared on the same problems; p adjusted over all (Holm)."""
    rows = []
    for first, second in itertools.combinations(results, 2):
        if (first["data"], first["solver"]) == (second["data"], second["solver"]):
            only_first, only_second = discordant(first, second)
            rows.append(
                {"data": first["data"], "solver": first["solver"], "first": _label(first), "second": _label(second),
                 "only_first": only_first, "only_second": only_second, "p": mcnemar(only_first, only_second)}
            )  # fmt: skip
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return rows


def by_group(result: Result) -> list[dict[str, Any]]:
    """Accuracy by number of steps, subject and level, where the data set has them."""
    rows = []
    for name in GROUPS:
        groups: dict[str, list[float]] = {}
        for row in result["rows"]:
            if row.get(name) is not None:
                groups.setdefault(str(row[name]), []).append(row["correct"])
        for group, marks in sorted(groups.items()):
            problems = len({row["problem"] for row in result["rows"] if str(row.get(name)) == group})
            found = wilson(fmean(marks) * problems, problems)
            rows.append(
                {**{key: result[key] for key in NAMES}, "by": name, "group": group, "problems": problems,
                 "accuracy": found["mean"], "low": found["low"], "high": found["high"]}
            )  # fmt: skip
    return rows


def _label(row: dict[str, Any]) -> str:
    return f"{row['strategy']} · {row['decomposer']}"


def _csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def markdown(rows: Sequence[dict[str, Any]], grouped: Sequence[dict[str, Any]], matrix: Matrix) -> str:
    """The table, and results by group, for people."""
    passes = [f"pass@{k}" for k in matrix.pass_at if k > 1]
    head = ["data", "solver", "strategy", "decomposer", "accuracy", "95 %", *passes, "rescued", "broken", "p",
            "solver tokens", "cost", "failures"]  # fmt: skip
    lines = ["# Evaluation", "", _about(matrix), "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [*(row[name] for name in NAMES), f"{row['accuracy']:.3f}", f"{row['low']:.3f} – {row['high']:.3f}",
                 *(f"{row[name]:.3f}" for name in passes), *(_shown(row[name]) for name in ("rescued", "broken")),
                 _p(row["p_baseline"]), f"{row['solver_tokens']:.0f}", f"{row['cost']:.4g}",
                 row["solver_failures"] + row["errors"]]  # fmt: skip
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    for name in GROUPS:
        own = [row for row in grouped if row["by"] == name]
        groups = sorted({row["group"] for row in own})
        if not groups:
            continue
        lines += ["", f"## By {name}", "", f"| data | solver | strategy | decomposer | {' | '.join(groups)} |",
                  "|---" * (len(NAMES) + len(groups)) + "|"]  # fmt: skip
        cells_of: dict[tuple[str, ...], dict[str, float]] = {}
        for row in own:
            cells_of.setdefault(tuple(row[key] for key in NAMES), {})[row["group"]] = row["accuracy"]
        for names, found in cells_of.items():
            shown = (f"{found[group]:.2f}" if group in found else "" for group in groups)
            lines.append(f"| {' | '.join((*names, *shown))} |")
    return "\n".join(lines) + "\n"


def _about(matrix: Matrix) -> str:
    return (
        f"Up to {matrix.problems} held-out problems a cell, the same for all, {matrix.samples} sample(s) each; 95 % "
        f"intervals are Wilson's. Rescued and broken: problems that this cell alone, and that `{matrix.baseline}` "
        "alone, got right; p: exact McNemar test of the two, not adjusted for there being several (pairs.csv is). "
        "Tokens are means an episode; failures are episodes that the solver ended or that could not be scored."
    )


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _p(value: float | None) -> str:
    return "" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def picture(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A panel for each data set and solver, a group of bars for each strategy, in it a bar with its interval for each
    decomposer; the same places in all panels."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((row["data"], row["solver"]) for row in rows))
    places = _places(rows)
    decomposers = list(dict.fromkeys(row["decomposer"] for row in rows))
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(3.6 * columns + 1.6, (0.24 * len(places) + 1.3) * lines + 0.4), layout="constrained")
    axes = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
    drawn: dict[str, Any] = {}
    for axis, panel in zip(axes, panels, strict=False):
        for row in rows:
            if (row["data"], row["solver"]) != panel:
                continue
            place = places[row["strategy"], row["decomposer"]]
            colour = f"C{decomposers.index(row['decomposer']) % 10}"
            error = [[max(0.0, row["accuracy"] - row["low"])], [max(0.0, row["high"] - row["accuracy"])]]
            bar = axis.barh(place, row["accuracy"], color=colour, alpha=0.8, height=0.85)
            axis.errorbar(row["accuracy"], place, xerr=error, color="#202124", linewidth=1, capsize=2)
            axis.text(row["high"] + 0.02, place, f"{row['accuracy']:.2f}", va="center", fontsize=8)
            drawn.setdefault(row["decomposer"], bar)
        axis.set(title=f"{panel[0]}, solver {panel[1]}", xlim=(0, 1.15), xlabel="accuracy, 95 % interval")
        axis.set_xticks([0, 0.5, 1])
        axis.tick_params(axis="y", length=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", alpha=0.2)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    groups: dict[str, list[float]] = {}
    for (strategy, _), place in places.items():
        groups.setdefault(strategy, []).append(place)
    axes[0].set_yticks([fmean(own) for own in groups.values()], [name.replace("_", " ") for name in groups])
    axes[0].set_ylim(max(places.values()) + 0.8, -0.8)
    figure.legend(
        drawn.values(), drawn, title="decomposer", loc="outside lower center", ncols=min(7, len(drawn)), frameon=False
    )
    figure.savefig(path, dpi=120)


def _places(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Where each strategy's and decomposer's bar is, from the top, with room between the strategies."""
    places: dict[tuple[str, str], float] = {}
    place = 0.0
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        for decomposer in dict.fromkeys(row["decomposer"] for row in rows if row["strategy"] == strategy):
            places[strategy, decomposer] = place
            place += 1
        place += 0.6
    return places
