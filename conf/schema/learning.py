"""The schema of the groups ``algorithm``, ``sft`` and ``learner``; the terms are those of docs/learning.md."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from conf.schema.base import FREE, GROWS, PATH, Group
from conf.schema.deepspeed import check_settings
from conf.schema.own_parts import PartName

Share = Field(ge=0.0, le=1.0)
FineTunedRole = Literal["decomposer", "solver", "verifier", "monolith"]


class Algorithm(Group):
    """PPO; the terms are those of docs/learning.md."""

    steps: Annotated[int, GROWS] = Field(ge=0)
    """Learner steps of stage 2."""
    batch_size: int = Field(ge=1)
    """Episodes a learner step."""
    epochs: int = Field(1, ge=1)
    """Times that a batch is gone through."""
    minibatches: int = Field(1, ge=1)
    """Optimiser steps that an epoch of a batch is divided into."""
    advantage: Annotated[str, PartName(("gae", "grpo", "rloo", "reinforce_plus_plus"))] = "gae"
    """Estimator of the advantage."""
    group_size: int = Field(1, ge=1)
    """Samples of each problem."""
    group_std: bool = True
    """Divide by the group's standard deviation (grpo); Dr. GRPO does not."""
    resample_flat_groups: bool = False
    """Drop groups whose rewards are all alike, and draw others in their place."""
    resample_limit: int = Field(3, ge=1)
    """Batches' worth of such groups that are dropped between two steps at most."""
    gamma: float = Field(1.0, gt=0, le=1)
    """Discount a token."""
    lam: float = Share
    """Lambda of GAE: how far back the reward reaches."""
    call_gamma: float = Field(1.0, gt=0, le=1)
    """Discount from a policy call to the next, beside `gamma` (gae)."""
    credit: Literal["terminal", "subquestion", "call"] = "terminal"
    """Whether all reward is paid at the last token, or a sub-question's at its own last token, or a policy call's."""
    whiten: bool = True
    """Shift and scale a batch's advantages to mean 0 and standard deviation 1."""
    clip_low: float = Field(0.2, gt=0, lt=1)
    """How far below 1 the ratio of new to old policy may pull."""
    clip_high: float = Field(0.2, gt=0)
    """How far above 1 it may."""
    dual_clip: float | None = Field(None, gt=1)
    """Limit of a bad token's loss as a multiple of its advantage; null: none."""
    decoupled: bool = True
    """Correct for stale samples by a proximal policy (decoupled PPO)."""
    behaviour_weight_cap: float = Field(5.0, ge=1)
    """Largest weight of that correction."""
    loss_aggregation: Literal["token_mean", "sequence_mean"] = "token_mean"
    """Whether the loss is a mean over tokens, or over sequences of their means."""
    kl_coef: float = Field(0.02, ge=0)
    """Charge for leaving the policy that stage 2 began with; 0: no reference model."""
    kl: Literal["reward", "loss"] = "reward"
    """Whether it is charged in the reward, or added to the loss."""
    kl_control: Literal["fixed", "adaptive"] = "fixed"
    """Whether `kl_coef` stays, or follows `kl_target`."""
    kl_target: float = Field(6.0, gt=0)
    """KL in nats a sequence that an adaptive `kl_coef` aims at."""
    kl_horizon: float = Field(10_000, gt=0)
    """Episodes over which an adaptive `kl_coef` moves."""
    entropy_coef: float = Field(0.0, ge=0)
    """Weight of the entropy in the loss."""
    value_coef: float = Field(0.5, ge=0)
    """Weight of the critic's loss."""
    value_clip: float = Field(0.2, gt=0)
    """How far a value may move from the old one in a step."""
    temperature: float = Field(1.0, gt=0)
    """Temperature at which decompositions are sampled for training."""

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
        if self.call_gamma != 1 and self.advantage != "gae":
            raise ValueError(f"call_gamma must be 1 for advantage {self.advantage}: only gae discounts between calls")
        if self.advantage == "reinforce_plus_plus" and not self.whiten:
            raise ValueError("whiten must be true for advantage reinforce_plus_plus: it is its only baseline")
        if self.kl_control == "adaptive" and self.kl_coef == 0:
            raise ValueError("kl_coef must be above 0 for kl_control adaptive, which multiplies it")
        # A step changes the coefficient by up to 20 % a horizon: by five horizons or more it would be 0 or below.
        if self.kl_control == "adaptive" and self.kl_horizon < self.batch_size:
            raise ValueError(
                f"kl_horizon must be at least batch_size ({self.batch_size}) for kl_control adaptive, found "
                f"{self.kl_horizon:g}"
            )
        return self


