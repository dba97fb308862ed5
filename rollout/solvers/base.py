"""What the solver backends share: the interface behind the pool, how replies are sampled, errors, accounting.

Nothing heavy is imported here: a backend that is a program or an API needs no torch in its process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

from rollout.engine.sampling import Sampling, draw_seed
from rollout.episode.contracts import Reply


class SolverUnavailable(RuntimeError):
    """The solver could not be asked, for reasons that are not the episode's: tried again, never scored."""


class SolverMisconfigured(RuntimeError):
    """The solver turns the configuration down; one line that names the key. Asking again cannot help."""


class SolverBroken(RuntimeError):
    """The solver of this process stopped for good; the next one has to be another process's."""


@dataclass(frozen=True)
class ReplySettings:
    """Length and stop texts by purpose, and temperatures: of the configured reply, and of further draws."""

    max_tokens: dict[str, int]
    stop: dict[str, tuple[str, ...]]
    temperature: float = 0.0
    sample_temperature: float = 0.7

    def sampling(self, prompt: str, purpose: str, sample: int) -> Sampling:
        """How the ``sample``-th reply to a prompt is sampled; a draw has a seed that prompt and number fix."""
        if sample == 0:
            return Sampling(self.max_tokens[purpose], self.temperature, self.stop[purpose])
        seed = draw_seed(prompt, sample)
        return Sampling(self.max_tokens[purpose], self.sample_temperature, self.stop[purpose], seed)


@dataclass(frozen=True)
class OpenAISettings:
    """Server, limits and prices of the ``openai`` backend: the keys of conf/solver/openai.yaml. Times in seconds,
    prices a million tokens.

    It stands here and not with the backend, so that whoever starts the actors does not load the client.
    """

    base_url: str
    model: str
    replies: ReplySettings
    api: str = "chat"
    api_key_env: str = "OPENAI_API_KEY"
    max_tokens_field: str = "max_tokens"
    concurrency: int = 32
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_retries: int = 5
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    request_timeout_s: float = 60.0
    timeout_s: float = 300.0
    price_prompt: float = 0.0
    price_completion: float = 0.0
    budget_cost: float | None = None
    budget_tokens: int | None = None
    minute_s: float = 60.0


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
    """A solver in the process of its actor."""

    def __init__(self, replies: ReplySettings) -> None:
        self.replies = replies
        self.usage = Usage()

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What tells this solver's replies from another's: model and where it is. Holds no secrets."""

    @property
    def spent(self) -> bool:
        """Whether the budget is used up, so that no new episode may begin."""
        return False

    async def start(self) -> None:  # noqa: B027 - most backends have nothing to check
        """Check that the solver answers; raises SolverMisconfigured, SolverUnavailable."""

    @abstractmethod
    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt: see ``rollout.strategies.base.Solver``.

        Raises SolverFailure for what the solver did wrong; SolverUnavailable, SolverMisconfigured and
        SolverBroken for what is no fault of an episode.
        """
