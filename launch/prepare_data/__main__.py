"""Make and check a folder of data sets: ``python -m launch.prepare_data ROOT [NAME=RELEASE ...]``.

Each NAME=RELEASE converts an original release (its folder, a file of it, or ``hub``) into ROOT/NAME/. Then every file
under ROOT is read whole and its rows, checksum and gold answers are checked. Exit status: 0, 1 if a row is bad or a
file is not what it is known to be, 2 if something could not be converted. docs/data.md has names and formats.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from launch.prepare_data.check import ConversionError, check, convert, overlaps, table
from launch.prepare_data.convert import CONVERTERS


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="launch.prepare_data", description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="the folder of data sets (data.root)")
    parser.add_argument("releases", nargs="*", metavar="NAME=RELEASE", help=f"NAME: {', '.join(CONVERTERS)}")
    options = parser.parse_args(arguments)
    try:
        for release in options.releases:
            name, _, source = release.partition("=")
            for path, rows, left_out in convert(name, source, options.root):
                sys.stdout.write(f"{path}: {rows:,} rows, {left_out} without an answer left out\n")
    except ConversionError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    checked = check(options.root)
    if not checked:
        sys.stderr.write(f"'{options.root}' holds no <data set>/<split>.jsonl\n")
        return 2
    sys.stdout.write(f"{table(checked)}\n")
    for one, other, shared in overlaps(options.root):
        sys.stdout.write(f"{one} and {other} share {shared:,} questions\n")
    for item in checked:
        sys.stderr.write("".join(f"{row}\n" for row in item.bad))
        if item.verdict in ("differs", "incomplete"):
            sys.stderr.write(f"{item.name}: {item.verdict}: not the rows and checksum that are known\n")
    return int(any(item.bad or item.verdict in ("differs", "incomplete") for item in checked))


if __name__ == "__main__":
    sys.exit(main())
