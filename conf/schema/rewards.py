"""The schema of the group ``rewards``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from conf.schema.base import FREE, MODEL, Group, OneOf

PARTS = ("entity_coverage", "answer_consistency", "operation_order", "cot_proximity", "correctness")
MODES = ("paper", "authors_code", "bounded", "outcome")
PENALTIES = ("copy", "repeat", "invalid")
Part = Annotated[str, OneOf(PARTS)]
Penalty = Annotated[str, OneOf(PENALTIES)]


class Rewards(Group):
    """The five parts: mode, weights and clips by part, penalties."""

    mode: Literal["paper", "authors_code", "bounded", "outcome"] = "bounded"
    weights: dict[Part, float]
    clip: dict[Part, tuple[float, float] | None]
    penalty: dict[Penalty, float]
    correctness_baseline: Literal["none", "gain"] = "none"
    vectors: Annotated[str, MODEL] = "wordllama"
    workers: Annotated[int, FREE] = Field(1, ge=1)
    episode_seconds: Annotated[float, FREE] = Field(10.0, gt=0)
