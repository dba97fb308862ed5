"""The schema of the group ``data``: where problems come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from conf.schema.base import PATH, Group, expanded
from conf.schema.own_parts import PartName, is_own


class Data(Group):
    """Problems: the embedded generator (``chained``) or ``files`` of problems under ``root`` (docs/data.md).

    ``train`` and ``held_out`` are one path or several. Without ``held_out``, a ``held_out_share`` of the rows is.
    A ``source`` of the user's own is given its ``options`` (docs/extending.md).
    ``questions_only`` leaves out sub-questions that ask nothing ("Define a variable").
    """

    source: Annotated[str, PartName(("chained", "files"))]
    options: dict[str, Any] = Field({})
    steps: dict[int, float] = Field({})
    eval_steps: dict[int, float] = Field({})
    root: Annotated[str | None, PATH] = None
    train: list[str] = Field([])
    held_out: list[str] = Field([])
    held_out_share: float = Field(0.0, ge=0, lt=1)
    limit: int | None = Field(None, ge=1)
    on_bad_row: Literal["error", "skip"] = "error"
    on_overlap: Literal["drop", "refuse"] = "drop"
    questions_only: bool = False

    @field_validator("train", "held_out", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        several = [] if value is None else [value] if isinstance(value, str) else value
        return [expanded(path) for path in several] if isinstance(several, list) else several

    @model_validator(mode="after")
    def _complete(self) -> Data:
        if is_own(self.source):
            return self
        if self.options:
            raise ValueError(f"options must be empty where source is {self.source}: they are for a source of one's own")
        if self.source == "chained":
            for name, value in (("steps", self.steps), ("eval_steps", self.eval_steps)):
                if not value or min(value) < 1 or max(value) > 8 or min(value.values()) < 0 or not sum(value.values()):
                    raise ValueError(f"{name} must map 1 to 8 reasoning steps to weights of at least 0, found {value}")
        elif self.root is None or not (self.train or self.held_out):
            raise ValueError("root and train, held_out or both must be given when source is files")
        return self

    def files(self, name: str) -> list[Path]:
        """Return the paths of the ``train`` or ``held_out`` files."""
        return [Path(str(self.root)) / path for path in getattr(self, name)]
