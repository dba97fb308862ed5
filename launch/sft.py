"""The main job's stage 1 alone, measured as it goes: ``python -m launch.sft [overrides]`` (docs/sft.md)."""

from __future__ import annotations

import sys
from pathlib import Path

from launch.compose import key_of
from launch.train import main
from trainer.run_folder.resume import OVERRIDES


def with_stage(given: list[str]) -> list[str]:
    """Return a command line with stage 1 alone, measured unless another recipe is given: that of a run that is gone on
    with is its own."""
    keys = {key_of(text): text.partition("=")[2] for text in given}
    folder = Path(keys.get("run_dir", "").strip("'\"")).expanduser()
    goes_on = "resume" in keys and (folder / OVERRIDES).is_file()
    return ["stages=[sft]", *([] if "sft" in keys or goes_on else ["sft=measured"]), *given]


if __name__ == "__main__":
    sys.exit(main(with_stage(sys.argv[1:])))
