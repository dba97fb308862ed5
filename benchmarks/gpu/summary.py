"""The kit's table: a row a part, with its state, its seconds and its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rollout.json_lines import write_whole
from trainer.run_folder.files import read_json

FILE, MACHINE = "summary.md", "machine.json"
HEAD = "| part | state | seconds | figures |\n|---|---|---|---|\n"


def write_summary(folder: Path, parts: Sequence[str]) -> None:
    """Write the summary of these parts' result files, and of those of earlier parts, whole or not at all."""
    earlier = sorted({file.stem for file in folder.glob("*.json")} - {*parts, Path(MACHINE).stem})
    found = [read_json(folder / f"{name}.json") for name in (*parts, *earlier)]
    write_whole(folder / FILE, summary(read_json(folder / MACHINE), [one for one in found if "part" in one]))


def summary(machine: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """Return the summary as Markdown: what the machine is, and a table of the parts' results."""
    about = "".join(f"- {name}: {_value(value)}\n" for name, value in machine.items())
    return f"{about}\n{HEAD}{''.join(map(row, results))}"


def row(result: dict[str, Any]) -> str:
    """Return the row of a part's result."""
    seconds = f"{result['seconds']:.0f}" if "seconds" in result else ""
    state = f"{result['state']}: {result['reason']}" if result.get("reason") else result["state"]
    figures = "<br>".join(in_words(*line) for line in flat(result.get("figures", {})))
    cells = (result["part"], state, seconds, figures)
    return f"| {' | '.join(_cell(cell) for cell in cells)} |\n"


def flat(figures: dict[str, Any], before: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the figures by the name of what they are of, innermost groups each on their own."""
    own = {name: value for name, value in figures.items() if not isinstance(value, dict)}
    if own:
        yield before, own
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before} {name}".strip())


def in_words(name: str, values: dict[str, Any]) -> str:
    """Return one group of figures as a line."""
    return f"{name}: " * bool(name) + ", ".join(f"{key} {_value(value)}" for key, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, bool | None):
        return "unknown" if value is None else "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    return str(value)


def _cell(text: str) -> str:
    """Return a text that stays in its cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
