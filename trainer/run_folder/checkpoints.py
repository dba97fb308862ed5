"""Folders on disk that are complete or not there, and the checkpoints of a run among them.

A checkpoint is an ordinary Hugging Face folder of the policy with three things more: ``state.json`` (the controller's
and the run's state), ``waiting.jsonl`` (the scored episodes that wait to be trained on) and ``learner/`` (see
``trainer.learner.engine_state``).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.json_lines import PARTIAL
from trainer.run_folder.files import begin_folder, complete, read_json, write_json

STATE = "state.json"
WAITING = "waiting.jsonl"
LEARNER = "learner"
# Among a run's checkpoints: the model that stage 1 made, and the folder of the checkpoints within stage 1.
FINE_TUNED, FINE_TUNING = "sft", "sft_steps"


class CheckpointLacks(RuntimeError):
    """A checkpoint was written and is not whole; the message says what is missing. The one before it stays."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: its folder and ``state.json``, which has ``version``, ``controller`` and ``run``."""

    folder: Path
    state: dict[str, Any]

    @property
    def version(self) -> int:
        """The learner steps taken."""
        return int(self.state["version"])


@asynccontextmanager
async def new_checkpoint(folder: Path, state: dict[str, Any], keep: int) -> AsyncIterator[Path]:
    """Give a folder to write a checkpoint in, which is complete with its ``state`` when the block ends without an
    error; then only the newest ``keep`` of the steps' checkpoints beside it stay."""
    partial = begin_folder(folder)
    yield partial
    write_json(partial / STATE, state)
    await asyncio.to_thread(complete, partial)
    prune(folder.parent, "step-", keep)


def prune(parent: Path, prefix: str, keep: int) -> None:
    """Remove all but the newest ``keep`` checkpoints whose names are ``prefix`` and a number."""
    numbers = {path.parent.name.removeprefix(prefix): path.parent for path in parent.glob(f"{prefix}*/{STATE}")}
    found = sorted((number for number in numbers if number.isdigit()), key=int)
    for number in found[:-keep]:
        shutil.rmtree(numbers[number])


def check_written(partial: Path, ranks: int, *others: str) -> None:
    """Refuse to complete a checkpoint that lacks the policy, a rank's state or one of ``others``: what was written may
    lie on another machine. Raises CheckpointLacks."""
    wanted = ["config.json", "model.safetensors", *(f"{LEARNER}/rank-{rank}.json" for rank in range(ranks)), *others]
    missing = [name for name in wanted if not (partial / name).is_file()]
    if missing:
        raise CheckpointLacks(
            f"the checkpoint in {partial} lacks {', '.join(missing)}, though every learner rank wrote its part: "
            "run_dir must be a folder that all machines share"
        )


def read_checkpoint(folder: Path) -> Checkpoint:
    """Return the checkpoint in a folder."""
    return Checkpoint(folder, read_json(folder / STATE))


def newest(parent: Path) -> Checkpoint | None:
    """Return the complete checkpoint with the most steps, if there is one; of equal ones the first by name."""
    states = sorted(parent.glob(f"*/{STATE}"))
    found = [read_checkpoint(path.parent) for path in states if path.parent.suffix != PARTIAL]
    return max(found, key=lambda checkpoint: checkpoint.version, default=None)


def newest_decomposer(run: Path) -> Path | None:
    """Return the model folder with the newest weights of a run: of what it goes on from in stage 2, else what stage 1
    made, else of what it goes on from in stage 1; None if it saved none."""
    parent = run / "checkpoints"
    fine_tuned = parent / FINE_TUNED
    checkpoint = newest(parent)
    if checkpoint is None and (fine_tuned / "config.json").is_file():
        return fine_tuned
    checkpoint = checkpoint or newest(parent / FINE_TUNING)
    return None if checkpoint is None else checkpoint.folder
