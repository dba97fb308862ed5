"""Trials of a sweep as their runs leave them, for the tests of its tables and pictures."""

from __future__ import annotations

import json
from pathlib import Path


def write_trial(
    folder: Path, number: int, overrides: list[str], accuracy: dict[str, float], *,
    spread: float, status: str = "finished",
) -> None:  # fmt: skip
    """Write a trial of a sweep with the accuracy of each kind of evaluation, whose interval has this half width."""
    (folder / str(number)).mkdir(exist_ok=True)
    (folder / str(number) / "trial.json").write_text(json.dumps({"number": number, "overrides": overrides}))
    shown = {kind: {"mean": mean, "low": mean - spread, "high": mean + spread} for kind, mean in accuracy.items()}
    summary = {"status": status, "steps": 3, "seconds": {}, "accuracy": shown}
    (folder / str(number) / "summary.json").write_text(json.dumps(summary))
