"""The keys that every inference engine has: part of the groups ``rollout`` and ``solver``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from conf.schema.base import FREE, Group
from conf.schema.engine_arguments import check_arguments


class InferenceEngine(Group):
    """Engines of one model: how many there are, and what each may use. ``threads`` and ``kv_cache_gib`` are for the
    CPU, ``gpu_memory_utilization`` is for a GPU. An engine's layers are split over ``tensor_parallel_size`` of its
    ``gpus``, all on one node. ``engine_arguments`` are vLLM's own, by its names (``kv_cache_dtype: fp8``)."""

    refused_arguments: ClassVar[tuple[str, ...]] = ()

    workers: Annotated[int, FREE] = Field(1, ge=1)
    gpus: Annotated[float, FREE] = Field(0.0, ge=0)
    tensor_parallel_size: Annotated[int, FREE] = Field(1, ge=1)
    threads: Annotated[int, FREE] = Field(1, ge=1)
    max_model_len: int = Field(512, ge=16)
    max_num_seqs: Annotated[int, FREE] = Field(128, ge=1)
    max_num_batched_tokens: Annotated[int, FREE] = Field(4096, ge=1)
    kv_cache_gib: Annotated[float, FREE] = Field(0.25, gt=0)
    gpu_memory_utilization: float = Field(0.8, gt=0, lt=1)
    engine_arguments: dict[str, Any] = Field({})

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
