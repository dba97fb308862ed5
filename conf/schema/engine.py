"""The keys that every inference engine has: part of the groups ``rollout`` and ``solver``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from conf.schema.base import FREE, Group
from conf.schema.engine_arguments import check_arguments


class InferenceEngine(Group):
    """Engines of one model: how many there are, and what each may use."""

    refused_arguments: ClassVar[tuple[str, ...]] = ()

    workers: Annotated[int, FREE] = Field(1, ge=1)
    """Number of actors, each with an engine of its own."""
    gpus: Annotated[float, FREE] = Field(0.0, ge=0)
    """GPUs of each, all on one node; below 1, engines share one."""
    tensor_parallel_size: Annotated[int, FREE] = Field(1, ge=1)
    """GPUs over which the layers of an engine are split."""
    threads: Annotated[int, FREE] = Field(1, ge=1)
    """Cores of each, on the CPU."""
    max_model_len: int = Field(512, ge=16)
    """Tokens of prompt and reply together at most; of a model that reads fewer, as many as it reads."""
    max_num_seqs: Annotated[int, FREE] = Field(128, ge=1)
    """Sequences that an engine works on at once."""
    max_num_batched_tokens: Annotated[int, FREE] = Field(4096, ge=1)
    """Tokens that an engine reads in one step."""
    kv_cache_gib: Annotated[float, FREE] = Field(0.25, gt=0)
    """Memory for keys and values of an engine on the CPU."""
    gpu_memory_utilization: float = Field(0.8, gt=0, lt=1)
    """Share of a GPU's memory that an engine takes, weights included."""
    engine_arguments: dict[str, Any] = Field({})
    """More of vLLM's own arguments, by its names, as {kv_cache_dtype: fp8}."""

    @field_validator("engine_arguments")
    @classmethod
    def _free(cls, value: dict[str, Any]) -> dict[str, Any]:
        return check_arguments(value, cls.model_fields, cls.refused_arguments)

    @property
    def stages(self) -> int:
        """The stages that a model's layers form, each on GPUs of its own."""
        return 1

    @property
    def parallel(self) -> int:
        """The GPUs that one engine's model is split over."""
        return self.tensor_parallel_size * self.stages
