"""The schema of the group ``rewards``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from conf.schema.base import Group


class Rewards(Group):
    """The five parts: mode, weights and clips by part, penalties."""

    mode: Literal["paper", "authors_code", "bounded", "outcome"] = "bounded"
    weights: dict[str, float]
    clip: dict[str, tuple[float, float] | None]
    penalty: dict[str, float]
    correctness_baseline: Literal["none", "gain"] = "none"
    vectors: str = "wordllama"
    workers: int = Field(1, ge=1)
    episode_seconds: float = Field(10.0, gt=0)

    @field_validator("weights", "clip")
    @classmethod
    def _parts(cls, value: dict[str, Any]) -> dict[str, Any]:

        unknown = sorted(set(value) - set(PARTS))
        if unknown:
            raise ValueError(f"unknown part {unknown[0]!r}; allowed: {', '.join(PARTS)}")
        return value

    @field_validator("penalty")
    @classmethod
    def _penalties(cls, value: dict[str, float]) -> dict[str, float]:

        unknown = sorted(set(value) - set(PENALTIES))
        if unknown:
            raise ValueError(f"unknown penalty {unknown[0]!r}; allowed: {', '.join(PENALTIES)}")
        return value


PARTS = ("entity_coverage", "answer_consistency", "operation_order", "cot_proximity", "correctness")


MODES = ("paper", "authors_code", "bounded", "outcome")


PENALTIES = ("copy", "repeat", "invalid")
