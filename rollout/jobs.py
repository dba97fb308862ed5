"""Jobs for the rollout workers and their outcomes: data alone, without Ray or torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from rollout.engine.vllm_arguments import EngineSettings
from rollout.episode.limits import EpisodeLimits
from rollout.episode.parse_decomposition import ParseLimits
from rollout.episode.prompts import Prompts
from rollout.records import Episode, Problem
from rollout.strategies.base import DEFAULTS, Options

# The outcome of a job that was not begun, since the solver's budget is spent.
BUDGET = "solver_budget"


@dataclass(frozen=True)
class WorkerSettings:
    """What a rollout worker runs with. ``solver_window_s``: prompts put within it go to the solver in one call, and
    come back together; 0 sends each alone, for a solver whose replies take very different times. ``load_tries``: how
    often a load is tried whose weights turn out to be damaged."""

    engine: EngineSettings
    prompts: Prompts
    limits: ParseLimits
    max_tokens: int
    stop: tuple[str, ...] = ()
    concurrency: int = 128
    solver_window_s: float = 0.004
    options: Options = DEFAULTS
    episode: EpisodeLimits = field(default_factory=EpisodeLimits)
    load_tries: int = 3


@dataclass(frozen=True)
class Job:
    """One episode to run. ``plan``: use these sub-questions instead of the policy's. ``temperature`` is the
    policy's; ``seed`` comes from run seed, problem id and epoch. ``lane`` is whose it is, where several hand in jobs
    side by side; ``id`` is its own there. ``ahead``: it begins at once, beyond the worker's concurrency. ``settings``:
    prompts, limits and options for this episode instead of the worker's own; the engine stays what it is."""

    id: int
    problem: Problem
    strategy: str
    seed: int
    temperature: float = 1.0
    plan: list[str] | None = None
    tries: int = 0
    lane: int = 0
    ahead: bool = False
    settings: WorkerSettings | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job: an episode, or the error of something that has to be tried again."""

    job: Job
    episode: Episode | None
    error: str | None = None


def sampling_seed(run_seed: int, problem_id: str, epoch: int, sample: int = 0) -> int:
    """The seed of one sampling request; ``sample`` counts those of a group."""
    text = f"{run_seed} {problem_id} {epoch}" + (f" {sample}" if sample else "")
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
