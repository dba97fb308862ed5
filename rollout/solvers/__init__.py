"""Solver backends by the name of their configuration. Adding one is one file here and one file in conf/solver."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from rollout.solvers.base import Backend
from rollout.solvers.cache import CachedSolver, CacheSettings

# Module and class; imported where they are used, since a backend may need torch and vLLM, or neither. A configured
# vllm solver is asked through transformers where a few replies are wanted soon (launch/ask/episodes.py).
BACKENDS = {
    "vllm": ("rollout.solvers.vllm", "EngineSolver"),
    "transformers": ("rollout.solvers.vllm", "PlainSolver"),
    "openai": ("rollout.solvers.openai", "OpenAISolver"),
    "program": ("rollout.solvers.program", "ProgramSolver"),
}


@dataclass(frozen=True)
class SolverSettings:
    """A backend's name, its own settings, and the cache before it."""

    backend: str
    settings: Any
    cache: CacheSettings


def make_solver(settings: SolverSettings) -> Backend:
    """The configured backend, behind its cache. May block until a model is loaded."""
    module, name = BACKENDS[settings.backend]
    solver: Backend = getattr(import_module(module), name)(settings.settings)
    return solver if settings.cache.mode == "off" else CachedSolver(solver, settings.cache)
