"""The configuration's schema: every key, its type and what is allowed. Hydra composes, this validates.

Nothing heavy is imported here, so a bad value is refused in a second, before any actor starts.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from conf.schema.base import FREE, MODEL, PATH, SECRET, Group
from conf.schema.cluster import Cluster
from conf.schema.data import Data
from conf.schema.gate import Gate
from conf.schema.learning import Algorithm, Learner, Sft
from conf.schema.matrix import Matrix
from conf.schema.model import Model, model_path
from conf.schema.policy import Policy
from conf.schema.rewards import Rewards
from conf.schema.rollout import Rollout
from conf.schema.rules import RULES
from conf.schema.run import Controller, Evaluation, Tracking
from conf.schema.solver import MixtureSolver, SingleSolver, Solver, solver_role
from conf.schema.strategy import Strategy


class Config(Group):
    """The whole configuration of ``launch.train``."""

    seed: int = Field(0, ge=0)
    """Seed of problems, sampling and weights that are drawn."""
    run_dir: Annotated[str | None, PATH, FREE] = None
    """Folder of the run; null: `runs/<date>_<time>`."""
    resume: Annotated[Literal["auto"] | None, FREE] = None
    """`auto` goes on with the run in `run_dir` from its newest checkpoint, if there is one."""
    mirror: Annotated[str | None, SECRET, FREE] = None
    """URL of fsspec at which a copy of the run's folder is kept, brought up to date at checkpoints and at the end."""
    stages: list[Literal["sft", "ppo", "evaluate"]] = Field(["sft", "ppo", "evaluate"], min_length=1)
    """What is done, in this order: fine-tuning, PPO, the evaluation on held-out problems."""
    start_from: Annotated[str | None, MODEL] = None
    """Decomposer to begin with instead of `model.path`, such as `RUN_DIR/checkpoints/sft`."""
    model: Model
    solver: Solver
    policy: Policy = Field(default_factory=lambda: Policy.model_validate({}))
    verifier: SingleSolver | None = None
    data: Data
    strategy: Strategy
    rewards: Rewards
    algorithm: Algorithm
    sft: Sft
    learner: Learner
    rollout: Rollout
    controller: Controller
    evaluation: Evaluation
    cluster: Annotated[Cluster, FREE]
    tracking: Annotated[Tracking, FREE]
    gate: Annotated[Gate, FREE] = Field(default_factory=lambda: Gate.model_validate({}))
    matrix: Matrix | None = None

    @property
    def decomposer_path(self) -> str:
        """The folder or hub name of the model that the policy begins with."""
        return model_path(self.start_from or self.model.path)

    @property
    def policy_dtype(self) -> str:
        """The type of numbers of the policy's engines."""
        return self.model.dtype or self.learner.dtype

    @property
    def mixture(self) -> tuple[str, ...]:
        """The names of a mixture's solvers; empty where there is one solver."""
        return tuple(self.solver.mixture) if isinstance(self.solver, MixtureSolver) else ()

    @property
    def solver_names(self) -> tuple[str | None, ...]:
        """The names by which episodes know their solvers: those of a mixture, or None for the only one."""
        return self.mixture or (None,)

    @property
    def solvers(self) -> dict[str, SingleSolver]:
        """The frozen solvers by dotted key: ``solver``, or those of a mixture."""
        if not isinstance(self.solver, MixtureSolver):
            return {"solver": self.solver}
        return {solver_role(name): one for name, one in self.solver.mixture.items()}

    @property
    def frozen(self) -> dict[str, SingleSolver]:
        """The frozen backends by dotted key: the solvers, and the verifier if there is one."""
        return self.solvers | ({} if self.verifier is None else {"verifier": self.verifier})

    def of_solver(self, name: str | None) -> Config:
        """Return the configuration with the one solver of this name from the mixture; itself for None."""
        if name is None or not isinstance(self.solver, MixtureSolver):
            return self
        return self.model_copy(update={"solver": self.solver.mixture[name]})

    @field_validator("run_dir")
    @classmethod
    def _folder(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("is empty; allowed: a folder, or null for runs/<date>_<time>")
        if value is not None and "://" in value:
            raise ValueError("must be a folder; mirror=URL keeps a copy of it in a bucket")
        return value

    @field_validator("verifier", mode="before")
    @classmethod
    def _nobody(cls, value: Any) -> Any:
        """Read `verifier=none` as null, which no file of Hydra can be."""
        return None if value in ({}, {"backend": "none"}) else value

    @field_validator("mirror")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        # fsspec chains URLs with "::".
        if value is not None and ("://" not in value or any(urlsplit(url).password for url in value.split("::"))):
            raise ValueError("must be a URL, as s3://BUCKET/runs, without a password: keys belong in the environment")
        return value

    @model_validator(mode="after")
    def _together(self) -> Config:
        for rule in RULES:
            rule(self)
        return self
