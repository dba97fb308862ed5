"""Solver backends by the name of their configuration. Adding one is one file here and one file in conf/solver.

A verifier is a backend too, with the group ``verifier`` for its settings; what it is configured wrongly in is said with
that group's name.
"""

from __future__ import annotations

from typing import Any

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
VERIFIERS = BACKENDS | {"program": "rollout.solvers.program_verifier:ProgramVerifier"}


def make_solver(config: Config, backend: str | None = None) -> Backend:
    """Return the configured solver behind its cache, over another ``backend`` if one is given. May block until a model
    is loaded."""
    return _make(BACKENDS, config.solver, config.seed, backend)


def make_verifier(config: Config, backend: str | None = None) -> Backend:
    """Return the configured verifier likewise."""
    return _make(VERIFIERS, config.verifier, config.seed, backend)


def _make(backends: dict[str, str], settings: Any, seed: int, backend: str | None) -> Backend:
    name = backend or settings.backend
    made: Backend = find_part(backends.get(name, name), {})(settings, seed)
    return CachedSolver(made) if isinstance(settings, ModelSolver) and settings.cache != "off" else made
