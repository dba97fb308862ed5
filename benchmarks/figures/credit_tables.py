"""The table of dense credit from the solver against sparse rewards, in docs/studies.md."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from benchmarks.figures.kept import Row, difference, mean_interval, over_seeds, read

# What the others are compared with.
FIRST = "outcome"
# Of the swept rewards, in the table's order.
ARMS = {
    "outcome": "`outcome`",
    "bounded": "`bounded`",
    "solution_likelihood": "`solution_likelihood`",
    "solver_likelihood": "`solver_likelihood`, bare answer",
}
STEPS = ("4", "5", "6")
COLUMNS = (
    "`rewards=`", "seeds", "accuracy", "over seeds", "less the first row", *(f"{steps} steps" for steps in STEPS),
    "decompositions right", "something needless", "sampled, all steps", "sampled, less the first row",
    "sampled at the end", "trained tokens", "tokens to half the gain", "values given",
)  # fmt: skip
# Steps of which means are taken at either end of a run, and along it.
ENDS = 3


def dense(studies: Path) -> list[Row]:
    """Return accuracy by reward, how each differs from terminal correctness, and how soon it learns: the trained tokens
    after which sampled accuracy has risen half as far as it does with terminal correctness in all its steps."""
    evaluations, curves = read(studies / "solver_likelihood.csv"), read(studies / "solver_likelihood_curves.csv")
    trained = {arm: _of(evaluations, arm, "ppo") for arm in ARMS}
    accuracy = {arm: _accuracy(rows) for arm, rows in trained.items() if rows}
    starts = _of(evaluations, FIRST, "base")
    rows = [_row("SFT, the start", starts) | {"over seeds": over_seeds(_accuracy(starts))}]
    curves_of = {arm: {seed: _steps(curves, arm, seed) for seed in values} for arm, values in accuracy.items()}
    sampled = {
        arm: {seed: _mean(own, "sampled_accuracy") for seed, own in steps.items()} for arm, steps in curves_of.items()
    }
    for arm, values in accuracy.items():
        steps, compared = curves_of[arm], arm != FIRST
        reached = [_reached(curves_of[FIRST][seed], own) for seed, own in steps.items()]
        last = [own[-ENDS:] for own in steps.values()]
        rows.append(
            _row(ARMS[arm], trained[arm])
            | {"over seeds": over_seeds(values)}
            | {"less the first row": difference(accuracy[FIRST], values) if compared else ""}
            | {"sampled, all steps": f"{fmean(sampled[arm].values()):.3f}"}
            | {"sampled, less the first row": difference(sampled[FIRST], sampled[arm]) if compared else ""}
            | {"sampled at the end": f"{fmean(_mean(own, 'sampled_accuracy') for own in last):.2f}"}
            | {"trained tokens": f"{fmean(float(own[-1]['trained_tokens']) for own in steps.values()):,.0f}"}
            | {"tokens to half the gain": _tokens(reached)}
            | {"values given": f"{fmean(_mean(own, 'given') for own in last):.3f}"}
        )
    start, *others = rows
    return [{column: row.get(column, "") for column in COLUMNS} for row in [*others, start]]


def _of(rows: list[Row], arm: str, kind: str) -> list[Row]:
    return [row for row in rows if (row["rewards"], row["kind"]) == (arm, kind)]


def _accuracy(rows: list[Row]) -> dict[str, float]:
    return {row["seed"]: float(row["accuracy"]) for row in rows}


def _row(name: str, rows: list[Row]) -> Row:
    """Return what the evaluation tells of an arm, in the mean over its seeds."""
    columns = {"right": "decompositions right", "needless": "something needless"}
    columns |= {f"steps_{steps}": f"{steps} steps" for steps in STEPS}
    shares = {name: f"{fmean(float(row[column]) for row in rows):.2f}" for column, name in columns.items()}
    return {"`rewards=`": name, "seeds": str(len(rows)), "accuracy": mean_interval(_accuracy(rows))} | shares


def _steps(curves: list[Row], arm: str, seed: str) -> list[Row]:
    own = [row for row in curves if (row["rewards"], row["seed"]) == (arm, seed)]
    return sorted(own, key=lambda row: int(row["step"]))


def _mean(rows: list[Row], column: str) -> float:
    return fmean(float(row[column]) for row in rows)


def _reached(reference: list[Row], own: list[Row]) -> float | None:
    """Return the trained tokens after which the mean of three steps has risen half as far as the reference does from
    its first steps to its last; None if it never does."""
    begun, ended = (_mean(part, "sampled_accuracy") for part in (reference[:ENDS], reference[-ENDS:]))
    for place in range(ENDS, len(own) + 1):
        if _mean(own[place - ENDS : place], "sampled_accuracy") >= (begun + ended) / 2:
            return float(own[place - 1]["trained_tokens"])
    return None


def _tokens(reached: list[float | None]) -> str:
    found = [tokens for tokens in reached if tokens is not None]
    missed = len(reached) - len(found)
    told = f"{fmean(found):,.0f}" if found else "never"
    return f"{told}, never in {missed}" if found and missed else told
