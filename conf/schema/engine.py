"""The keys that every inference engine has: part of the groups ``rollout`` and ``solver``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from conf.schema.base import FREE, Group


class InferenceEngine(Group):
    """Engines of one model: how many there are, and what each may use. ``threads`` and ``kv_cache_gib`` are for the
    CPU, ``gpu_memory_utilization`` is for a GPU."""

    workers: Annotated[int, FREE] = Field(1, ge=1)
    gpus: Annotated[float, FREE] = Field(0.0, ge=0)
    threads: Annotated[int, FREE] = Field(1, ge=1)
    max_model_len: int = Field(512, ge=16)
    max_num_seqs: Annotated[int, FREE] = Field(128, ge=1)
    max_num_batched_tokens: Annotated[int, FREE] = Field(4096, ge=1)
    kv_cache_gib: Annotated[float, FREE] = Field(0.25, gt=0)
    gpu_memory_utilization: float = Field(0.8, gt=0, lt=1)
