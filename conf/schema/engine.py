"""The keys that every inference engine has: part of the groups ``rollout`` and ``solver``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from conf.schema.base import FREE, Group


class InferenceEngine(Group):
    """Engines of one model: how many there are, and what each may use."""

    workers: Annotated[int, FREE] = Field(1, ge=1)
    """Number of actors, each with an engine of its own."""
    gpus: Annotated[float, FREE] = Field(0.0, ge=0)
    """GPUs of each; below 1, engines share one."""
    threads: Annotated[int, FREE] = Field(1, ge=1)
    """Cores of each, on the CPU."""
    max_model_len: int = Field(512, ge=16)
    """Tokens of prompt and reply together at most."""
    max_num_seqs: Annotated[int, FREE] = Field(128, ge=1)
    """Sequences that an engine works on at once."""
    max_num_batched_tokens: Annotated[int, FREE] = Field(4096, ge=1)
    """Tokens that an engine reads in one step."""
    kv_cache_gib: Annotated[float, FREE] = Field(0.25, gt=0)
    """Memory for keys and values of an engine on the CPU."""
    gpu_memory_utilization: float = Field(0.8, gt=0, lt=1)
    """Share of a GPU's memory that an engine takes, weights included."""
