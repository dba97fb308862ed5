"""From a matrix to its cells, each a validated configuration."""

from __future__ import annotations

import itertools

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.strategy import UNTRAINED
from launch.compose import compose
from launch.evaluate.matrix import Cell


def cells(config: Config, overrides: list[str]) -> list[Cell]:
    """Return every cell that makes sense: a strategy that asks no decomposer goes with none, the others with each, but
    for those that the matrix leaves out.

    ``overrides`` are those of the command line; they hold for every cell, and each axis adds its own. Raises
    ConfigError that names the cell.
    """
    matrix = config.matrix
    assert matrix is not None
    common = [text for text in overrides if not text.lstrip("+~").startswith(("matrix", "run_dir=", "stages="))]
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
            if left_out or untrained != (value is None):
                continue
            given = value if isinstance(value, str) else None
            own = _composed(f"{name}.{decomposer}", [*chosen, *value]) if isinstance(value, list) else plain
            found.append(Cell(data, solver, strategy, decomposer, given, own))
    for strategy in matrix.strategies:
        if not any(cell.strategy == strategy for cell in found):
            raise ConfigError(
                f"matrix.strategies.{strategy}: no cell goes with it; matrix.decomposers must have one that is null "
                "for strategies that ask none, and another for those that do"
            )
    return found


def _composed(name: str, overrides: list[str]) -> Config:
    try:
        return compose([*overrides, "stages=[evaluate]"])
    except ConfigError as error:
        raise ConfigError(f"matrix cell {name}: {error}") from None
