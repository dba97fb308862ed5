"""A matrix's finished cells: one table as Markdown and CSV, paired tests, results by group, verdicts beside the true
ones, and a picture."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from conf.schema.matrix import Matrix
from launch.evaluate.matrix import GROUPS, all_tokens
from rewards.reward import MEASURES
from rollout.records import change
from trainer.reports.pictures import bar, literal, plain
from trainer.reports.tables import markdown
from trainer.tracking.statistics import holm, mcnemar, pass_at_k, wilson

Result = dict[str, Any]
# What names a cell.
CELL = ["data", "solver", "strategy", "decomposer"]
VERDICTS = (
    "Classes that the verifier named (columns) where each class was true, counted over all judged replies, those to "
    "sub-questions that were written again included. A verdict of several classes counts for each."
)


def write(folder: Path, results: Sequence[Result], matrix: Matrix) -> Path:
    """Write table.csv, pairs.csv, groups.csv, verdicts.csv, table.md and matrix.png; return the Markdown file's
    path."""
    rows = [summary(result, _baseline(results, result, matrix), matrix) for result in results]
    grouped = [row for result in results for row in by_group(result)]
    named = [row for result in results for row in confusion(result)]
    write_tables(folder, {"table": rows, "pairs": pairs(results), "groups": grouped, "verdicts": named})
    path = folder / "table.md"
    path.write_text(page(rows, grouped, matrix, named), encoding="utf-8")
    picture(folder / "matrix.png", rows)
    return path


def write_tables(folder: Path, tables: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """Write a CSV file of each name that has rows; an older one of a name that has none goes."""
    for name, rows in tables.items():
        (folder / f"{name}.csv").unlink(missing_ok=True)
        if rows:
            # As objects: a whole number beside an empty cell stays whole.
            pd.DataFrame(rows, dtype=object).to_csv(folder / f"{name}.csv", index=False)


def per_problem(result: Result) -> dict[str, list[float]]:
    """Return the marks of every sample by problem, in the problems' order."""
    marks: dict[str, list[float]] = {}
    for row in result["rows"]:
        marks.setdefault(row["problem"], []).append(row["correct"])
    return marks


def discordant(first: Result, second: Result) -> tuple[int, int]:
    """Count the problems that only ``first``, and only ``second``, got right; of several samples the first counts."""
    one, other = per_problem(first), per_problem(second)
    changes = [change(one[name][0], other[name][0]) for name in one if name in other]
    return changes.count(-1), changes.count(1)


def _baseline(results: Sequence[Result], of: Result, matrix: Matrix) -> Result | None:
    """Return the cell of the solver alone on the same problems."""
    same = [r for r in results if (r["data"], r["solver"]) == (of["data"], of["solver"])]
    return next((result for result in same if result["strategy"] == matrix.baseline), None)


def share(marks: Sequence[float], problems: int) -> dict[str, Any]:
    """Return the mean of marks with Wilson's interval over problems: samples of one are no independent trials."""
    found = wilson(fmean(marks) * problems, problems)
    return {"problems": problems, "accuracy": found["mean"], "low": found["low"], "high": found["high"]}


def accuracy(result: Result) -> dict[str, Any]:
    """Return a cell's accuracy with Wilson's interval."""
    marks = per_problem(result)
    return share([fmean(values) for values in marks.values()], len(marks))


