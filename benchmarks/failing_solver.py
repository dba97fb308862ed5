"""The embedded solver, but one reply in so many never comes, for runs in which things go wrong.

data=chained solver=own solver.backend=benchmarks.failing_solver:Failing '+solver.options={fails: 10, data: chained}'
"""

from __future__ import annotations

import random
from typing import Any

from conf.schema.base import Group
from conf.schema.solver import VllmSolver
from launch.compose import compose
from rollout.episode.contracts import Reply, SolverFailure
from rollout.solvers.base import Backend
from rollout.solvers.vllm import EngineSolver


class Failing(Backend):
    """Fails one call in ``options.fails`` by chance; which ones differs from run to run. The solver is that of the
    generated task ``options.data``."""

    def __init__(self, settings: Group, seed: int = 0) -> None:
        super().__init__(settings, seed)
        embedded = compose([f"data={self.settings.options['data']}"]).solver
        assert isinstance(embedded, VllmSolver)
        self.solver = EngineSolver(embedded, seed)
        self.usage = self.solver.usage

    @property
    def identity(self) -> dict[str, Any]:
        """The embedded solver's, because what it does answer is the same."""
        return self.solver.identity

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt, or raise SolverFailure."""
        if random.random() < 1 / self.settings.options["fails"]:
            raise SolverFailure("solver_timeout", "fails on purpose")
        return await self.solver.ask(prompt, purpose=purpose, sample=sample)
