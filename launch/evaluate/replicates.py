"""Compare over training seeds: ``python -m launch.evaluate.replicates FOLDER [FOLDER ...] [--out DIR]``.

Each folder is that of a matrix, one a seed, with the same cells (docs/evaluation.md). Exit status: 0, or 2 if a folder
is refused.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conf.schema.base import ConfigError
from trainer.run_folder.files import read_json
from trainer.run_folder.lock import make_folder


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="launch.evaluate.replicates", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="+", help="a matrix's folder, one a seed")
    parser.add_argument("--out", type=Path, help="the folder that is written to; else the one that holds the first")
    options = parser.parse_args(arguments)
    folders = [folder.resolve() for folder in options.folder]
    out = options.out or folders[0].parent
    try:
        if os.path.isfile(out):
            raise ConfigError(f"--out: '{out}' is a file; allowed: a folder, which need not be there")
        cells = read_cells(folders)
        make_folder(out, "--out")
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    from launch.evaluate.replicates_table import write

    sys.stdout.write(f"{write(out, folders, cells)}\n")
    return 0


def read_cells(folders: Sequence[Path]) -> list[list[dict[str, Any]]]:
    """Return for each cell its results, one a folder. Raises ConfigError that names the folder, and the cell if there
    is one, where a folder is given twice, has no cells, lacks one that another has, or asked it other problems."""
    found = [{file.stem: read_json(file) for file in sorted((folder / "cells").glob("*.json"))} for folder in folders]
    for index, (folder, own) in enumerate(zip(folders, found, strict=True)):
        if folder in folders[:index]:
            raise ConfigError(f"'{folder}' is given twice; allowed: a folder a seed")
        if not own:
            raise ConfigError(f"'{folder}' has no cells/*.json; allowed: the folder of launch.evaluate matrix=NAME")
    for name in sorted(set().union(*found)):
        for folder, own in zip(folders, found, strict=True):
            if name not in own:
                raise ConfigError(f"'{folder}' lacks the cell {name}, which another has; allowed: the same in all")
        first, *others = ({row["problem"] for row in own[name]["rows"]} for own in found)
        for folder, problems in zip(folders[1:], others, strict=True):
            if problems != first:
                raise ConfigError(f"'{folder}' has other problems in the cell {name} than '{folders[0]}'")
    return [[own[name] for own in found] for name in found[0]]


if __name__ == "__main__":
    sys.exit(main())