def means(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over episodes of sub-questions, of what they hand over, of tokens by role and of sub-questions
    that were written again; None where no episode has any."""
    asked = [row["subquestions"] for row in rows if row["subquestions"] is not None]
    found: dict[str, Any] = {"subquestions": fmean(asked) if asked else None}
    for name in MEASURES:  # cells of earlier versions have none
        measured = [row[name] for row in rows if row.get(name) is not None]
        found[name] = fmean(measured) if measured else None
    for name in ("solver_tokens", "solver_prompt_tokens", "policy_tokens"):
        found[name] = fmean(row[name] for row in rows)
    found["tokens"] = fmean(map(all_tokens, rows))
    for name in ("verifier_tokens", "rewritten"):  # cells of earlier versions, and those without a verifier, have none
        counted = [row[name] for row in rows if row.get(name) is not None]
        found[name] = fmean(counted) if counted else None
    return found


def summary(result: Result, baseline: Result | None, matrix: Matrix) -> dict[str, Any]:
    """Return a cell's line. ``gained`` and ``lost`` count problems that only this cell, and only the baseline, got
    right; they are None for the baseline itself."""
    rows, marks = result["rows"], per_problem(result)
    line: dict[str, Any] = {name: result[name] for name in CELL}
    line |= accuracy(result)
    line |= dict.fromkeys(("gained", "lost", "p_baseline"))
    if baseline is not None and baseline is not result:
        lost, gained = discordant(baseline, result)
        line |= {"gained": gained, "lost": lost, "p_baseline": mcnemar(gained, lost)}
    # A cell whose samples would be copies ran once.
    right = [sum(mark >= 1 for mark in values) * matrix.samples // len(values) for values in marks.values()]
    line |= {f"pass@{k}": fmean(pass_at_k(matrix.samples, n, k) for n in right) for k in matrix.pass_at if k > 1}
    line |= means(rows)
    line["cost"] = sum(row["cost"] for row in rows)
    line["solver_failures"] = sum(row["outcome"] != "ok" for row in rows)
    line["errors"] = sum(row["error"] is not None for row in rows)
    return line


def pairs(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Compare every two cells of one solver and data set on the same problems; p is adjusted over all (Holm)."""
    rows = []
    for first, second in couples(results):
        only_first, only_second = discordant(first, second)
        counts = {"only_first": only_first, "only_second": only_second, "p": mcnemar(only_first, only_second)}
        rows.append(couple(first, second) | counts)
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return rows


def couples(results: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Return every two cells of one solver and data set."""
    every = itertools.combinations(results, 2)
    return [(one, other) for one, other in every if (one["data"], one["solver"]) == (other["data"], other["solver"])]


def couple(first: Result, second: Result) -> dict[str, Any]:
    """Return what names two cells of one solver and data set in a table."""
    names = {"data": first["data"], "solver": first["solver"]}
    return names | {"first": cell_label(first), "second": cell_label(second)}


def by_group(result: Result) -> list[dict[str, Any]]:
    """Return the accuracy by number of steps, subject and level, where the data set has them."""
    cell, frame = {key: result[key] for key in CELL}, pd.DataFrame(result["rows"], dtype=object)
    return [
        cell | {"by": name, "group": group} | share(list(found["correct"]), found["problem"].nunique())
        for name in GROUPS
        if name in frame
        for group, found in frame.groupby(frame[name].dropna().astype(str))
    ]


def confusion(result: Result) -> list[dict[str, Any]]:
    """Return how often each class was named by the verifier where each class was true; a verdict of several classes
    counts for each."""
    found = Counter((true, named) for row in result["rows"] for true, named in row.get("verdicts") or ())
    cell = {key: result[key] for key in CELL}
    return [cell | {"true": true, "named": named, "count": found[true, named]} for true, named in sorted(found)]


def cell_label(row: dict[str, Any]) -> str:
    """Return the name of a cell among those of its solver and data set."""
    return f"{row['strategy']} · {row['decomposer']}"


def _numbers_in_order(group: Any) -> tuple[int, str]:
    """Return what sorts groups as texts, and whole numbers as numbers."""
    return (len(str(group)) if str(group).isdecimal() else 0), str(group)


def page(
    rows: Sequence[dict[str, Any]],
    grouped: Sequence[dict[str, Any]],
    matrix: Matrix,
    named: Sequence[dict[str, Any]] = (),
) -> str:
    """Return the table, results by group, and the verdicts that were ``named`` beside the true ones, as Markdown."""
    judged = any(row["rewritten"] is not None for row in rows)
    table = [
        {name: row[name] for name in CELL}
        | {"accuracy": row["accuracy"], "95 %": span(row["low"], row["high"])}
        | {name: row[name] for name in row if name.startswith("pass@")}
        | {"gained": row["gained"], "lost": row["lost"], "p": _p(row["p_baseline"])}
        | {name.replace("_", " "): rounded(row[name], 3) for name in MEASURES}
        | {"solver tokens": f"{row['solver_tokens']:.0f}", "all tokens": f"{row['tokens']:.0f}"}
        | ({"rewritten": rounded(row["rewritten"], 2)} if judged else {})
        | {"cost": f"{row['cost']:.4g}"}
        | {"failures": row["solver_failures"] + row["errors"]}
        for row in rows
    ]
    parts = ["# Evaluation", _about(matrix), markdown(list(table[0]), table)]
    for name, own in pd.DataFrame(grouped).groupby("by", sort=False) if grouped else ():
        wide = own.pivot_table("accuracy", CELL, "group", sort=False)
        wide = wide[sorted(wide.columns, key=_numbers_in_order)]
        shown = wide.map("{:.2f}".format, na_action="ignore").reset_index()
        parts += [f"## By {name}", markdown(list(shown.columns), shown.to_dict("records"))]
    if named:
        wide = pd.DataFrame(named).pivot_table("count", [*CELL, "true"], "named", "sum", sort=False, fill_value=0)
        shown = wide.astype(int).sort_index(axis=1).reset_index()
        parts += ["## Verdicts", VERDICTS, markdown(list(shown.columns), shown.to_dict("records"))]
    return "\n\n".join(parts) + "\n"


def _about(matrix: Matrix) -> str:
    return (
        f"Up to {matrix.problems} held-out problems a cell, the same for all, {matrix.samples} sample(s) each; 95 % "
        f"intervals are Wilson's. Gained and lost: problems that this cell alone, and that `{matrix.baseline}` "
        "alone, got right; p: exact McNemar test of the two, not adjusted for there being several (pairs.csv is). "
        "Given: sub-questions that hand over a value which only solving the problem gives; gives answer: "
        "decompositions that hand over the gold answer. "
        "Tokens are means an episode, all tokens those that decomposer, solver and verifier wrote; rewritten: "
        "sub-questions an episode that the verifier had written again; failures are episodes that the solver ended or "
        "that could not be scored."
    )


def rounded(value: float | None, digits: int) -> str:
    """Return a number as a table has it, nothing where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def span(low: float | None, high: float | None) -> str:
    """Return an interval as a table has it, nothing where there is none."""
    return "" if low is None or high is None else f"{low:.3f} – {high:.3f}"


def _p(value: float | None) -> str:
    return "" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def picture(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw a panel for each data set and solver, in it a group of bars for each strategy, and in that a bar with its
    interval for each decomposer; the same places in all panels."""
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
            one = bar(axis, place, row["accuracy"], row["low"], row["high"], 8, color=colour, height=0.85)
            drawn.setdefault(row["decomposer"], one)
        axis.set(title=literal(f"{panel[0]}, solver {panel[1]}"), xlim=(0, 1.15), xlabel="accuracy, 95 % interval")
        axis.set_xticks([0, 0.5, 1])
        axis.tick_params(axis="y", length=0)
        plain(axis, "x")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    groups: dict[str, list[float]] = {}
    for (strategy, _), place in places.items():
        groups.setdefault(strategy, []).append(place)
    axes[0].set_yticks([fmean(own) for own in groups.values()], [literal(name.replace("_", " ")) for name in groups])
    axes[0].set_ylim(max(places.values()) + 0.8, -0.8)
    beside = min(2 * columns + 1, len(drawn))
    names = [literal(name) for name in drawn]
    figure.legend(drawn.values(), names, title="decomposer", loc="outside lower center", ncols=beside, frameon=False)
    figure.savefig(path, dpi=120)


def _places(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the place of each strategy's and decomposer's bar, from the top, with room between the strategies."""
    places: dict[tuple[str, str], float] = {}
    place = 0.0
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        for decomposer in dict.fromkeys(row["decomposer"] for row in rows if row["strategy"] == strategy):
            places[strategy, decomposer] = place
            place += 1
        place += 0.6
    return places
