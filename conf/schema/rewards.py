"""The schema of the group ``rewards``."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import yaml
from pydantic import Field

from conf.schema.base import FREE, MODEL, Group, OneOf
from conf.schema.own_parts import PartName
from conf.schema.places import CONF

Mode = Literal["paper", "authors_code", "bounded", "outcome"]
MODES: tuple[str, ...] = get_args(Mode)
PARTS = ("entity_coverage", "answer_consistency", "operation_order", "cot_proximity", "correctness")
PENALTIES = ("copy", "repeat", "given", "invalid")
Part = Annotated[str, OneOf(PARTS, own=True)]
Penalty = Annotated[str, OneOf(PENALTIES)]


class Rewards(Group):
    """The five parts: mode, weights and clips by part, penalties. ``parts`` are the user's own, by name
    (docs/extending.md); what they weigh and their clips stand with those of the five."""

    mode: Mode = "bounded"
    parts: dict[str, Annotated[str, PartName()]] = Field({})
    weights: dict[Part, float]
    clip: dict[Part, tuple[float, float] | None]
    penalty: dict[Penalty, float]
    correctness_baseline: Literal["none", "gain"] = "none"
    vectors: Annotated[str, MODEL] = "wordllama"
    workers: Annotated[int, FREE] = Field(1, ge=1)
    episode_seconds: Annotated[float, FREE] = Field(10.0, gt=0)

    @classmethod
    def for_mode(cls, mode: str) -> Rewards:
        """Read the mode's own settings from ``conf/rewards``; raises ValueError for an unknown mode."""
        if mode not in MODES:
            raise ValueError(f"unknown rewards mode {mode!r}; allowed: {', '.join(MODES)}")
        return cls.model_validate(yaml.safe_load((CONF / "rewards" / f"{mode}.yaml").read_text(encoding="utf-8")))

    @property
    def formulas(self) -> str:
        """The mode whose formulas the parts follow: ``outcome`` is ``bounded`` under other weights."""
        return "bounded" if self.mode == "outcome" else self.mode

    def clipped(self, part: str, value: float) -> float:
        """Return a part's value within its clip."""
        low, high = self.clip.get(part) or (value, value)
        return min(max(value, low), high)
