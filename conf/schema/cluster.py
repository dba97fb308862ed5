"""The schema of the group ``cluster``: where Ray runs, and how the roles lie on its nodes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from conf.schema.base import Group


class Cluster(Group):
    """Where Ray runs, and how the roles lie on its nodes. The last four keys describe a cluster to ``launch.plan``; a
    run looks at the cluster itself."""

    address: str | None = None
    """The Ray cluster to join: `auto`, or HOST:PORT; null: one is started here and ends with the run."""
    num_cpus: int | None = Field(None, ge=1)
    """Cores that a cluster started here has; null: all of this machine."""
    object_store_gib: float = Field(0.5, gt=0)
    """Shared memory of a cluster started here."""
    dashboard: bool = False
    """Start Ray's dashboard with it."""
    dashboard_host: str = "127.0.0.1"
    """Address at which that dashboard listens."""
    strategy: Literal["pack", "spread"] = "pack"
    """Whether the roles lie on few nodes or on many."""
    beside: list[Literal["rollout", "solver"]] = Field([])
    """Roles whose actor i shares the GPU of learner rank i; the others have their own."""
    nodes: int | None = Field(None, ge=1)
    """Number of nodes, for `launch.plan`."""
    cpus_per_node: float | None = Field(None, gt=0)
    """Cores of each, for `launch.plan`."""
    gpus_per_node: float | None = Field(None, ge=0)
    """GPUs of each, for `launch.plan`."""
    gpu_gib: float | None = Field(None, gt=0)
    """Memory of each GPU, for the plan: a cluster does not tell it."""
