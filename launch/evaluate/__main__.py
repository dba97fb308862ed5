"""Evaluate: ``python -m launch.evaluate matrix=NAME [overrides]``, or the main job's stage 3 alone without a matrix.

A matrix is every decomposer with every solver, strategy and data set (conf/matrix, docs/evaluation.md). Interrupted
in any way, the same command with the same ``run_dir`` goes on: finished cells are not run again. Exit status: 0, 1
failed, 2 refused configuration, 128 + the number of a signal that stopped it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.override_text import command, resumed
from launch.check_models import check_models
from launch.check_solver import check_solver
from launch.compose import MULTIRUN, compose, key_of, parse
from launch.job import check_only_measures, run_folder
from launch.options import with_own_folders
from launch.train import main as stage
from rollout.signals import Stopped, exit_status, stop_in_order

if TYPE_CHECKING:
    from launch.evaluate.matrix import MatrixRun


# In a matrix's folder: its configuration, which is there first, and the files that are written anew each time.
CONFIG = "matrix.yaml"
TABLES = ("table.csv", "pairs.csv", "groups.csv", "verdicts.csv", "table.md", "matrix.png")


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    try:
        arguments = with_own_folders(arguments)
        if not any(text.lstrip("+").startswith("matrix=") for text in arguments):
            return stage(["stages=[evaluate]", *arguments])
        _check_no_sweep(arguments)
        return _matrix(compose([*arguments, "stages=[evaluate]"]), arguments)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _check_no_sweep(arguments: list[str]) -> None:
    """Raise ConfigError for several values of a key: a matrix is run for one of each."""
    several = [text for text in arguments if text in MULTIRUN]
    given = parse([text for text in arguments if text not in several])
    several += [key_of(override.input_line) for override in given if override.is_sweep_override()]
    if several:
        raise ConfigError(
            f"{several[0]}: a matrix is no sweep; allowed: a command with a run_dir of its own for each seed, then "
            "python -m launch.evaluate.replicates FOLDER FOLDER; a text with a comma must be quoted"
        )


def _matrix(config: Config, arguments: list[str]) -> int:
    import yaml
    from rich.console import Console

    from launch.evaluate.cells import cells
    from rollout.json_lines import write_whole
    from rollout.records import RecordError

    check_only_measures(config, "a matrix")
    planned = cells(config, arguments)
    for cell in planned:
        check_models(cell.config)
    for cell in {cell.solver_key: cell for cell in planned}.values():
        check_solver(cell.config)
    folder = run_folder(config)
    say = partial(Console().print, highlight=False, soft_wrap=True, markup=False)

    from launch.evaluate.matrix import MatrixRun
    from trainer.run_folder.lock import held_folder, refuse_others

    if not os.path.exists(folder / CONFIG):
        refuse_others(folder, names=TABLES)
    try:
        run = MatrixRun(config, planned, folder, say)
    except RecordError as error:
        raise ConfigError(f"data: {error}") from None
    with held_folder(folder):
        write_whole(folder / CONFIG, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        return _execute(run, arguments, say)


def _execute(run: MatrixRun, arguments: list[str], say: Callable[[str], object]) -> int:
    """Run the cells that are not finished, and write what there is; return the exit status."""
    from launch.evaluate.cells import given_anew
    from launch.evaluate.matrix_table import write
    from trainer.workers.errors import reason
    from trainer.workers.pipeline import BudgetSpent

    folder, status, more = run.folder, 0, list[str]()
    stop_in_order()
    try:
        asyncio.run(run.run())
    except (KeyboardInterrupt, Stopped) as stopped:
        status = exit_status(stopped)
    except BudgetSpent:
        spending = [cell for cell in run.cells if cell.config.frozen == run.account.config.frozen]
        status, more = 1, given_anew(run.account.larger_budget(), spending, run.matrix)
        say(f"{run.account.spent_line()}: what is finished is kept")
    except Exception as error:  # noqa: BLE001 - the run's end: said on the screen; what is finished stays
        status = 1
        say(f"failed {reason(error)}\ndetails in {folder / 'logs'}")
    results = [result for cell in run.cells if (result := run.result(cell)) is not None]
    if results:
        say(f"table   {write(folder, results, run.matrix)}\npicture {folder / 'matrix.png'}")
    if status:
        how = " with a larger budget" if more else ""
        say(f"to go on{how}: {command('launch.evaluate', resumed(arguments, str(folder), *more))}")
    say(str(folder))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
