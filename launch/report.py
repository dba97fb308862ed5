"""Make a run's picture and page again from its folder: ``python -m launch.report RUN_DIR``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trainer.report import write_report


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 if there is no finished run in the folder."""
    parser = argparse.ArgumentParser(prog="launch.report", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    options = parser.parse_args(arguments)
    if not (options.run_dir / "summary.json").is_file():
        sys.stderr.write(f"run_dir: '{options.run_dir}' holds no summary.json; allowed: a run's folder\n")
        return 2
    sys.stdout.write(f"{write_report(options.run_dir)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
