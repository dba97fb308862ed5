"""The schema of the group ``rollout``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from conf.schema.base import FREE, PATH, Group
from conf.schema.engine import InferenceEngine


class Weights(Group):
    """The transport of new weights to the rollout workers; docs/weights.md."""

    transport: Literal["object_store", "nccl"] = "object_store"
    bucket_mib: float = Field(64.0, gt=0)
    adapter_only: bool = True
    in_flight: Literal["keep", "recompute"] = "keep"
    verify: bool = False
    tries: int = Field(3, ge=1)


class Rollout(InferenceEngine):
    """The rollout workers and their policy engines; or, with ``replay``, a file of recorded episodes. An engine holds
    ``kv_cache_gib`` for its cache on the CPU; on a GPU it takes the share ``gpu_memory_utilization`` of the memory,
    weights included. ``episode_timeout_s`` and ``episode_solver_tokens`` limit one episode; null is no limit of tokens.
    """

    # Pushed weights are not quantised. Stages of a pipeline hold batches between two steps, so that a load would give
    # their tokens a version too new.
    refused_arguments: ClassVar[tuple[str, ...]] = ("pipeline_parallel_size", "quantization", "quantization_config")

    concurrency: Annotated[int, FREE] = Field(128, ge=1)
    episode_timeout_s: float = Field(3600.0, gt=0)
    episode_solver_tokens: int | None = Field(None, ge=1)
    record: bool = False
    replay: Annotated[str | None, PATH] = None
    weights: Weights
