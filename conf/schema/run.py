"""The schema of the groups ``controller``, ``evaluation`` and ``tracking``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from conf.schema.base import FREE, Group
from conf.schema.own_parts import PartName


class Controller(Group):
    """Admission of episodes, waiting and retrying."""

    max_staleness: int = Field(1, ge=0)
    """Weight versions that an episode may be older than the step that trains on it; 0 is synchronous."""
    staleness_target: float | None = Field(None, ge=0)
    """Staleness that admissions aim at, in versions or parts of one, at most `max_staleness`; null: that."""
    start_timeout_s: Annotated[float, FREE] = Field(600.0, gt=0)
    """Seconds in which an actor must have started, or have come back after it died."""
    wait_timeout_s: Annotated[float, FREE] = Field(600.0, gt=0)
    """Seconds of any other call, and of silence while episodes are running."""
    learner_timeout_s: Annotated[float, FREE] = Field(3600.0, gt=0)
    """Seconds of one call of a learner rank: a step, a checkpoint."""
    stop_timeout_s: Annotated[float, FREE] = Field(8.0, ge=0)
    """Seconds that a run which is stopped has for the step that it is in and a checkpoint."""
    max_tries: Annotated[int, FREE] = Field(3, ge=1)
    """Tries of an episode that an error of the infrastructure ended, and in a group of one that a timeout of solver or
    verifier ended; each has its own count."""
    max_dropped_in_a_row: Annotated[int, FREE] = Field(300, ge=1)
    """Groups in a row without anything to train on that end the run, if that is more than may be in flight."""
    engine_restarts: Annotated[int, FREE] = Field(20, ge=0)
    """How often each rollout worker, solver and verifier that died is started again in one run."""
    learner_restarts: Annotated[int, FREE] = Field(10, ge=0)
    """How often a learner that died is started again in one run."""
    engine_gap_alarm: Annotated[float | None, FREE] = Field(None, gt=0)
    """Mean difference of engine and learner, in nats a token, above which a step says so; null: 0.001, or 0.1 with
    bfloat16."""


class Evaluation(Group):
    """The evaluation on held-out problems, before stage 2 and after it, and on a subset of them on the way."""

    problems: int = Field(ge=1)
    """Held-out problems of the evaluation."""
    every: int = Field(0, ge=0)
    """Learner steps between evaluations on the way; 0: none."""
    subset: int = Field(64, ge=1)
    """Held-out problems of each of those."""
    gold: bool = True
    """Evaluate with the data set's own sub-questions too, where it has some."""
    base: bool = True
    """Evaluate what stage 1 begins with too: the decomposer as it comes, prompted and untrained."""
    filler: bool = True
    """Evaluate with as many sub-questions that ask nothing useful too (generated problems)."""
    stop_if_hopeless: Annotated[bool, FREE] = False
    """End the run before stage 2 where even the data set's own sub-questions help the solver no more than none do; it
    needs `gold`."""

    @model_validator(mode="after")
    def _judged(self) -> Evaluation:
        if self.stop_if_hopeless and not self.gold:
            raise ValueError("stop_if_hopeless compares with the data's own sub-questions; allowed with it: gold true")
        return self


class Tracking(Group):
    """W&B, trackers of the user's own (docs/extending.md), and what is kept of the episodes."""

    wandb: Literal["offline", "online", "disabled"] = "offline"
    """Whether W&B writes files alone, sends them, or is left out."""
    also: dict[str, Annotated[str, PartName()]] = Field({})
    """Trackers of your own, by name."""
    project: str = "decomposer"
    """W&B's project."""
    group: str | None = None
    """W&B's group; a sweep gives its name."""
    name: str | None = None
    """The run's name at W&B; null: that of its folder."""
    tags: list[str] = Field([])
    """W&B's tags."""
    episodes_per_step: int = Field(4, ge=0)
    """Training episodes of each learner step that are kept."""
    table_every: int = Field(20, ge=0)
    """Learner steps after which W&B gets the episodes since the last time as a table; 0: all of them at the end."""
