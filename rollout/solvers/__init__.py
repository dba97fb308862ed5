"""Solver backends by the name of their configuration. Adding one is one file here and one file in conf/solver."""

from __future__ import annotations

from conf.schema.config import Config
from conf.schema.own_parts import find_part
from conf.schema.solver import ModelSolver
from rollout.solvers.base import Backend
from rollout.solvers.cache import CachedSolver

# Imported where they are used, since a backend may need torch and vLLM, or neither. A configured vllm solver is asked
# through transformers where a few replies are wanted soon (launch/ask/episodes.py).
BACKENDS = {
    "vllm": "rollout.solvers.vllm:EngineSolver",
    "transformers": "rollout.solvers.vllm:PlainSolver",
    "openai": "rollout.solvers.openai:OpenAISolver",
    "program": "rollout.solvers.program:ProgramSolver",
}


def make_solver(config: Config, backend: str | None = None) -> Backend:
    """Return the configured solver behind its cache, over another ``backend`` if one is given. May block until a model
    is loaded."""
    name = backend or config.solver.backend
    solver: Backend = find_part(BACKENDS.get(name, name), {})(config.solver, config.seed)
    cached = isinstance(config.solver, ModelSolver) and config.solver.cache != "off"
    return CachedSolver(solver) if cached else solver
