"""Roles that frozen backends play, and what stands before any role of one episode: time, tokens, names of failures."""

from __future__ import annotations

from rollout.episode.contracts import Prompt, Reply, Role, Solver, SolverFailure, text_of
from rollout.episode.limits import EpisodeBudget

# What is one line has the length and stops of a solver's answer to a sub-question, all else those of ``solve``.
ONE_LINE = ("subquestion", "concepts", "next")


class FrozenRole:
    """A frozen model in a role: it reads every prompt as text, with the lengths and stops of its own settings."""

    def __init__(self, backend: Solver) -> None:
        self._backend = backend

    async def ask(self, prompt: Prompt, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt; see ``Role``."""
        length = "subquestion" if purpose in ONE_LINE else "solve"
        return await self._backend.ask(text_of(prompt), purpose=length, sample=sample)


class TimedRole:
    """A role within its episode's time."""

    def __init__(self, role: Role, budget: EpisodeBudget) -> None:
        self._role, self._budget = role, budget

    async def ask(self, prompt: Prompt, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt. Raises SolverFailure, also ``episode_timeout``."""
        return await self._budget.in_time(self._role.ask(prompt, purpose=purpose, sample=sample))


class VerifierRole:
    """A role as verifier: what it does wrong is counted under names of its own (``verifier_timeout``, ...)."""

    def __init__(self, role: Role) -> None:
        self._role = role

    async def ask(self, prompt: Prompt, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt; see ``Role``."""
        try:
            return await self._role.ask(prompt, purpose=purpose, sample=sample)
        except SolverFailure as failure:
            raise SolverFailure(f"verifier_{failure.outcome.removeprefix('solver_')}", str(failure)) from None
