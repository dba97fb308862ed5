"""Stage 1 has its run copied elsewhere at each of its checkpoints, as stage 2 has."""

from __future__ import annotations

import asyncio
import io

from rich.console import Console

from launch.compose import compose
from launch.job import run_folder
from rollout.data.source import make_source
from tests.trainer.fakes import write_checkpoint
from trainer.run import Run
from trainer.run_folder.mirror import Mirror
from trainer.stages.fine_tuning import FineTuning


class Learner:
    """Writes its checkpoints."""

    async def checkpoint(self, folder):
        write_checkpoint(folder)


def test_a_checkpoint_is_whole_when_the_copy_begins(tmp_path):
    config, seen = compose([]), []

    def copy() -> None:
        seen.append(sorted(path.parent.name for path in tmp_path.glob("checkpoints/*/*/state.json")))

    stage = FineTuning(config, tmp_path, make_source(config.data), copy)
    for step in (3, 6):
        asyncio.run(stage.checkpoint(step, Learner(), {}))
    assert seen == [["step-3"], ["step-3", "step-6"]]


def test_a_run_copies_the_checkpoints_of_stage_1(tmp_path):
    config = compose([f"run_dir={tmp_path}/run"])
    folder = run_folder(config)
    mirror = Mirror(f"file://{tmp_path}/copies", folder, print)
    stage = Run(config, folder, Console(file=io.StringIO()), [], mirror).fine_tuning
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 0\n")
    asyncio.run(stage.checkpoint(3, Learner(), {}))
    mirror._copying.result()
    assert [path.parent.name for path in (tmp_path / "copies").glob("run/checkpoints/*/*/state.json")] == ["step-3"]
    mirror.end()
