"""The schema of the groups ``controller``, ``evaluation`` and ``tracking``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from conf.schema.base import FREE, Group
from conf.schema.own_parts import PartName


class Controller(Group):
    """Admission, waiting and retrying. ``max_staleness`` is in weight versions; 0 is synchronous. Admissions aim at
    ``staleness_target``, in versions or parts of one, at most ``max_staleness`` (null: that); slow episodes may come to
    be staler than the target, never than the bound. ``start_timeout_s`` is for an actor's start, ``learner_timeout_s``
    for one call of a learner rank (a step, a checkpoint), ``wait_timeout_s`` for every other call, and for silence
    while episodes are running. ``max_dropped_in_a_row`` groups with nothing to train on, one after another, end the
    run, if that is more than may be in flight at once. A step in which the mean difference of engine and learner, in
    nats a token, is above ``engine_gap_alarm`` is said to be so; null: 0.001, or 0.1 where either has weights in
    bfloat16."""

    max_staleness: int = Field(1, ge=0)
    staleness_target: float | None = Field(None, ge=0)
    start_timeout_s: Annotated[float, FREE] = Field(600.0, gt=0)
    wait_timeout_s: Annotated[float, FREE] = Field(600.0, gt=0)
    learner_timeout_s: Annotated[float, FREE] = Field(3600.0, gt=0)
    max_tries: Annotated[int, FREE] = Field(3, ge=1)
    max_dropped_in_a_row: Annotated[int, FREE] = Field(300, ge=1)
    learner_restarts: Annotated[int, FREE] = Field(3, ge=0)
    engine_gap_alarm: Annotated[float | None, FREE] = Field(None, gt=0)


class Evaluation(Group):
    """Stage 3, on held-out problems; and in stage 2, ``every`` learner steps (0: never), on the first ``subset`` of
    them."""

    problems: int = Field(ge=1)
    every: int = Field(0, ge=0)
    subset: int = Field(64, ge=1)
    gold: bool = True
    filler: bool = True


class Tracking(Group):
    """W&B, and how many episodes of a training batch are kept; ``table_every`` so many learner steps W&B gets those
    since the last time as a table (0: only all of them at the end). ``also``: trackers of the user's own, by name
    (docs/extending.md)."""

    wandb: Literal["offline", "online", "disabled"] = "offline"
    also: dict[str, Annotated[str, PartName()]] = Field({})
    project: str = "decomposer"
    group: str | None = None
    name: str | None = None
    tags: list[str] = Field([])
    episodes_per_step: int = Field(4, ge=0)
    table_every: int = Field(20, ge=0)
