"""What a strategy works with. A strategy is an async function of a problem, a decomposer and a solver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from rollout.prompts import Prompts
from rollout.records import Decomposition, Episode, PolicySample, Problem


class SolverFailure(Exception):
    """The solver gave no usable reply; ``outcome`` is the name it is counted under."""

    def __init__(self, outcome: str, detail: str = "") -> None:
        super().__init__(detail or outcome)
        self.outcome = outcome


@dataclass(frozen=True)
class Reply:
    """A solver's text and how many tokens it wrote."""

    text: str
    tokens: int


class Solver(Protocol):
    """The frozen second model: only its text is seen."""

    async def ask(self, prompt: str, *, purpose: str) -> Reply:
        """Answer one prompt. ``purpose`` is ``subquestion`` or ``solve``: they differ in length and stop.

        Raises SolverFailure for what the solver did wrong; any other exception is an infrastructure error.
        """
        ...


class Decomposer(Protocol):
    """Whoever writes the sub-questions: the policy, or a given plan."""

    async def decompose(self, problem: Problem, attempt: str) -> tuple[Decomposition, PolicySample | None]:
        """Sub-questions for a problem that the solver first answered with ``attempt``."""
        ...


Strategy = Callable[[Problem, Decomposer, Solver, Prompts], Awaitable[Episode]]
