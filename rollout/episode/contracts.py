"""The interfaces that a strategy works with: solver and decomposer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rollout.records import Decomposition, PolicyCall, Problem


class SolverFailure(Exception):
    """The solver gave no usable reply, or its episode reached a limit; ``outcome`` is the name it is counted under."""

    def __init__(self, outcome: str, detail: str = "") -> None:
        super().__init__(detail or outcome)
        self.outcome = outcome


@dataclass(frozen=True)
class Reply:
    """A solver's text, how many tokens it wrote, and how many it read."""

    text: str
    tokens: int
    prompt_tokens: int = 0


class Solver(Protocol):
    """The frozen second model: only its text is seen."""

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt. ``purpose`` is ``subquestion`` or ``solve``: they differ in length and stop.

        ``sample`` 0 is the configured, normally greedy reply; k > 0 is the k-th independent draw at
        ``solver.sample_temperature``, the same whenever the same prompt and k are asked again.

        Raises SolverFailure for what the solver did wrong; any other exception is an infrastructure error.
        """
        ...


class Decomposer(Protocol):
    """Whoever writes the sub-questions: the policy, or whoever gave them."""

    async def decompose(self, problem: Problem, attempt: str) -> tuple[Decomposition, PolicyCall | None]:
        """Return sub-questions for a problem that the solver first answered with ``attempt``."""
        ...
