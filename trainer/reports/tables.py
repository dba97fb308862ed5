"""Markdown tables."""

from __future__ import annotations

import math
from typing import Any


def markdown(columns: list[str], table: list[dict[str, Any]]) -> str:
    """A Markdown table."""

    def cell(value: Any) -> str:
        return "" if value is None else f"{value:.3f}" if isinstance(value, float) else brief(str(value))

    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(cell(row.get(column)) for column in columns)} |" for row in table]
    return "\n".join(lines)


def number(text: str) -> float:
    """An override's value as a number, NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def brief(text: str) -> str:
    """A number with more digits than anyone reads, to three; anything else as it is."""
    return text if len(text) < 9 or math.isnan(number(text)) else f"{number(text):.3g}"
