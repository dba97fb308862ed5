"""The main job's stage 3 alone: ``python -m launch.evaluate [overrides]``."""

from __future__ import annotations

import sys

from launch.compose import main

if __name__ == "__main__":
    sys.exit(main(["stages=[evaluate]", *sys.argv[1:]]))
