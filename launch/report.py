"""Make the page of a finished run again, or compare several: ``python -m launch.report RUN_DIR ... [--out FILE]``.

The page is one HTML file that holds all it shows; its pictures are PNG files too, in a folder of its name beside it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status: 0, or 2 if a folder holds no finished run."""
    parser = argparse.ArgumentParser(prog="launch.report", description=__doc__.splitlines()[0])
    parser.add_argument("run_dir", type=Path, nargs="+", help="a run's folder; several are compared")
    parser.add_argument(
        "--out", type=Path, help="the page; else report.html or, of several, comparison.html in the first"
    )
    options = parser.parse_args(arguments)
    folders = list(dict.fromkeys(folder.resolve() for folder in options.run_dir))
    for folder in folders:
        if not (folder / "summary.json").is_file():
            sys.stderr.write(f"run_dir: '{folder}' holds no summary.json; allowed: a run's folder\n")
            return 2
    if options.out is not None and not options.out.parent.is_dir():
        sys.stderr.write(
            f"--out: there is no folder '{options.out.parent}'; allowed: a file in a folder that is there\n"
        )
        return 2
    from trainer.reports.pictures import learning_curve
    from trainer.reports.run_page import write_report

    for folder in folders:
        learning_curve(folder)
    sys.stdout.write(f"{write_report(folders, options.out)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
