"""The roles that a configuration has actors for, how many, and what each of them reserves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conf.schema.config import Config
from conf.schema.solver import OwnSolver, VllmSolver, actor_count

ROLES = ("learner", "rollout", "solver", "verifier", "reward")


@dataclass(frozen=True)
class RoleSize:
    """``count`` actors of a kind, with the cores and GPUs of each. The solvers of a mixture are a role each, by their
    dotted keys."""

    name: str
    count: int
    cpus: float
    gpus: float


def kind_of(role: str) -> str:
    """Return which of ``ROLES`` a role is: for all solvers of a mixture the same."""
    return role.partition(".")[0]


def needed(config: Config) -> tuple[str, ...]:
    """Return the roles that a run has: an evaluation has no learner. A replay has the learner alone, and so has stage 1
    by itself for a role that learns from the rows of the data set, where nobody is asked anything."""
    from_rows = set(config.stages) == {"sft"} and config.sft.role != "decomposer"
    if config.rollout.replay or from_rows:
        return ("learner",)
    return ROLES if {"sft", "ppo"} & set(config.stages) else tuple(role for role in ROLES if role != "learner")


def role_sizes(config: Config, only: Sequence[str] | None = None) -> list[RoleSize]:
    """Return the roles of a run, or some of them. On a laptop there are more than cores, so they share those; on a
    cluster each reserves its own."""
    share = 0 if config.cluster.address is None else 1
    learner, rollout = config.learner, config.rollout
    found = [
        RoleSize("learner", learner.ranks, share * learner.threads, learner.gpus_per_rank),
        RoleSize("rollout", rollout.workers, share * rollout.threads, rollout.gpus),
        *(
            _frozen(name, settings, share)
            for name, settings in config.frozen.items()
            if name == "verifier" or config.policy.asks_frozen_solver
        ),
        RoleSize("reward", config.rewards.workers, share, 0),
    ]
    return [role for role in found if kind_of(role.name) in (needed(config) if only is None else only)]


def _frozen(name: str, settings: Any, share: int) -> RoleSize:
    """Return the size of a role that a frozen backend plays; a server's account and a program take next to no time."""
    if isinstance(settings, VllmSolver | OwnSolver):
        return RoleSize(name, actor_count(settings), share * settings.threads, settings.gpus)
    return RoleSize(name, actor_count(settings), 0, 0)
