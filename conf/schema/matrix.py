"""The schema of the group ``matrix``: what is evaluated with what. Each name on an axis stands for Hydra overrides."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from conf.schema.base import OVERRIDES, PATH, Group


class EqualTokens(Group):
    """The cell whose mean tokens an episode, of all roles, are another strategy's budget, with the same solver and
    data."""

    decomposer: str
    """The cell's decomposer."""
    strategy: str
    """The cell's strategy."""


class LeftOut(Group):
    """Cells that have all these names."""

    data: str | None = None
    """The cells' data set; null: any."""
    solver: str | None = None
    """The cells' solver; null: any."""
    strategy: str | None = None
    """The cells' strategy; null: any."""
    decomposer: str | None = None
    """The cells' decomposer; null: any."""

    @model_validator(mode="after")
    def _some(self) -> LeftOut:
        if not self.model_dump(exclude_none=True):
            raise ValueError(f"must name something; allowed: {', '.join(type(self).model_fields)}")
        return self


class Matrix(Group):
    """Decomposers, solvers, strategies and data sets, each with each where that makes sense."""

    run: Annotated[str | None, PATH] = None
    """The run, or the sweep, whose decomposers are evaluated."""
    decomposers: Annotated[dict[str, list[str] | Literal["gold", "filler"] | None], OVERRIDES]
    """Decomposers by name: overrides that choose a model, `gold`, `filler`, or null where a strategy asks none."""
    solvers: Annotated[dict[str, list[str]], OVERRIDES]
    """Solvers by name, as overrides."""
    strategies: Annotated[dict[str, list[str]], OVERRIDES]
    """Strategies by name, as overrides."""
    data: Annotated[dict[str, list[str]], OVERRIDES]
    """Data sets by name, as overrides."""
    equal_tokens: dict[str, EqualTokens] = Field({})
    """The cell whose tokens are the budget of a strategy that has one, by the strategy's name."""
    leave_out: list[LeftOut] = Field([])
    """Cells that would say nothing."""
    decomposers_of: dict[str, list[str]] = Field({})
    """Decomposers that a strategy goes with, by the strategy's name, where it does not go with all of them."""
    baseline: str = "direct"
    """The strategy that every other cell is compared with."""
    problems: int = Field(500, ge=1)
    """Held-out problems of each cell."""
    samples: int = Field(1, ge=1)
    """Decompositions of each problem."""
    pass_at: list[int] = Field([1], min_length=1)
    """Numbers of samples of which one must be right, for pass@k."""
    temperature: float = Field(0.0, ge=0)
    """The decomposer's temperature; 0: greedy."""

    @field_validator("decomposers", "solvers", "strategies", "data")
    @classmethod
    def _named(cls, value: dict[str, object]) -> dict[str, object]:
        if not value:
            raise ValueError("must name at least one")
        for name in value:
            if not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"name {name!r} becomes part of a file's; allowed: letters, digits, _ and -")
        return value

    @model_validator(mode="after")
    def _together(self) -> Matrix:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("temperature must be above 0 where samples is above 1, or all samples would be alike")
        if max(self.pass_at) > self.samples or min(self.pass_at) < 1:
            raise ValueError(f"pass_at must be between 1 and samples ({self.samples}), found {self.pass_at}")
        # A matrix need not have the default one: then no cell is compared.
        if self.baseline not in (*self.strategies, "direct"):
            raise ValueError(f"baseline names '{self.baseline}'; allowed: {', '.join(self.strategies)}")
        for name, cell in self.equal_tokens.items():
            for axis, key in (("strategies", name), ("strategies", cell.strategy), ("decomposers", cell.decomposer)):
                if key not in getattr(self, axis):
                    raise ValueError(f"equal_tokens names '{key}'; allowed: {', '.join(getattr(self, axis))}")
            if cell.strategy in self.equal_tokens:
                free = ", ".join(one for one in self.strategies if one not in self.equal_tokens)
                raise ValueError(
                    f"equal_tokens.{name}.strategy: '{cell.strategy}' takes its own budget from another cell; allowed: "
                    f"{free or 'a strategy that equal_tokens does not name'}"
                )
        for name, own in self.decomposers_of.items():
            for axis, key in (("strategies", name), *(("decomposers", decomposer) for decomposer in own)):
                if key not in getattr(self, axis):
                    raise ValueError(f"decomposers_of names '{key}'; allowed: {', '.join(getattr(self, axis))}")
        return self
