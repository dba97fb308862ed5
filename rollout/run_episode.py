"""Run one job's episode: give its roles to the policy and to the frozen backends, and its strategy the roles."""

from __future__ import annotations

import time

from conf.schema.config import Config
from rollout.engine.vllm_engine import Generator
from rollout.episode.contracts import Decomposer, LikelihoodSolver, Role, Solver, Writer
from rollout.episode.limits import EpisodeBudget
from rollout.episode.prompts import Prompts
from rollout.episode.roles import FrozenRole, TimedRole, VerifierRole
from rollout.gold_likelihood import record_gold_logprobs
from rollout.jobs import Job
from rollout.policy_role import PolicyRole
from rollout.records import Decomposition, Episode, PolicyCall, Problem
from rollout.strategies import run_strategy


class GivenDecomposition:
    """Sub-questions that somebody else wrote."""

    def __init__(self, subquestions: list[str]) -> None:
        self._subquestions = subquestions

    async def decompose(self, problem: Problem, attempt: str) -> tuple[Decomposition, PolicyCall | None]:
        """Return the decomposition as it was given."""
        return Decomposition("\n".join(self._subquestions), list(self._subquestions)), None


async def run_episode(
    job: Job, engine: Generator, solver: Solver, config: Config, verifier: Solver | None = None
) -> Episode:
    """Run a job's episode, in the job's own configuration if it has one; a role's failure is its outcome. Raises
    whatever else went wrong.

    ``solver`` and ``verifier`` are the frozen backends; ``policy.plays`` says which roles the policy plays itself.
    """
    started = time.perf_counter()
    config = job.config or config
    prompts, policy = Prompts.of(config), PolicyRole(engine, job, config.strategy, config.policy)
    frozen = FrozenRole(solver)
    budget = EpisodeBudget(config.rollout, policy if config.policy.solves else frozen)
    decomposer = _decomposer(job, config, TimedRole(frozen if config.policy.plays == "solver" else policy, budget))
    judge = None if verifier is None else TimedRole(VerifierRole(FrozenRole(verifier)), budget)
    episode = await run_strategy(job.strategy, job.problem, decomposer, budget, prompts, judge)
    if job.gold_logprobs:
        assert isinstance(solver, LikelihoodSolver)  # the configuration of any other is refused
        await record_gold_logprobs(episode, prompts, solver, budget)
    episode.seconds = time.perf_counter() - started
    episode.weight_version = min(episode.token_versions, default=engine.version)
    return episode


def _decomposer(job: Job, config: Config, role: Role) -> Decomposer | Writer:
    """Return who decomposes: whoever gave the job its sub-questions, the data set, or a role that writes them."""
    if job.given is not None:
        return GivenDecomposition(job.given)
    if config.policy.plays == "solver" and config.policy.decomposer == "gold":
        return GivenDecomposition(list(job.problem.subquestions or ()))
    return Writer(role)
