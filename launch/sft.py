"""The main job's stage 1 alone: ``python -m launch.sft [overrides]``."""

from __future__ import annotations

import sys

from launch.compose import main

if __name__ == "__main__":
    sys.exit(main(["stages=[sft]", *sys.argv[1:]]))
