"""Make and check a folder of data sets: ``python -m launch.prepare_data ROOT [NAME=RELEASE ...]``; or check one file:
``python -m launch.prepare_data FILE``.

Each NAME=RELEASE converts an original release (its folder, a file of it, or ``hub``) into ROOT/NAME/. Then every file
under ROOT is read whole and its rows, checksum and gold answers are checked. Exit status: 0, 1 if a row is bad or a
file is not what it is known to be, 2 if something could not be converted. docs/data.md has names and formats.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from launch.prepare_data.check import ConversionError, check, check_file, convert, overlaps, refuse_to_replace, table
from launch.prepare_data.convert import CONVERTERS
from rollout.data.bad_rows import in_words

# Rows of one file that are shown.
SHOWN = 3


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="launch.prepare_data",
        description=__doc__.splitlines()[0],
        usage="launch.prepare_data [-h] FILE | ROOT [NAME=RELEASE ...]",
    )
    parser.add_argument("root", type=Path, metavar="ROOT|FILE", help="the folder of data sets (data.root), or one file")
    parser.add_argument("releases", nargs="*", metavar="NAME=RELEASE", help=f"NAME: {', '.join(CONVERTERS)}")
    options = parser.parse_args(arguments)
    if options.root.is_file():
        return _one_file(options.root, options.releases)
    try:
        releases = [(name, source) for name, _, source in (text.partition("=") for text in options.releases)]
        refuse_to_replace(releases, options.root)
        for name, source in releases:
            for path, rows, left_out in convert(name, source, options.root):
                sys.stdout.write(f"{path}: {rows:,} rows, {left_out} without an answer left out\n")
    except ConversionError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    checked = check(options.root)
    if not checked:
        there = "holds no <data set>/<split>.jsonl" if options.root.exists() else "does not exist"
        sys.stderr.write(f"'{options.root}' {there}; allowed: a folder of data sets, or one file of rows\n")
        return 2
    sys.stdout.write(f"{table(checked)}\n")
    for one, other, shared in overlaps(options.root):
        sys.stdout.write(f"{one} and {other} share {shared:,} questions\n")
    for item in checked:
        sys.stderr.write("".join(f"{line}\n" for line in in_words(item.bad)))
        if item.verdict in ("differs", "incomplete"):
            sys.stderr.write(f"{item.name}: {item.verdict}: not the rows and checksum that are known\n")
    return int(any(item.bad or item.verdict in ("differs", "incomplete") for item in checked))


def _one_file(path: Path, releases: list[str]) -> int:
    """Check one file and show its first rows as they were read; return the exit status: 0, 1 if a row is bad."""
    if releases:
        sys.stderr.write(f"'{path}' is a file; allowed with NAME=RELEASE: the folder of data sets\n")
        return 2
    checked, first = check_file(path, SHOWN)
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in checked.types.items())
    said = [f"{checked.rows:,} rows", f"{len(checked.bad):,} bad"]
    if checked.types:  # else no row could be read
        said += [f"answers: {kinds}", f"{checked.with_subquestions:,} with sub-questions"]
        said += [f"{checked.repeats:,} repeated question{'s' * (checked.repeats != 1)}"]
    sys.stdout.write("\n".join([f"{path}: {'; '.join(said)}", *first, ""]))
    sys.stderr.write("".join(f"{line}\n" for line in in_words(checked.bad)))
    return int(bool(checked.bad))


if __name__ == "__main__":
    sys.exit(main())