class SftSource(Group):
    """A source of examples for stage 1 (docs/sft.md)."""

    kind: Literal["data", "file", "distilled"]
    """Where its examples come from: the data set's own sub-questions made imperfect, a teacher's file, or draws from
    the present decomposer."""
    weight: float = Field(1.0, ge=0)
    """Its share in the mixture of sources; 0: none."""
    path: Annotated[str | None, PATH] = None
    """The teacher's file (docs/sft.md)."""
    screen: bool | None = None
    """Keep only decompositions that lead the solver to the right answer; null: of `distilled` alone."""
    samples: int = Field(4, ge=1)
    """Decompositions drawn for each problem (`distilled`)."""
    keep: int = Field(2, ge=1)
    """Decompositions of a problem that are kept at most (`distilled`)."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of those draws."""

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
    """What stage 1 measures on held-out problems that have sub-questions."""

    problems: int = Field(0, ge=0)
    """Held-out problems whose loss is measured, before, on the way and after; 0: none."""
    every: int = Field(50, ge=1)
    """Optimiser steps between two such measurements."""
    scored: int = Field(0, ge=0)
    """Held-out problems whose decompositions are compared with the reference, before and after; 0: none."""
    also: Annotated[dict[str, str], PATH] = Field({})
    """Further files to compare with, by name."""
    similarity: float = Field(0.8, gt=0, le=1)
    """Likeness from which on two sub-questions are taken for the same."""


class Sft(Group):
    """Stage 1: how many examples in all, where from, how imperfect the data set's sub-questions are made, the
    optimisation, and what is measured on the way."""

    role: FineTunedRole = "decomposer"
    """The role that is taught: to write sub-questions, to answer them, to judge replies, or to do all in one text."""
    problems: int = Field(ge=1)
    """Examples in all, which the sources share by their weights."""
    epochs: int = Field(1, ge=1)
    """Times that the examples are gone through."""
    batch_size: int = Field(32, ge=1)
    """Examples an optimiser step."""
    lr: float = Field(gt=0)
    """Learning rate."""
    drop: float = Share
    """Probability of leaving out a sub-question of the data set."""
    swap: float = Share
    """Probability of putting those that are left in random order."""
    redundant: float = Share
    """Probability of putting one needless sub-question in."""
    sources: dict[str, SftSource]
    """Where the examples come from, by name."""
    refused: float = Field(0.2, ge=0, le=1)
    """Share of the prompts of lm2 that show a sub-question as refused before the one that is to be written."""
    annotated: bool = False
    """Write a row's `equations` into the answers that the solver learns, as `<<48/2=24>>`, for `solver.calculator`."""
    direct: bool = False
    """Teach the solver the whole question by itself too, and not only after its sub-questions."""
    held_out: SftHeldOut
    """What is measured on held-out problems that have sub-questions."""
    vocabulary: Literal["whole", "examples"] = "whole"
    """Words that the loss tells apart: the model's, or only those of the examples' completions, which is less work
    where the vocabulary is large."""
    checkpoint_every: Annotated[int, FREE] = Field(100, ge=1)
    """Optimiser steps between checkpoints."""

    @field_validator("sources")
    @classmethod
    def _named(cls, value: dict[str, SftSource]) -> dict[str, SftSource]:
        for name in value:
            if not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"name {name!r} becomes part of a file's; allowed: letters, digits, _ and -")
        if not any(source.weight for source in value.values()):
            raise ValueError("must have a source whose weight is above 0")
        return value

    @model_validator(mode="after")
    def _of_role(self) -> Sft:
        for key in ("annotated", "direct"):
            if getattr(self, key) and self.role != "solver":
                raise ValueError(f"{key}: true is for role solver, found role {self.role}; allowed with it: false")
        return self


