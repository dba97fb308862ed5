"""The schema of the groups ``algorithm``, ``sft`` and ``learner``; the terms are those of docs/learning.md."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from conf.schema.base import FREE, GROWS, PATH, Group
from conf.schema.deepspeed import check_settings
from conf.schema.own_parts import PartName

Share = Field(ge=0.0, le=1.0)


class Algorithm(Group):
    """PPO; the terms are those of docs/learning.md."""

    steps: Annotated[int, GROWS] = Field(ge=0)
    batch_size: int = Field(ge=1)
    epochs: int = Field(1, ge=1)
    minibatches: int = Field(1, ge=1)
    advantage: Annotated[str, PartName(("gae", "grpo", "rloo", "reinforce_plus_plus"))] = "gae"
    group_size: int = Field(1, ge=1)
    group_std: bool = True
    resample_flat_groups: bool = False
    resample_limit: int = Field(3, ge=1)
    gamma: float = Field(1.0, gt=0, le=1)
    lam: float = Share
    credit: Literal["terminal", "subquestion"] = "terminal"
    whiten: bool = True
    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.2, gt=0)
    dual_clip: float | None = Field(None, gt=1)
    decoupled: bool = True
    behaviour_weight_cap: float = Field(5.0, ge=1)
    loss_aggregation: Literal["token_mean", "sequence_mean"] = "token_mean"
    kl_coef: float = Field(0.02, ge=0)
    kl: Literal["reward", "loss"] = "reward"
    kl_control: Literal["fixed", "adaptive"] = "fixed"
    kl_target: float = Field(6.0, gt=0)
    kl_horizon: float = Field(10_000, gt=0)
    entropy_coef: float = Field(0.0, ge=0)
    value_coef: float = Field(0.5, ge=0)
    value_clip: float = Field(0.2, gt=0)
    temperature: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _sensible(self) -> Algorithm:
        one_score = self.advantage in ("grpo", "rloo")
        if one_score and self.group_size < 2:
            raise ValueError(f"group_size must be at least 2 for advantage {self.advantage}, found {self.group_size}")
        if self.batch_size % self.group_size:
            raise ValueError(f"batch_size ({self.batch_size}) must be divisible by group_size ({self.group_size})")
        if self.resample_flat_groups and self.group_size < 2:
            raise ValueError("resample_flat_groups must be false where group_size is 1: one sample has no variance")
        if one_score and self.credit != "terminal":
            raise ValueError(f"credit must be terminal for advantage {self.advantage}, which has one score a sequence")
        if one_score and self.gamma != 1:
            raise ValueError(f"gamma must be 1 for advantage {self.advantage}, which has one score a sequence")
        if self.advantage == "reinforce_plus_plus" and not self.whiten:
            raise ValueError("whiten must be true for advantage reinforce_plus_plus: it is its only baseline")
        if self.kl_control == "adaptive" and self.kl_coef == 0:
            raise ValueError("kl_coef must be above 0 for kl_control adaptive, which multiplies it")
        return self


class SftSource(Group):
    """Examples for stage 1, which has ``weight`` in their mixture. ``kind``:

    ``data``, the data set's own sub-questions, made imperfect; ``file``, a teacher's (``path``, docs/sft.md);
    ``distilled``, ``samples`` decompositions a problem, drawn from the present decomposer at ``temperature``, of which
    at most ``keep`` are kept. ``screen`` keeps only those that lead the solver to the right answer; null: that is so
    for ``distilled`` alone.
    """

    kind: Literal["data", "file", "distilled"]
    weight: float = Field(1.0, ge=0)
    path: Annotated[str | None, PATH] = None
    screen: bool | None = None
    samples: int = Field(4, ge=1)
    keep: int = Field(2, ge=1)
    temperature: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> SftSource:
        if (self.kind == "file") != (self.path is not None):
            raise ValueError(f"path must be {'given' if self.kind == 'file' else 'null'} where kind is {self.kind}")
        return self

    @property
    def screened(self) -> bool:
        """Whether only what leads to the right answer is kept."""
        return self.kind == "distilled" if self.screen is None else self.screen


class SftHeldOut(Group):
    """What is measured on held-out problems that have sub-questions: the loss of ``problems`` of them, before, every
    ``every`` steps and after; and how near the decompositions of ``scored`` of them, and of as many of each file of
    ``also`` (name: path), come to theirs, before and after. Sub-questions are matched from ``similarity`` on."""

    problems: int = Field(0, ge=0)
    every: int = Field(50, ge=1)
    scored: int = Field(0, ge=0)
    also: Annotated[dict[str, str], PATH] = Field({})
    similarity: float = Field(0.8, gt=0, le=1)


class Sft(Group):
    """Stage 1: how many examples in all, where from, how imperfect the data set's sub-questions are made, the
    optimisation, and what is measured on the way.

    ``drop``, ``swap`` and ``redundant`` are probabilities: of leaving out each sub-question, of putting the rest
    in random order, of putting one needless question in. ``checkpoint_every`` is in optimiser steps.
    """

    problems: int = Field(ge=1)
    epochs: int = Field(1, ge=1)
    batch_size: int = Field(32, ge=1)
    lr: float = Field(gt=0)
    drop: float = Share
    swap: float = Share
    redundant: float = Share
    sources: dict[str, SftSource]
    held_out: SftHeldOut
    checkpoint_every: Annotated[int, FREE] = Field(100, ge=1)

    @field_validator("sources")
    @classmethod
    def _named(cls, value: dict[str, SftSource]) -> dict[str, SftSource]:
        for name in value:
            if not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"name {name!r} becomes part of a file's; allowed: letters, digits, _ and -")
        if not any(source.weight for source in value.values()):
            raise ValueError("must have a source whose weight is above 0")
        return value


class Learner(Group):
    """The DeepSpeed learner: one rank a GPU, or CPU ranks over gloo.

    ``logits_per_chunk`` bounds tokens times words of the vocabulary for which logits are held at once: a micro-batch
    that may have more is projected onto the vocabulary in chunks, and once more on the way back. ``deepspeed`` is added
    to DeepSpeed's own configuration, under its names, for what no other key sets.
    """

    ranks: int = Field(1, ge=1)
    gpus_per_rank: float = Field(0.0, ge=0)
    threads: Annotated[int, FREE] = Field(1, ge=1)
    zero_stage: Literal[0, 1, 2, 3] = 1
    dtype: Literal["float32", "bfloat16"] = "float32"
    lr: float = Field(gt=0)
    warmup_steps: int = Field(0, ge=0)
    lr_schedule: Literal["constant", "linear"] = "linear"
    critic_lr: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(0.0, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    max_tokens_per_microbatch: int = Field(8192, ge=16)
    logits_per_chunk: int = Field(2**26, ge=1)
    packing: Literal["padded", "packed"] = "padded"
    attention: Literal["auto", "flash_attention_2"] = "auto"
    gradient_checkpointing: bool = False
    offload_optimizer: bool = False
    deepspeed: dict[str, Any] = Field({})
    critic: Literal["shared", "separate", "none"] = "shared"
    critic_warmup_steps: int = Field(0, ge=0)
    checkpoint_every: Annotated[int, FREE] = Field(50, ge=1)
    keep_checkpoints: Annotated[int, FREE] = Field(2, ge=1)

    @field_validator("deepspeed")
    @classmethod
    def _not_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_settings(value)
        return value

    @model_validator(mode="after")
    def _devices(self) -> Learner:
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError(
                "offload_optimizer must be false where zero_stage is 0: DeepSpeed offloads what ZeRO has partitioned; "
                "allowed with it: zero_stage 1, 2, 3"
            )
        if self.attention == "flash_attention_2" and (self.gpus_per_rank == 0 or self.dtype != "bfloat16"):
            raise ValueError(
                "attention 'flash_attention_2' needs GPUs and dtype bfloat16, found gpus_per_rank "
                f"{self.gpus_per_rank:g} and dtype {self.dtype}; allowed with them: auto"
            )
        return self
