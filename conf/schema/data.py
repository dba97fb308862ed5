"""The schema of the group ``data``: where problems come from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from conf.schema.base import HUB, MODEL, PATH, Group, expanded
from conf.schema.own_parts import PartName, is_own

# Sources that are generated here, word problems whose graph is known, and the fewest and most reasoning steps of each.
# A story of chained quantities has no kind of relation twice, and there are seven kinds: with seven steps a problem
# takes seconds to draw, with eight there is none.
GENERATORS = {"chained": (1, 6), "branched": (2, 12)}
# The way to the data sets, for who has none.
GET_DATA = "python -m launch.prepare_data FOLDER gsm8k=hub gsm8k_socratic=hub makes one (docs/data.md)"


class Embedded(Group):
    """Name what goes with a generated task: the models that ship for it, what it allows, learning rates and steps. The
    files of the other groups take it from here."""

    base: Annotated[str, MODEL]
    """The decomposer to begin with (`model=tiny`)."""
    solver: Annotated[str, MODEL]
    """The frozen solver (`solver=tiny`)."""
    second_solver: Annotated[str, MODEL]
    """Another one, less reliable (`solver=second`)."""
    verifier: Annotated[str | None, MODEL] = None
    """The verifier (`verifier=tiny`); null: none ships."""
    max_model_len: int = Field(ge=16)
    """Tokens that its models read and write at most."""
    max_subquestions: int = Field(ge=1)
    """Sub-questions of a decomposition at most."""
    sft_lr: float = Field(gt=0)
    """Highest learning rate of stage 1."""
    learner_lr: float = Field(gt=0)
    """Highest learning rate of PPO."""
    ppo_steps: int = Field(ge=1)
    """Learner steps of PPO."""


class Data(Group):
    """Problems: an embedded generator, files under ``root`` (docs/data.md), or a source of the user's own
    (docs/extending.md)."""

    source: Annotated[str, PartName((*GENERATORS, "files"))]
    """Source of problems: a generator, files of rows, or a class of your own."""
    options: dict[str, Any] = Field({})
    """What a class of your own is given, as it pleases."""
    steps: dict[int, float] = Field({})
    """Weight of each number of reasoning steps among the generated training problems."""
    eval_steps: dict[int, float] = Field({})
    """The same of the generated held-out problems."""
    embedded: Embedded | None = None
    """The models and limits of a generated task."""
    root: Annotated[str | None, PATH, HUB] = Field(None, validate_default=True)
    """Folder of the data sets, to which the paths of files are relative, or a data set's name on the hub that holds
    such files; null: DATA_ROOT of the environment, where the option says so."""
    train: list[str] = Field([])
    """File of training rows, or several."""
    held_out: list[str] = Field([])
    """File of held-out rows, or several."""
    held_out_share: float = Field(0.0, ge=0, lt=1)
    """Share of the training rows, by a hash of the question, that is held out where no file is."""
    limit: int | None = Field(None, ge=1)
    """Training rows that are used, from the first; null: all."""
    on_bad_row: Literal["error", "skip"] = "error"
    """Whether a row that is no problem ends the run, or is left out and counted."""
    on_overlap: Literal["drop", "refuse"] = "drop"
    """Whether a training row whose question is held out is left out and counted, or ends the run."""
    questions_only: bool = False
    """Leave out, and count, sub-questions without a question mark."""
    subquestions: list[Annotated[int, Field(ge=1)]] = Field([])
    """Numbers of sub-questions of the rows that are used; others are left out and counted; empty: any number."""
    numeric_subanswers: bool = False
    """Leave out, and count, rows whose answers to sub-questions (`subanswers`) are not all numbers."""

    @field_validator("root")
    @classmethod
    def _given(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("source") == "files":
            raise ValueError(f"must be the folder of data sets, here or in the variable DATA_ROOT; {GET_DATA}")
        return value

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
        if self.source in GENERATORS:
            fewest, most = GENERATORS[self.source]
            for name, value in (("steps", self.steps), ("eval_steps", self.eval_steps)):
                weighed = bool(value) and min(value.values()) >= 0 and sum(value.values()) > 0
                if not weighed or min(value) < fewest or max(value) > most:
                    raise ValueError(
                        f"{name} must map {fewest} to {most} reasoning steps to weights of at least 0, found {value}"
                    )
        elif not (self.train or self.held_out):
            raise ValueError("root and train, held_out or both must be given when source is files")
        return self

    @property
    def on_hub(self) -> bool:
        """Whether ``root`` is no folder here and has the form of a name on the hub."""
        return is_hub_name(self.root or "")

    def files(self, name: str) -> list[Path]:
        """Return the paths of the ``train`` or ``held_out`` files; where ``root`` is on the hub, they are not here."""
        return [Path(str(self.root)) / path for path in getattr(self, name)]


def is_hub_name(root: str) -> bool:
    """Return whether a root of data sets, or a model's path, is no folder here and has the form of a name on the
    hub."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", root) is not None and not Path(root).is_dir()
