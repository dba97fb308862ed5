"""Read what is kept of finished runs in docs/studies, and write it as the pages do."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from trainer.tracking.statistics import OverSeeds, difference_over_seeds, mean_over_seeds, wilson

Row = dict[str, str]
# Held-out problems of a study, where it does not say otherwise.
PROBLEMS = 500
SEEDS = ("0", "1", "2")


def read(file: Path) -> list[Row]:
    """Return the rows of a CSV file, as they are written."""
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def find(rows: Sequence[Row], **values: str) -> Row:
    """Return the one row with these values. Raises ValueError if there is none, or more than one."""
    (found,) = [row for row in rows if values.items() <= row.items()]
    return found


def by_seed(rows: Sequence[Row], setting: Mapping[str, str], column: str = "accuracy") -> dict[str, float]:
    """Return a column of the rows of one setting by seed, in the seeds' order. Raises ValueError if one is missing."""
    return {seed: float(find(rows, **setting, seed=seed)[column]) for seed in SEEDS}


def interval(accuracy: float, problems: int = PROBLEMS) -> str:
    """Return an accuracy with its 95 % interval over the problems (Wilson). Of a mean over seeds, the interval is that
    of one seed's problems, because all seeds have the same."""
    found = wilson(accuracy * problems, problems)
    return f"{accuracy:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def mean_interval(values: Mapping[str, float], problems: int = PROBLEMS) -> str:
    """Return the mean over seeds with its 95 % interval over the problems."""
    return interval(fmean(values.values()), problems)


def over_seeds(values: Mapping[str, float]) -> str:
    """Return the 95 % t interval of the mean over seeds."""
    over = mean_over_seeds(list(values.values()), share=True)
    return span(*_ends(over))


def span(low: float, high: float) -> str:
    """Return an interval by its ends."""
    return f"{low:.3f} – {high:.3f}"


def cell_over_seeds(cell: Row) -> str:
    """Return the interval over seeds of a cell that launch.evaluate.replicates wrote; nothing where it has none."""
    return span(float(cell["seed_low"]), float(cell["seed_high"])) if cell["seed_low"] else ""


def difference(first: Mapping[str, float], second: Mapping[str, float]) -> str:
    """Return by how much the second is above the first, paired by seed, with its 95 % t interval."""
    over = difference_over_seeds(first, second)
    low, high = _ends(over)
    return f"{over.mean:.3f} [{low:.3f}, {high:.3f}]".replace("-", "−")


def _ends(over: OverSeeds) -> tuple[float, float]:
    if over.low is None or over.high is None:
        raise ValueError(f"no interval over {over.seeds} seeds that are alike")
    return over.low, over.high
