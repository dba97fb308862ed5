"""Jobs for the rollout workers and their outcomes: data alone, without Ray or torch."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import NamedTuple

from conf.schema.config import Config
from conf.schema.solver import MixtureSolver
from rollout.records import Episode, PackedEpisode, Problem

# The outcome of a job that was not begun, since the solver's budget is spent.
BUDGET = "solver_budget"


class NotReady(RuntimeError):
    """A worker was asked before its ``ready``: its process is a new one, which holds no jobs and no sent weights."""


class JobKey(NamedTuple):
    """A job's lane and its id there, which name it."""

    lane: int
    id: int

    @property
    def key(self) -> JobKey:
        """Itself, as a job's ``key`` is."""
        return self


@dataclass(frozen=True)
class Job:
    """One episode to run. ``given``: use these sub-questions instead of the policy's. ``temperature`` is the
    policy's; ``seed`` comes from run seed, problem id and epoch. ``lane`` is whose it is, where several hand in jobs
    side by side; ``id`` is its own there. ``ahead``: it begins at once, beyond the worker's concurrency. ``config``:
    prompts, limits and strategy are read there for this episode, instead of in the worker's own; the engine stays what
    it is. ``solver``: the name of the mixture's solver that answers; None: as ``solver_of`` says. ``gold_logprobs``: at
    its end the frozen solver's log-probabilities of the gold answer are recorded. ``tries`` counts the errors that it
    was tried again after, ``late`` the timeouts."""

    id: int
    problem: Problem
    strategy: str
    seed: int
    temperature: float = 1.0
    given: list[str] | None = None
    tries: int = 0
    lane: int = 0
    ahead: bool = False
    config: Config | None = None
    solver: str | None = None
    gold_logprobs: bool = False
    late: int = 0

    @property
    def key(self) -> JobKey:
        """The job's name."""
        return JobKey(self.lane, self.id)


@dataclass(frozen=True)
class Outcome:
    """The result of a job: an episode, or the error of something that has to be tried again. ``no_reply``: the error is
    that the solver gave none.

    In another process it arrives with the job's name alone, and with its episode packed: whoever handed the job in has
    the rest, and need not open the episode."""

    job: Job | JobKey
    episode: Episode | PackedEpisode | None
    error: str | None = None
    no_reply: bool = False

    def __reduce__(self) -> tuple[type[Outcome], tuple[JobKey, PackedEpisode | None, str | None, bool]]:
        packed = self.episode.packed() if isinstance(self.episode, Episode) else self.episode
        return Outcome, (self.job.key, packed, self.error, self.no_reply)


def sampling_seed(run_seed: int, problem_id: str, epoch: int, sample: int = 0) -> int:
    """Return the seed of one sampling request; ``sample`` counts those of a group."""
    text = f"{run_seed} {problem_id} {epoch}" + (f" {sample}" if sample else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def drawn_solver(config: Config, seed: int) -> str | None:
    """Return the name of the mixture's solver that a seed draws, each as often as its weight says, whatever the order
    of the keys; None where there is one solver."""
    if not isinstance(config.solver, MixtureSolver):
        return None
    weights = {name: config.solver.mixture[name].weight for name in sorted(config.solver.mixture)}
    return random.Random(f"solver {seed}").choices(list(weights), list(weights.values()))[0]


def solver_of(config: Config, job: Job) -> str | None:
    """Return the name of the mixture's solver that answers a job's episode; None where there is one solver. A job that
    names none has that of its problem, so that every evaluation compares the same solvers."""
    return job.solver or drawn_solver(config, sampling_seed(config.seed, job.problem.id, 0))


def call_seed(seed: int, number: int) -> int:
    """Return the seed of an episode's ``number``-th policy call, counted from 0: the job's own for the first."""
    if number == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} call {number}".encode()).digest()[:4], "big") >> 1
