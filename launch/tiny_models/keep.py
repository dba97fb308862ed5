"""Keep the training of a tiny model, so that one that was stopped goes on where it was.

The file lies in the model's folder until the model is saved. It holds tensors and plain numbers, and torch reads it as
weights only, so that no code can be in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

FILE = "training.pt"
EVERY_STEPS = 100


@dataclass(frozen=True)
class Kept:
    """The file that a training is kept in, and the ``plan`` that makes it the same training: plain values."""

    path: Path
    plan: dict[str, Any]

    def load(self) -> dict[str, Any] | None:
        """Return what was kept of a training of this plan: ``cycle``, ``step``, ``model``, ``optimizers`` and
        ``schedules``; None if there is none."""
        if not self.path.is_file():
            return None
        kept: dict[str, Any] = torch.load(self.path, weights_only=True)
        return kept if kept["plan"] == self.plan else None

    def save(self, cycle: int, step: int, model: torch.nn.Module, optimizers: list[Any], schedules: list[Any]) -> None:
        """Keep a training after ``step`` steps of its ``cycle``, in place of what was kept before."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "plan": self.plan,
            "cycle": cycle,
            "step": step,
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "schedules": [schedule.state_dict() for schedule in schedules],
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)
