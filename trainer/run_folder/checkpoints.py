"""Folders on disk that are complete or not there, and the checkpoints of a run among them.

A checkpoint is an ordinary Hugging Face folder of the policy with three things more: ``state.json`` (the controller's
and the run's state), ``waiting.jsonl`` (the scored episodes that wait to be trained on) and ``learner/`` (see
``trainer.learner.engine_state``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.run_folder.files import PARTIAL, read_json

STATE = "state.json"
WAITING = "waiting.jsonl"
LEARNER = "learner"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: its folder and ``state.json``, which has ``version``, ``controller`` and ``run``."""

    folder: Path
    state: dict[str, Any]

    @property
    def version(self) -> int:
        """The learner steps taken."""
        return int(self.state["version"])


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint's state."""
    return Checkpoint(folder, read_json(folder / STATE))


def newest(parent: Path) -> Checkpoint | None:
    """The complete checkpoint with the most steps, if there is one."""
    found = [read_checkpoint(path.parent) for path in parent.glob(f"*/{STATE}") if path.parent.suffix != PARTIAL]
    return max(found, key=lambda checkpoint: checkpoint.version, default=None)
