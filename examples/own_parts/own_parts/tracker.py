"""A tracker of one's own: the accuracy of each step, as a line of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conf.schema.config import Config


class TextFile:
    """Writes ``accuracy.txt`` into the run's folder."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._stream = (folder / "accuracy.txt").open("a", encoding="utf-8")

    def step(self, step: int, metrics: dict[str, float]) -> None:
        """Take the metrics of a learner step."""
        self._stream.write(f"step {step}: {metrics['episode/accuracy_final']:.3f}\n")

    def summary(self, summary: dict[str, Any]) -> None:
        """Take the run's summary, at its end."""
        self._stream.write(f"{summary['status']}\n")

    def close(self, exit_code: int) -> None:
        """End."""
        self._stream.close()
