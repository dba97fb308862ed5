"""What the solver backends share: the interface behind the pool, how replies are sampled, errors, accounting.

Nothing heavy is imported here: a backend that is a program or an API needs no torch in its process.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

from conf.schema.base import Group
from conf.schema.solver import BACKENDS
from rollout.engine.sampling import Sampling, draw_seed
from rollout.episode.contracts import LikelihoodSolver, Reply


class SolverUnavailable(RuntimeError):
    """The solver could not be asked, for reasons that are not the episode's: tried again, never scored."""


class SolverMisconfigured(RuntimeError):
    """The solver turns the configuration down; one line that names the key. Asking again cannot help."""


class SolverBroken(RuntimeError):
    """The solver of this process stopped for good; the next one has to be another process's."""


@dataclass
class Usage:
    """What a solver was asked, since the start. ``cost`` is in the currency of the configured prices.

    ``requests`` are replies paid for, retries not counted; what the cache answered adds to nothing but its hits.
    """

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    cache_hits: int = 0
    cache_misses: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def count(self, reply: Reply) -> None:
        """Add one reply."""
        self.requests += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.tokens


class Backend(ABC):
    """A solver in the process of its actor, started with the group ``solver`` and the run's seed.

    One that can tell log-probabilities has the method of ``LikelihoodSolver`` as well.
    """

    settings: Any

    def __init__(self, settings: Group, seed: int = 0) -> None:
        self.settings, self.seed = settings, seed
        self.usage = Usage()

    def sampling(self, prompt: str, purpose: str, sample: int) -> Sampling:
        """Return how the ``sample``-th reply to a prompt is sampled; a draw has a seed that prompt and number fix."""
        settings = self.settings
        length, stop = {
            "subquestion": (settings.max_tokens_subquestion, settings.stop_subquestion),
            "solve": (settings.max_tokens_solve, settings.stop_solve),
        }[purpose]
        temperature = settings.sample_temperature if sample else settings.temperature
        return Sampling(length, temperature, tuple(stop), draw_seed(prompt, sample) if sample else None)

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What tells this solver's replies from another's: model and where it is. Holds no secrets."""

    @property
    def spent(self) -> bool:
        """Whether the budget is used up, so that no new episode may begin."""
        return False

    @property
    def left(self) -> float:
        """The share of the budget that is left, 1 where there is none, 0 or less once it is spent."""
        return 0.0 if self.spent else 1.0

    async def start(self) -> None:  # noqa: B027 - most backends have nothing to check
        """Check that the solver answers; raises SolverMisconfigured, SolverUnavailable."""

    async def check(self) -> None:
        """Check now, and quickly, whether the solver answers; raises SolverMisconfigured, SolverUnavailable."""
        await self.start()

    @abstractmethod
    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt: see ``rollout.episode.contracts.Solver``.

        Raises SolverFailure for what the solver did wrong; SolverUnavailable, SolverMisconfigured and
        SolverBroken for what is no fault of an episode.
        """


def telling(solver: Backend) -> LikelihoodSolver:
    """Return a solver as one that tells log-probabilities; raises SolverMisconfigured if it cannot."""
    if not isinstance(solver, LikelihoodSolver):
        raise SolverMisconfigured(
            f"solver.backend: {type(solver).__name__} tells no log-probabilities; allowed where they are asked for: "
            "vllm, or a class of your own with the method log_likelihood"
        )
    return solver


# Keys of the groups that hold the settings of a backend, as a message names them.
_KEYS = sorted({name for schema in BACKENDS.values() for name in schema.model_fields}, key=len, reverse=True)
_OWN_KEY = re.compile(rf"(?<![\w./:-])solver(?=\.(?:{'|'.join(_KEYS)})\b|: http)")


def for_role(message: str, role: str) -> str:
    """Return a backend's message with the group of its role in the keys that it names: a verifier has the solver's."""
    return message if role == "solver" else _OWN_KEY.sub(role, message)
