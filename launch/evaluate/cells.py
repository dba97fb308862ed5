"""From a matrix to its cells, each a validated configuration."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.matrix import Matrix
from conf.schema.override_text import quoted
from conf.schema.strategy import BUDGETED, UNTRAINED
from launch.compose import compose, key_of
from launch.evaluate.matrix import Cell


def cells(config: Config, overrides: list[str]) -> list[Cell]:
    """Return every cell that makes sense: a strategy that asks no decomposer goes with none, the others with each, but
    for those that the matrix leaves out.

    ``overrides`` are those of the command line; they hold for every cell, and each axis adds its own. Raises
    ConfigError that names the cell.
    """
    matrix = config.matrix
    assert matrix is not None
    # A matrix goes on with its folder by itself, and no cell with a run.
    not_theirs = ("matrix", "run_dir=", "resume=", "stages=")
    common = [text for text in overrides if not text.lstrip("+~").startswith(not_theirs)]
    found = []
    for data, solver, strategy in itertools.product(matrix.data, matrix.solvers, matrix.strategies):
        chosen = [*common, *matrix.data[data], *matrix.solvers[solver], *matrix.strategies[strategy]]
        name = f"{data}.{solver}.{strategy}"
        plain = _composed(name, chosen)
        if plain.policy.solves or plain.mixture:
            raise ConfigError(
                f"matrix cell {name}: a matrix compares decomposers over frozen solvers, one a cell; allowed: "
                "policy.plays=decomposer, and each solver of a mixture by its own name in matrix.solvers"
            )
        untrained = plain.strategy.name in UNTRAINED
        for decomposer, value in matrix.decomposers.items():
            names = {"data": data, "solver": solver, "strategy": strategy, "decomposer": decomposer}
            left_out = any(one.model_dump(exclude_none=True).items() <= names.items() for one in matrix.leave_out)
            left_out |= decomposer not in matrix.decomposers_of.get(strategy, matrix.decomposers)
            if left_out or untrained != (value is None):
                continue
            given = value if isinstance(value, str) else None
            own = _composed(f"{name}.{decomposer}", [*chosen, *_own(value)]) if isinstance(value, list) else plain
            found.append(Cell(data, solver, strategy, decomposer, given, own))
    for strategy in matrix.strategies:
        if not any(cell.strategy == strategy for cell in found):
            raise ConfigError(
                f"matrix.strategies.{strategy}: no cell goes with it; matrix.decomposers must have one that is null "
                "for strategies that ask none, and another for those that do"
            )
    for cell in found:
        if cell.strategy in matrix.equal_tokens and (own_name := cell.config.strategy.name) not in BUDGETED:
            raise ConfigError(
                f"matrix.equal_tokens.{cell.strategy}: strategy.name '{own_name}' spends what it needs, whatever its "
                f"budget; allowed: {', '.join(BUDGETED)}"
            )
    return found


def _own(decomposer: list[str]) -> list[str]:
    """Return a decomposer's overrides, such that a model which they choose holds before a start that every cell has."""
    keys = {key_of(text) for text in decomposer}
    chosen = keys & {"model", "model.path"} and "start_from" not in keys
    return ["start_from=null", *decomposer] if chosen else decomposer


def given_anew(overrides: Sequence[str], cells: Sequence[Cell], matrix: Matrix) -> list[str]:
    """Return overrides of a solver's or a verifier's keys as a matrix's command line must give them, for these cells:
    those of the axis that chooses it hold before others, and are repeated with the new values."""
    found: dict[str, list[str]] = {}
    for text, cell in itertools.product(overrides, cells):
        key = text.partition("=")[0]
        of_its_role = re.compile(rf"\W*{key.partition('.')[0]}[.=@]")
        axes = (("strategies", cell.strategy), ("solvers", cell.solver), ("data", cell.data))
        given = {f"matrix.{axis}.{name}": getattr(matrix, axis)[name] for axis, name in axes}
        at = next((at for at, texts in given.items() if any(map(of_its_role.match, texts))), None)
        if at is None:
            found[key] = [text]
        else:
            others = [one for one in found.get(at, given[at]) if one.lstrip("+").partition("=")[0] != key]
            found[at] = [*others, text]
    return [
        f"++{at}=[{','.join(map(quoted, texts))}]" if at.startswith("matrix.") else texts[0]
        for at, texts in found.items()
    ]


def _composed(name: str, overrides: list[str]) -> Config:
    try:
        return compose([*overrides, "stages=[evaluate]"])
    except ConfigError as error:
        raise ConfigError(f"matrix cell {name}: {error}") from None
