"""The pictures of docs/studies, each drawn from a kept table with the function that the table's command draws with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# From which table each picture is made. What a table's columns are says which command wrote it.
PICTURES = {
    "staleness.png": "staleness.csv",
    "algorithms.png": "algorithms.csv",
    "matrix.png": "matrix.csv",
    "reward_ablation.png": "reward_ablation.csv",
    "search.png": "search.csv",
    "forms.png": "forms.csv",
    "solver_likelihood.png": "solver_likelihood_curves.csv",
    "skill.png": "skill.csv",
}


def draw(table: Path, picture: Path) -> None:
    """Draw the table of a sweep (trials.csv or curves.csv), of a matrix (table.csv), of a matrix over seeds
    (replicates.csv) or of benchmarks.skill (cells.csv)."""
    import pandas as pd

    from benchmarks.figures import skill_tables
    from launch.evaluate import matrix_table, replicates_table
    from trainer.reports import sweep_curves, sweep_table

    columns = set(pd.read_csv(table, nrows=0).columns)
    if "seed_low" in columns:
        replicates_table.picture(picture, _records(table))
    elif "trained_tokens" in columns:
        sweep_curves.picture(*sweep_curves.read_table(table)).savefig(picture, dpi=120)
    elif {"seed", "decomposer"} <= columns:
        skill_tables.picture(table).savefig(picture, dpi=120)
    elif "p_baseline" in columns:
        matrix_table.picture(picture, _records(table))
    else:
        sweep_table.picture(*sweep_table.read_table(table)).savefig(picture, dpi=120)


def _records(table: Path) -> list[dict[str, Any]]:
    """Return a table's rows; an empty cell is None."""
    import pandas as pd

    frame = pd.read_csv(table, keep_default_na=False, na_values=[""])
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
