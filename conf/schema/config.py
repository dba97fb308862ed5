"""The configuration's schema: every key, its type and what is allowed. Hydra composes, this validates.

Nothing heavy is imported here, so a bad value is refused in a second, before any actor starts.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from conf.schema.base import Group
from conf.schema.cluster import Cluster
from conf.schema.data import Data
from conf.schema.learning import Algorithm, Learner, Sft
from conf.schema.matrix import Matrix
from conf.schema.model import Model, model_path
from conf.schema.rewards import Rewards
from conf.schema.rollout import Rollout
from conf.schema.run import Controller, Evaluation, Tracking
from conf.schema.solver import Solver
from conf.schema.strategy import UNTRAINED, Strategy


class Config(Group):
    """The whole configuration of ``launch.train``."""

    seed: int = Field(0, ge=0)
    run_dir: str | None = None
    resume: Literal["auto"] | None = None
    mirror: str | None = None
    stages: list[Literal["sft", "ppo", "evaluate"]] = Field(["sft", "ppo", "evaluate"])
    start_from: str | None = None
    model: Model
    solver: Solver
    data: Data
    strategy: Strategy
    rewards: Rewards
    algorithm: Algorithm
    sft: Sft
    learner: Learner
    rollout: Rollout
    controller: Controller
    evaluation: Evaluation
    cluster: Cluster
    tracking: Tracking
    matrix: Matrix | None = None

    @property
    def decomposer_path(self) -> str:
        """The folder or hub name of the model that the policy begins with."""
        return model_path(self.start_from or self.model.path)

    @field_validator("run_dir")
    @classmethod
    def _folder(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            raise ValueError("must be a folder; mirror=URL keeps a copy of it in a bucket")
        return value

    @field_validator("mirror")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and ("://" not in value or urlsplit(value).password is not None):
            raise ValueError("must be a URL, as s3://BUCKET/runs, without a password: keys belong in the environment")
        return value

    @model_validator(mode="after")
    def _together(self) -> Config:
        algorithm, learner = self.algorithm, self.learner
        if algorithm.minibatches * learner.ranks > algorithm.batch_size:
            raise ValueError(
                "algorithm.minibatches times learner.ranks must be at most algorithm.batch_size: "
                "every rank needs a sequence of every minibatch"
            )
        if (algorithm.advantage == "gae") != (learner.critic != "none"):
            allowed = "shared, separate" if algorithm.advantage == "gae" else "none"
            raise ValueError(
                f"learner.critic: '{learner.critic}' cannot go with algorithm.advantage {algorithm.advantage}; "
                f"allowed: {allowed}"
            )
        if learner.critic_warmup_steps and learner.critic != "separate":
            raise ValueError(
                f"learner.critic_warmup_steps must be 0 with learner.critic {learner.critic}: "
                "only a critic of its own can learn while the policy stands still"
            )
        if self.learner.dtype == "bfloat16" and self.learner.gpus_per_rank == 0:
            raise ValueError("learner.dtype: bfloat16 needs GPUs; allowed on the CPU: float32")
        self._transport()
        if not any(weight > 0 for weight in self.rewards.weights.values()):
            raise ValueError(f"rewards.weights must have a part above 0, found {dict(self.rewards.weights)}")
        for role in self.cluster.beside:
            count = getattr(getattr(self, role), "workers", 1)
            if count > learner.ranks:
                raise ValueError(
                    f"cluster.beside: '{role}' has {count} workers, of which each needs a learner rank to lie beside; "
                    f"allowed with it: {role}.workers up to learner.ranks ({learner.ranks})"
                )
        if self.strategy.name in UNTRAINED and "ppo" in self.stages:
            raise ValueError(
                f"stages: ppo has nothing to train with strategy.name '{self.strategy.name}', which asks no "
                "decomposer; allowed with it: sft, evaluate"
            )
        if self.data.source == "files":
            if not self.data.train and {"sft", "ppo"} & set(self.stages):
                raise ValueError("stages: data.train is empty, there is nothing to train on; allowed: [evaluate]")
            if not self.data.held_out and not self.data.held_out_share and "evaluate" in self.stages:
                raise ValueError("data.held_out: empty; it or data.held_out_share must be given for stage evaluate")
        if "sft" in self.stages:
            self._stage_1()
        if self.resume and self.run_dir is None:
            raise ValueError("run_dir must be given with resume: the folder of the run to go on with")
        if self.rollout.replay and self.stages != ["ppo"]:
            raise ValueError(
                f"stages: {self.stages} is not allowed with rollout.replay, which starts no engine; allowed: [ppo]"
            )
        if self.rollout.replay and self.algorithm.resample_flat_groups:
            raise ValueError(
                "algorithm.resample_flat_groups must be false with rollout.replay: what was recorded is trained on"
            )
        return self

    def _stage_1(self) -> None:
        """Refuse what stage 1 could not do."""
        if self.sft.batch_size < self.learner.ranks:
            raise ValueError(
                f"sft.batch_size must be at least learner.ranks ({self.learner.ranks}), found {self.sft.batch_size}: "
                "every rank needs an example"
            )
        asking = self.strategy.name in UNTRAINED
        for name, source in self.sft.sources.items():
            if asking and source.weight and (source.kind == "distilled" or source.screened):
                raise ValueError(
                    f"sft.sources.{name}: strategy.name '{self.strategy.name}' asks no decomposer, so there is nothing "
                    "to sample or to screen; allowed with it: kind data or file, unscreened"
                )

    def _transport(self) -> None:
        """Refuse a way for the weights that these machines or this model do not have."""
        weights, key = self.rollout.weights, "rollout.weights"
        if weights.verify and self.rollout.tensor_parallel_size > 1:
            raise ValueError(f"{key}.verify: true reads whole tensors back; allowed: rollout.tensor_parallel_size 1")
        if weights.transport != "nccl":
            return
        gpus = (self.rollout.gpus, self.learner.gpus_per_rank)
        if min(gpus) < 1:
            raise ValueError(
                f"{key}.transport: 'nccl' needs a GPU of its own on either side (rollout.gpus and "
                f"learner.gpus_per_rank at least 1, found {gpus[0]:g} and {gpus[1]:g}); allowed without: object_store"
            )
        if self.model.lora is not None and weights.adapter_only:
            raise ValueError(f"{key}.adapter_only: true is for object_store; allowed with transport nccl: false")
        if self.model.dtype != self.learner.dtype:
            raise ValueError(
                f"{key}.transport: 'nccl' sends weights as they are, and model.dtype is {self.model.dtype} where "
                f"learner.dtype is {self.learner.dtype}; allowed: the same, or object_store"
            )
