"""Make the pictures and tables of results again: ``python -m benchmarks.figures [--root FOLDER]``, or ``make figures``.

Pictures go into docs/studies. Tables are put into the README, docs/results.md, docs/results_chained.md and
docs/studies.md, each in place of the one with its columns. All are made from the CSV files in docs/studies, which a
run's own commands wrote, or which were copied from a page whose runs were not kept (``NAME_from_page.csv``); no run is
needed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.figures import chained_tables as chained
from benchmarks.figures import credit_tables as credit
from benchmarks.figures import default_tables as default
from benchmarks.figures import skill_tables as skill
from benchmarks.figures import studies_tables as studies
from benchmarks.figures.kept import Row
from benchmarks.figures.pictures import PICTURES, draw
from conf.schema.places import ROOT
from trainer.reports.tables import markdown

TABLES: dict[str, Sequence[Callable[[Path], list[Row]]]] = {
    "README.md": [default.summary],
    "docs/results.md": [
        default.summary,
        default.gains,
        default.unseen,
        default.unseen_gains,
        default.seed_by_seed,
        default.changes,
        default.examples,
    ],
    "docs/results_chained.md": [chained.summary, chained.seed_by_seed, chained.changes, chained.times],
    "docs/studies.md": [
        studies.staleness,
        studies.algorithms,
        credit.dense,
        skill.arms,
        skill.predictions,
        skill.transfer,
        studies.screening,
        studies.matrix,
        studies.over_the_base,
        studies.leak,
        studies.reward_ablation,
        studies.forms,
        studies.forms_ppo,
        studies.one_or_two,
        studies.lm2_rewards,
        studies.people_gate,
    ],
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.figures", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="a checkout, or a copy of its pages and docs/studies")
    root: Path = parser.parse_args(arguments).root
    folder = root / "docs" / "studies"
    for name, tables in TABLES.items():
        page = root / name
        before = text = page.read_text(encoding="utf-8")
        for rows in tables:
            text = put(text, rows(folder))
        if text != before:
            page.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{page}: {len(tables)} tables, {'changed' if text != before else 'as they were'}\n")
    for picture, table in PICTURES.items():
        draw(folder / table, folder / picture)
        sys.stdout.write(f"{folder / picture}\n")
    return 0


def put(page: str, rows: Sequence[Row]) -> str:
    """Return a page with a table in place of the one that has the same columns. Raises ValueError unless the page has
    exactly one."""
    table = markdown(list(rows[0]), rows).replace("  |", " |")
    head = table.partition("\n")[0]
    changed, count = re.subn(rf"^{re.escape(head)}\n(?:\|.*\n)*", lambda _: f"{table}\n", page, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"a page must hold one table with these columns, found {count}: {head}")
    return changed


if __name__ == "__main__":
    sys.exit(main())
