"""Markdown tables."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Of a key that a trial was not given.
DEFAULT = "default"


def markdown(columns: Sequence[str], table: Sequence[Mapping[Any, Any]]) -> str:
    """Return a Markdown table of these columns; a cell that is missing, None or NaN is empty."""
    rows = [map(_escaped, columns), *([_cell(row.get(column)) for column in columns] for row in table)]
    head, *lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, f"|{'---|' * len(columns)}", *lines])


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else _escaped(brief(str(value)))


def _escaped(text: str) -> str:
    """Return a text as one cell: a bar that ends none, with the backslashes before it, and a space for a line break."""
    return re.sub(r"(\\*)\|", r"\1\1\\|", " ".join(text.splitlines()))


def read_swept(file: Path, figures: Sequence[str]) -> tuple[list[str], pd.DataFrame]:
    """Return the swept keys and the rows of a sweep's CSV file; the keys, all columns but the ``figures``, have texts
    for values."""
    import pandas as pd

    keys = [name for name in pd.read_csv(file, nrows=0).columns if name not in figures]
    return keys, pd.read_csv(file, dtype=dict.fromkeys(keys, str))


def number(text: str) -> float:
    """Return an override's value as a number, NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def brief(text: str) -> str:
    """Return a number of nine characters or more with three digits, and anything else as it is, whole numbers too:
    they are names, as seeds and dates are, and two of them may be the same in three digits."""
    shortened = len(text) >= 9 and re.search(r"[.e]", text.lower()) and not math.isnan(number(text))
    return f"{number(text):.3g}" if shortened else text


def setting_label(named: Sequence[str], setting: Sequence[Any], seeds: int | None = None) -> str:
    """Return the label of a sweep's setting: its values under their keys' last names, and the number of its seeds, if
    given."""
    values = [f"{key.rpartition('.')[2]} {brief(value)[:32]}" for key, value in zip(named, setting, strict=False)]
    return ", ".join(values if seeds is None else [*values, f"{seeds} seed{'s' * (seeds != 1)}"])
