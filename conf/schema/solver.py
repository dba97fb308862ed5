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
    """What every solver that is a language model has: length and stop texts by purpose, temperatures, the cache.

    ``sample_temperature`` is that of repeated draws of one reply. ``cache``: ``off``, ``deterministic`` (greedy
    replies) or ``all``.
    """

    max_tokens_subquestion: int = Field(40, ge=1)
    max_tokens_solve: int = Field(160, ge=1)
    stop_subquestion: Stops = Field(["\n"])
    stop_solve: Stops = Field(["\nQ:"])
    temperature: float = Field(0.0, ge=0)
    sample_temperature: float = Field(0.7, gt=0)
    cache: Literal["off", "deterministic", "all"] = "off"
    cache_path: Annotated[str, PATH, FREE] = "./cache/solver.sqlite"

    @field_validator("cache", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        """YAML reads a bare off as false."""
        return "off" if value is False else value


class VllmSolver(InferenceEngine, ModelSolver):
    """A model on engines of our own, whose memory is as in ``rollout``. ``timeout_s`` is the limit of one reply.

    The layers of an engine form ``pipeline_parallel_size`` stages, each on GPUs of its own. ``quantization`` is the
    name of vLLM's method; null: as the model's folder says.
    """

    backend: Literal["vllm"]
    path: Annotated[str, MODEL]
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantization: str | None = None
    pipeline_parallel_size: Annotated[int, FREE] = Field(1, ge=1)
    timeout_s: Annotated[float, FREE] = Field(120.0, gt=0)

    @field_validator("quantization")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return value and check_quantization(value)

    @property
    def stages(self) -> int:
        """The stages that a model's layers form, each on GPUs of its own."""
        return self.pipeline_parallel_size


class OpenAISolver(ModelSolver):
    """A model behind an OpenAI-compatible server. Limits are those of the account, over all rollout workers.
    ``extra_body`` is added to every request, for what only this server knows."""

    backend: Literal["openai"]
    base_url: Annotated[str, SECRET, FREE]
    model: str
    api: Literal["chat", "completions"] = "chat"
    api_key_env: Annotated[str, SECRET, FREE] = "OPENAI_API_KEY"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra_body: dict[str, Any] = Field({})
    concurrency: Annotated[int, FREE] = Field(32, ge=1, le=1000)
    requests_per_minute: Annotated[int | None, FREE] = Field(None, ge=1)
    tokens_per_minute: Annotated[int | None, FREE] = Field(None, ge=1)
    max_retries: Annotated[int, FREE] = Field(5, ge=0)
    backoff_s: Annotated[float, FREE] = Field(0.5, gt=0)
    backoff_max_s: Annotated[float, FREE] = Field(30.0, gt=0)
    request_timeout_s: Annotated[float, FREE] = Field(60.0, gt=0)
    timeout_s: Annotated[float, FREE] = Field(300.0, gt=0)
    outage_minutes: Annotated[float, FREE] = Field(10.0, ge=0)
    price_prompt: Annotated[float, FREE] = Field(0.0, ge=0)
    price_completion: Annotated[float, FREE] = Field(0.0, ge=0)
    budget_cost: Annotated[float | None, FREE] = Field(None, gt=0)
    budget_tokens: Annotated[int | None, FREE] = Field(None, ge=1)

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


class OwnSolver(ModelSolver):
    """A backend of the user's own (docs/extending.md). ``options`` are for it alone; each of the ``workers`` is an
    actor with these cores and GPUs."""

    backend: Annotated[str, PartName()]
    options: dict[str, Any] = Field({})
    workers: Annotated[int, FREE] = Field(1, ge=1)
    threads: Annotated[int, FREE] = Field(0, ge=0)
    gpus: Annotated[float, FREE] = Field(0.0, ge=0)


OWN = "package.module:class"
BACKENDS: dict[str, type[Group]] = {
    "vllm": VllmSolver, "openai": OpenAISolver, "program": ProgramSolver, OWN: OwnSolver,
}  # fmt: skip


def backend_of(group: Any) -> str:
    """Return the name in ``BACKENDS`` of the schema that goes with the backend of a group ``solver``."""
    name = str(group.get("backend") if isinstance(group, dict) else getattr(group, "backend", None))
    return OWN if is_own(name) else name


Solver = Annotated[
    Annotated[VllmSolver, Tag("vllm")]
    | Annotated[OpenAISolver, Tag("openai")]
    | Annotated[ProgramSolver, Tag("program")]
    | Annotated[OwnSolver, Tag(OWN)],
    Discriminator(backend_of),
]
