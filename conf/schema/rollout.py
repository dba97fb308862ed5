"""The schema of the group ``rollout``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from conf.schema.base import FREE, PATH, Group
from conf.schema.engine import InferenceEngine


class Weights(Group):
    """The transport of new weights to the rollout workers; docs/weights.md."""

    transport: Literal["object_store", "nccl", "ipc", "auto"] = "object_store"
    """The way of new weights to the rollout workers: Ray's object store, NCCL from GPU to GPU, memory of a shared GPU
    (`ipc`), or the quickest of these that the layout allows."""
    bucket_mib: float = Field(64.0, gt=0)
    """Size of the pieces in which they travel."""
    adapter_only: bool = True
    """With LoRA, send the adapter alone, which the workers merge."""
    in_flight: Literal["keep", "recompute"] = "keep"
    """What becomes of requests in flight: keys and values are kept, or computed again with the new weights."""
    verify: bool = False
    """Compare checksums of what was sent and what was loaded."""
    tries: int = Field(3, ge=1)
    """How often weights are loaded again that `verify` finds damaged."""


class Rollout(InferenceEngine):
    """The rollout workers and their policy engines; or, with ``replay``, a file of recorded episodes."""

    # Pushed weights are not quantised. Stages of a pipeline hold batches between two steps, so that a load would give
    # their tokens a version too new.
    refused_arguments: ClassVar[tuple[str, ...]] = ("pipeline_parallel_size", "quantization", "quantization_config")

    concurrency: Annotated[int, FREE] = Field(128, ge=1)
    """Episodes in flight at once, for each worker."""
    episode_timeout_s: float = Field(3600.0, gt=0)
    """Seconds of one episode at most; then it ends as `episode_timeout`."""
    episode_solver_tokens: int | None = Field(None, ge=1)
    """Tokens of the solver after which an episode asks nothing more; null: no limit."""
    record: bool = False
    """Write every episode that is trained on to `recorded.jsonl`."""
    replay: Annotated[str | None, PATH] = None
    """Such a file, to be trained on instead of generating."""
    weights: Weights
    """How new weights reach the engines."""
