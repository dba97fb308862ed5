"""The schema of the group ``solver``: one class a backend, chosen by ``backend``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from conf.schema.base import FREE, MODEL, PATH, SECRET, Group, Stops
from conf.schema.engine import InferenceEngine
from conf.schema.engine_arguments import check_quantization
from conf.schema.own_parts import PartName, is_own

# What a request says by keys of their own.
REQUEST = frozenset(
    ("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "stop", "seed", "n", "stream")
)


class ModelSolver(Group):
    """What every solver that is a language model has: length and stop texts by purpose, temperatures, the cache."""

    max_tokens_subquestion: int = Field(40, ge=1)
    """Tokens of an answer to a sub-question at most."""
    max_tokens_solve: int = Field(160, ge=1)
    """Tokens of an answer to a whole question at most."""
    stop_subquestion: Stops = Field(["\n"])
    """Texts that end an answer to a sub-question."""
    stop_solve: Stops = Field(["\nQ:"])
    """Texts that end an answer to a whole question."""
    temperature: float = Field(0.0, ge=0)
    """Temperature of the reply to a prompt; 0: greedy."""
    sample_temperature: float = Field(0.7, gt=0)
    """Temperature of further draws of one reply."""
    cache: Literal["off", "deterministic", "all"] = "off"
    """Which replies are kept on disk: none, those at temperature 0, or draws too."""
    cache_path: Annotated[str, PATH, FREE] = "./cache/solver.sqlite"
    """SQLite file of the kept replies, which runs may share."""

    @field_validator("cache", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        """YAML reads a bare off as false."""
        return "off" if value is False else value


class VllmSolver(InferenceEngine, ModelSolver):
    """A model on engines of our own."""

    backend: Literal["vllm"]
    """What answers: an engine of the project's own."""
    path: Annotated[str, MODEL]
    """The solver's model: a folder, a name on the hub, or `package:NAME` for a shipped model."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of its weights."""
    quantization: str | None = None
    """Name of vLLM's method of quantisation; null: as the model's folder says."""
    pipeline_parallel_size: Annotated[int, FREE] = Field(1, ge=1)
    """Stages that the layers of an engine form, each on GPUs of its own."""
    calculator: bool = False
    """Fill in the values of calculations that the model writes as `<<48/2=`, and leave these out of the reply."""
    timeout_s: Annotated[float, FREE] = Field(120.0, gt=0)
    """Seconds of one reply at most."""

    @field_validator("path", mode="before")
    @classmethod
    def _there_is_one(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("must be a folder or the name of a model; none ships for this role and the chosen data")
        return value

    @field_validator("quantization")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return value and check_quantization(value)

    @property
    def stages(self) -> int:
        """The stages that a model's layers form, each on GPUs of its own."""
        return self.pipeline_parallel_size


class OpenAISolver(ModelSolver):
    """A model behind an OpenAI-compatible server. Limits are those of the account, over all rollout workers."""

    backend: Literal["openai"]
    """What answers: a server."""
    base_url: Annotated[str, SECRET, FREE]
    """The server's address with its version and without `/chat/completions`."""
    model: str
    """The server's name for the model."""
    api: Literal["chat", "completions"] = "chat"
    """Whether a prompt is sent as a user's message or as the text to go on from."""
    api_key_env: Annotated[str, SECRET, FREE] = "OPENAI_API_KEY"
    """Environment variable that holds the key; a local server needs none."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Name of the field with the largest length of a reply, which some models take by the second name alone."""
    extra_body: dict[str, Any] = Field({})
    """Fields that are added to every request, for what only this server knows."""
    concurrency: Annotated[int, FREE] = Field(32, ge=1, le=1000)
    """Requests in flight at most, over all rollout workers."""
    requests_per_minute: Annotated[int | None, FREE] = Field(None, ge=1)
    """Requests in any minute at most; null: no limit."""
    tokens_per_minute: Annotated[int | None, FREE] = Field(None, ge=1)
    """Tokens in any minute at most; null: no limit."""
    max_retries: Annotated[int, FREE] = Field(5, ge=0)
    """How often one request is sent again after an error of server or network."""
    backoff_s: Annotated[float, FREE] = Field(0.5, gt=0)
    """Seconds before the first retry, doubled each time; a Retry-After header goes before it."""
    backoff_max_s: Annotated[float, FREE] = Field(30.0, gt=0)
    """Seconds before a retry at most."""
    request_timeout_s: Annotated[float, FREE] = Field(60.0, gt=0)
    """Seconds of one request at most."""
    timeout_s: Annotated[float, FREE] = Field(300.0, gt=0)
    """Seconds of one reply at most, with its retries."""
    outage_minutes: Annotated[float, FREE] = Field(10.0, ge=0)
    """Minutes for which a run waits for a solver that gives no reply."""
    price_prompt: Annotated[float, FREE] = Field(0.0, ge=0)
    """Price of a million tokens that are read, in any currency."""
    price_completion: Annotated[float, FREE] = Field(0.0, ge=0)
    """Price of a million tokens that are written, in the same currency."""
    budget_cost: Annotated[float | None, FREE] = Field(None, gt=0)
    """Cost after which no further episode begins; null: no budget."""
    budget_tokens: Annotated[int | None, FREE] = Field(None, ge=1)
    """Tokens after which no further episode begins; null: no budget."""

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            extra = parts.username or parts.password or parts.query or parts.fragment
            plain = parts.scheme in ("http", "https") and parts.hostname and not extra
        except ValueError:
            plain = None
        if not plain:
            raise ValueError(
                "must be http:// or https://, host and path alone, as in http://127.0.0.1:8000/v1; a key belongs in "
                "the environment variable that api_key_env names"
            )
        return value

    @field_validator("extra_body")
    @classmethod
    def _not_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        if ours := sorted(set(value) & REQUEST):
            raise ValueError(f"'{ours[0]}' is set by another key of solver; allowed: what only the server knows")
        return value

    @field_validator("model", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if not value:
            raise ValueError("must be given: the name by which the server knows the model")
        return value

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, value: str) -> str:
        # A key that was put here by mistake is refused, and so must not look like a variable's name.
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
            raise ValueError("must be the name of an environment variable in capitals, not a key")
        return value

    @model_validator(mode="after")
    def _together(self) -> OpenAISolver:
        if self.request_timeout_s > self.timeout_s:
            raise ValueError("request_timeout_s must be at most timeout_s")
        if self.budget_cost is not None and not (self.price_prompt or self.price_completion):
            raise ValueError("budget_cost needs price_prompt or price_completion, which must be above 0")
        return self


class ProgramSolver(Group):
    """Rules in Python; it needs nothing to be set."""

    backend: Literal["program"]
    """What answers: the program of the embedded task."""


class OwnSolver(ModelSolver):
    """A backend of the user's own (docs/extending.md)."""

    backend: Annotated[str, PartName()]
    """The class that answers."""
    options: dict[str, Any] = Field({})
    """What the class is given, as it pleases."""
    workers: Annotated[int, FREE] = Field(1, ge=1)
    """Number of actors."""
    threads: Annotated[int, FREE] = Field(0, ge=0)
    """Cores of each."""
    gpus: Annotated[float, FREE] = Field(0.0, ge=0)
    """GPUs of each."""


OWN = "package.module:class"
SINGLE: dict[str, type[Group]] = {
    "vllm": VllmSolver, "openai": OpenAISolver, "program": ProgramSolver, OWN: OwnSolver,
}  # fmt: skip


def backend_of(group: Any) -> str:
    """Return the name in ``BACKENDS`` of the schema that goes with the backend of a group ``solver``."""
    name = str(group.get("backend") if isinstance(group, dict) else getattr(group, "backend", None))
    return OWN if is_own(name) else name


SingleSolver = Annotated[
    Annotated[VllmSolver, Tag("vllm")]
    | Annotated[OpenAISolver, Tag("openai")]
    | Annotated[ProgramSolver, Tag("program")]
    | Annotated[OwnSolver, Tag(OWN)],
    Discriminator(backend_of),
]


class Weighted(Group):
    """Keys of each solver of a mixture beside those of its backend."""

    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Its share of the problems, relative to the weights of the others."""


class WeightedVllm(Weighted, VllmSolver):
    """A model on engines of our own, in a mixture."""


class WeightedOpenAI(Weighted, OpenAISolver):
    """A model behind a server, in a mixture."""


class WeightedProgram(Weighted, ProgramSolver):
    """Rules in Python, in a mixture."""


class WeightedOwn(Weighted, OwnSolver):
    """A backend of the user's own, in a mixture."""


class MixtureSolver(Group):
    """Several solvers at once. All episodes of a problem's group are answered by the same one, drawn by weight from the
    group's seed."""

    backend: Literal["mixture"]
    """What answers: one of several solvers."""
    mixture: dict[
        str,
        Annotated[
            Annotated[WeightedVllm, Tag("vllm")]
            | Annotated[WeightedOpenAI, Tag("openai")]
            | Annotated[WeightedProgram, Tag("program")]
            | Annotated[WeightedOwn, Tag(OWN)],
            Discriminator(backend_of),
        ],
    ] = Field(min_length=2)
    """The solvers by name, each with the keys of its backend and its weight."""

    @field_validator("mixture")
    @classmethod
    def _named(cls, value: dict[str, Weighted]) -> dict[str, Weighted]:
        for name in value:
            if not re.fullmatch(r"\w+", name, re.ASCII):
                raise ValueError(f"name {name!r} becomes part of a file's; allowed: letters, digits and _")
        return value


BACKENDS: dict[str, type[Group]] = SINGLE | {"mixture": MixtureSolver}

Solver = Annotated[
    Annotated[VllmSolver, Tag("vllm")]
    | Annotated[OpenAISolver, Tag("openai")]
    | Annotated[ProgramSolver, Tag("program")]
    | Annotated[OwnSolver, Tag(OWN)]
    | Annotated[MixtureSolver, Tag("mixture")],
    Discriminator(backend_of),
]


def actor_count(solver: Group) -> int:
    """Return the number of a solver's actors. A server's account has one holder, or its limits would not hold; a
    program takes next to no time."""
    return solver.workers if isinstance(solver, VllmSolver | OwnSolver) else 1


def solver_role(name: str | None) -> str:
    """Return the dotted key, by which its actors are called too, of a mixture's solver, or of the only one (None)."""
    return "solver" if name is None else f"solver.mixture.{name}"
