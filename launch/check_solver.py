"""A served solver or verifier is asked one short question before anything starts, and what it refuses is said."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.role_sizes import needed
from conf.schema.solver import OpenAISolver
from rollout.solvers.base import SolverMisconfigured, Usage, for_role

if TYPE_CHECKING:
    from rollout.solvers.openai import OpenAISolver as Server

# Of the question, for a server that is busy at this very moment.
RETRIES = 1


def check_solver(config: Config) -> dict[str, Usage]:
    """Return what the question took each solver, by its dotted key, nothing where no server is to be asked; a verifier
    is asked too. Raises ConfigError, in one line with the key to change. On a cluster that is joined, the actors ask:
    the key and the way to the server are there."""
    if config.cluster.address is not None or "solver" not in needed(config):
        return {}
    _check("verifier", config.verifier, config.seed)
    if not config.policy.asks_frozen_solver:
        return {}
    return {role: _check(role, solver, config.seed) for role, solver in config.solvers.items()}


def _check(role: str, settings: Any, seed: int) -> Usage:
    if not isinstance(settings, OpenAISolver):
        return Usage()
    once = {"max_retries": min(settings.max_retries, RETRIES), "timeout_s": settings.request_timeout_s}
    try:
        return ask_server(settings.model_copy(update=once), seed)
    except SolverMisconfigured as error:
        raise ConfigError(for_role(str(error), role)) from None


def ask_server(settings: OpenAISolver, seed: int = 0) -> Usage:
    """Ask a served solver one short question; return what it took. Raises SolverMisconfigured, SolverUnavailable,
    SolverFailure, in one line that holds no key."""
    from rollout.solvers.openai import OpenAISolver as Server

    server = Server(settings, seed)
    asyncio.run(_ask(server))
    return server.usage


async def _ask(server: Server) -> None:
    try:
        await server.start()
    finally:
        await server.close()
