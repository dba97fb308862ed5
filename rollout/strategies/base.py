"""What a strategy works with. A strategy is an async function of a problem, a decomposer and a solver."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from rollout.episode.contracts import Decomposer, Solver
from rollout.episode.parse_decomposition import ParseLimits
from rollout.episode.prompts import Prompts
from rollout.records import Episode, Problem


@dataclass(frozen=True)
class Options:
    """What a strategy is told besides its prompts; each reads what concerns it.

    ``limits`` are for decompositions that the solver writes. Self-consistency takes ``samples`` draws, or as many as
    ``token_budget`` solver tokens pay for. ``gate``: ``always`` decomposes every question, ``disagree`` only those
    on which the solver's own ``gate_samples`` draws disagree.
    """

    limits: ParseLimits = field(default_factory=ParseLimits)
    samples: int = 5
    token_budget: int | None = None
    gate: str = "always"
    gate_samples: int = 3


DEFAULTS = Options()


class Strategy(Protocol):
    """Runs one episode. A solver failure ends it early: its name is the outcome, and what there was so far stays."""

    async def __call__(
        self, problem: Problem, decomposer: Decomposer, solver: Solver, prompts: Prompts, options: Options = ...
    ) -> Episode:
        """The episode."""
        ...
