"""The gate before PPO: ``python -m launch.gate start_from=DECOMPOSER [overrides]`` (docs/evaluation.md).

It measures the configured solver and decomposer on held-out problems and says whether PPO has something to learn.
Exit status: 0 passed, 1 failed, 2 refused configuration, 3 not passed, 128 + the number of a signal that stopped it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.override_text import command, resumed
from conf.schema.strategy import UNTRAINED
from launch.check_models import check_models
from launch.check_solver import check_solver
from launch.compose import compose
from launch.job import check_only_measures, run_folder
from rollout.signals import Stopped, exit_status, stop_in_order

if TYPE_CHECKING:
    from rich.console import Console

    from launch.gate.checks import Check, Share

NOT_PASSED = 3
# In the gate's folder: its configuration, which is there first, what it found, and the episodes.
GATE, FIGURES, EPISODES = "gate.yaml", "gate.json", "episodes"


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    from rollout.records import RecordError

    try:
        config = compose([*arguments, "stages=[evaluate]"])
        _check(config)
        return _gate(config, arguments)
    except RecordError as error:
        sys.stderr.write(f"data: {error}\n")
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
    return 2


def _check(config: Config) -> None:
    """Raise ConfigError for a configuration in which there is not one frozen solver and a decomposer, or with what the
    gate does nothing with."""
    check_only_measures(config, "launch.gate")
    if config.policy.solves or config.mixture:
        raise ConfigError(
            "solver: the gate measures one frozen solver; allowed: policy.plays=decomposer, and each solver of a "
            "mixture by itself"
        )
    if config.strategy.name in UNTRAINED:
        raise ConfigError(f"strategy.name: '{config.strategy.name}' asks no decomposer; allowed: one that does")
    if config.strategy.gate != "always":
        raise ConfigError(
            f"strategy.gate: with '{config.strategy.gate}' some questions are not decomposed, and their steps not "
            "measured; allowed here: always"
        )
    check_models(config)
    check_solver(config)


def _gate(config: Config, arguments: list[str]) -> int:
    """Measure, and say and write what was found; return the exit status."""
    import yaml
    from rich.console import Console

    from launch.gate.checks import checks
    from launch.gate.measure import gate_problems, measured
    from rollout.json_lines import write_whole
    from rollout.solvers.base import Usage
    from trainer.run_folder.lock import held_folder, refuse_others
    from trainer.run_folder.resume import CONFIG
    from trainer.workers.errors import reason
    from trainer.workers.pipeline import BudgetSpent
    from trainer.workers.solver_account import SolverAccount

    console, folder, problems = Console(), run_folder(config), gate_problems(config)

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    # The account of a run, too, is in its folder's logs.
    refuse_others(folder, names=(CONFIG,) if os.path.exists(folder / GATE) else (CONFIG, FIGURES, EPISODES))
    account = SolverAccount(config, folder / "logs", Usage())
    stop_in_order()
    with held_folder(folder):
        write_whole(folder / GATE, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        try:
            figures = asyncio.run(measured(config, problems, folder, account, say))
        except (KeyboardInterrupt, Stopped) as stopped:
            return exit_status(stopped)
        except BudgetSpent:
            again = command("launch.gate", resumed(arguments, str(folder), *account.larger_budget()))
            say(f"{account.spent_line()}: nothing was found\nto measure again with a larger budget: {again}")
            return 1
        except Exception as error:  # noqa: BLE001 - the command's end: said on the screen
            say(f"failed {reason(error)}\ndetails in {folder / 'logs'}")
            return 1
        found = checks(figures, config.gate)
        _write(folder / FIGURES, figures, found)
    _show(console, figures)
    for check in found:
        say(f"{'passed' if check.passed else 'NOT PASSED'}  {check.said}")
    say(str(folder))
    return 0 if all(check.passed for check in found) else NOT_PASSED


def _write(path: Path, figures: Mapping[str, Share], found: Sequence[Check]) -> None:
    from trainer.run_folder.files import write_json

    values = {name: asdict(figure) for name, figure in figures.items()}
    passed = all(check.passed for check in found)
    write_json(path, {"passed": passed, "figures": values, "checks": [asdict(check) for check in found]})


def _show(console: Console, figures: Mapping[str, Share]) -> None:
    from rich.table import Table

    from launch.gate.checks import MEASURED

    table = Table("measured", "of", "share", "95 %")
    for name, figure in figures.items():
        table.add_row(MEASURED[name], str(figure.count), f"{figure.mean:.3f}", f"{figure.low:.3f} – {figure.high:.3f}")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
