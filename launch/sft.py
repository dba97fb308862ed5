"""The main job's stage 1 alone, measured as it goes: ``python -m launch.sft [overrides]`` (docs/sft.md)."""

from __future__ import annotations

import sys

from launch.train import main

if __name__ == "__main__":
    given = sys.argv[1:]
    measured = [] if any(text.startswith("sft=") for text in given) else ["sft=measured"]
    sys.exit(main(["stages=[sft]", *measured, *given]))
