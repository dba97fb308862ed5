"""The schema of the group ``matrix``: what is evaluated with what. Each name on an axis stands for Hydra overrides."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from conf.schema.base import OVERRIDES, PATH, Group


class EqualTokens(Group):
    """The cell whose mean solver tokens an episode are another strategy's budget, with the same solver and data."""

    decomposer: str
    strategy: str


class LeftOut(Group):
    """Cells that have all these names."""

    data: str | None = None
    solver: str | None = None
    strategy: str | None = None
    decomposer: str | None = None

    @model_validator(mode="after")
    def _some(self) -> LeftOut:
        if not self.model_dump(exclude_none=True):
            raise ValueError(f"must name something; allowed: {', '.join(type(self).model_fields)}")
        return self


class Matrix(Group):
    """Decomposers, solvers, strategies and data sets, each with each where that makes sense.

    A decomposer is null where there is none (for strategies that ask none), ``gold`` or ``filler``, or overrides
    that choose a model. ``equal_tokens`` maps a strategy with a token budget to the cell that sets it. ``temperature``
    is the decomposer's; ``baseline`` the strategy that every other cell is compared with. ``leave_out`` names cells
    that would say nothing, by one or more of their four names.
    """

    run: Annotated[str | None, PATH] = None
    decomposers: Annotated[dict[str, list[str] | Literal["gold", "filler"] | None], OVERRIDES]
    solvers: Annotated[dict[str, list[str]], OVERRIDES]
    strategies: Annotated[dict[str, list[str]], OVERRIDES]
    data: Annotated[dict[str, list[str]], OVERRIDES]
    equal_tokens: dict[str, EqualTokens] = Field({})
    leave_out: list[LeftOut] = Field([])
    baseline: str = "direct"
    problems: int = Field(500, ge=1)
    samples: int = Field(1, ge=1)
    pass_at: list[int] = Field([1], min_length=1)
    temperature: float = Field(0.0, ge=0)

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
        for name, cell in self.equal_tokens.items():
            for axis, key in (("strategies", name), ("strategies", cell.strategy), ("decomposers", cell.decomposer)):
                if key not in getattr(self, axis):
                    raise ValueError(f"equal_tokens names '{key}'; allowed: {', '.join(getattr(self, axis))}")
        return self
