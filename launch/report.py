"""Make the page of a finished run again, or compare several: ``python -m launch.report RUN_DIR ... [--out FILE]``.

The page is one HTML file that holds all it shows; its pictures are PNG files too, in a folder of its name beside it.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext, suppress
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status: 0, or 2 if a folder holds no run or the page has no place."""
    parser = argparse.ArgumentParser(prog="launch.report", description=__doc__.splitlines()[0])
    parser.add_argument("run_dir", type=Path, nargs="+", help="a run's folder; several are compared")
    parser.add_argument(
        "--out", type=Path,
        help="the page, an .html; else report.html or, of several, comparison.html in the first",
    )  # fmt: skip
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
    page = options.out
    if page is not None and not page.suffix and not page.is_dir():
        page = page.with_name(f"{page.name}.html")
    if page is not None and page.is_dir():
        sys.stderr.write(f"--out: '{page}' is a folder; allowed: a file, the page\n")
        return 2
    if page is not None and page.with_suffix("").is_file():
        sys.stderr.write(f"--out: '{page.with_suffix('')}', the folder of the pictures of '{page}', is a file\n")
        return 2
    from trainer.reports.pictures import learning_curve
    from trainer.reports.run_page import write_report

    try:
        for folder in folders:
            # A page that lies elsewhere may be of runs in a folder that others own.
            with suppress(OSError) if page is not None else nullcontext():
                learning_curve(folder)
        sys.stdout.write(f"{write_report(folders, page)}\n")
    except OSError as error:
        sys.stderr.write(f"--out: '{error.filename}' cannot be written: {error.strerror}; allowed: a file elsewhere\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