class Learner(Group):
    """The DeepSpeed learner: one rank a GPU, or CPU ranks over gloo."""

    ranks: int = Field(1, ge=1)
    """Processes that learn together."""
    gpus_per_rank: float = Field(0.0, ge=0, le=1)
    """GPU of each, or the share of one that it takes of Ray; 0: on the CPU."""
    threads: Annotated[int, FREE] = Field(1, ge=1)
    """Cores of each."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """What DeepSpeed divides among the ranks: nothing, optimiser states, gradients too, weights too."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights that are trained."""
    lr: float = Field(gt=0)
    """Learning rate of the policy."""
    warmup_steps: int = Field(0, ge=0)
    """Optimiser steps in which the learning rates rise from 0; the policy's after the critic's warm-up."""
    lr_schedule: Literal["constant", "linear"] = "linear"
    """Whether the learning rates then stay, or fall to 0 at the last step."""
    critic_lr: float = Field(gt=0)
    """Learning rate of the critic."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    """Adam's two decay rates."""
    weight_decay: float = Field(0.0, ge=0)
    """Adam's weight decay."""
    grad_clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    max_tokens_per_microbatch: Annotated[int, FREE] = Field(8192, ge=16)
    """Tokens that go through the model at once."""
    logits_per_chunk: Annotated[int, FREE] = Field(2**26, ge=1)
    """Logits, tokens times words of the vocabulary, that are held at once; more are computed again in chunks."""
    packing: Literal["padded", "packed"] = "padded"
    """Whether sequences are padded to one length, or several stand in one row."""
    attention: Literal["auto", "flash_attention_2"] = "auto"
    """`flash_attention_2` needs its package, GPUs and bfloat16."""
    gradient_checkpointing: Annotated[bool, FREE] = False
    """Compute activations again instead of keeping them."""
    compile: Annotated[bool, FREE] = False
    """Have torch compile the layers, which takes a minute when a stage begins; needs a C++ compiler (ZeRO 0 to 2)."""
    offload_optimizer: bool = False
    """Keep the optimiser's state in the CPU's memory and step there (ZeRO 1 to 3)."""
    deepspeed: dict[str, Any] = Field({})
    """More of DeepSpeed's own settings, as {zero_optimization: {overlap_comm: true}}."""
    critic: Literal["shared", "separate", "none"] = "shared"
    """Whether the critic is a head on the policy, a model of its own, or absent."""
    critic_warmup_steps: int = Field(0, ge=0)
    """Learner steps in which only a critic of its own learns."""
    checkpoint_every: Annotated[int, FREE] = Field(50, ge=1)
    """Learner steps between checkpoints."""
    keep_checkpoints: Annotated[int, FREE] = Field(2, ge=1)
    """Newest checkpoints that are kept."""

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
        if self.compile and self.zero_stage == 3:
            raise ValueError(
                "compile must be false where zero_stage is 3, which gathers the weights of each layer as it comes; "
                "allowed with it: zero_stage 0, 1, 2"
            )
        if self.attention == "flash_attention_2" and (self.gpus_per_rank == 0 or self.dtype != "bfloat16"):
            raise ValueError(
                "attention 'flash_attention_2' needs GPUs and dtype bfloat16, found gpus_per_rank "
                f"{self.gpus_per_rank:g} and dtype {self.dtype}; allowed with them: auto"
            )
        return self
