"""The schema of the group ``cluster``: where Ray runs, and how the roles lie on its nodes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from conf.schema.base import Group


class Cluster(Group):
    """Where Ray runs: ``address`` null starts it here, ``auto`` joins a running cluster.

    ``strategy``: ``pack`` puts the roles on few nodes, ``spread`` on many. ``beside``: roles whose actor i shares the
    GPU of learner rank i; the others have their own. ``nodes`` to ``gpu_gib`` describe a cluster to ``launch.plan``;
    a run looks at the cluster itself, which does not tell the memory of its GPUs.
    """

    address: str | None = None
    num_cpus: int | None = Field(None, ge=1)
    object_store_gib: float = Field(0.5, gt=0)
    dashboard: bool = False
    dashboard_host: str = "127.0.0.1"
    strategy: Literal["pack", "spread"] = "pack"
    beside: list[Literal["rollout", "solver"]] = Field([])
    nodes: int | None = Field(None, ge=1)
    cpus_per_node: float | None = Field(None, gt=0)
    gpus_per_node: float | None = Field(None, ge=0)
    gpu_gib: float | None = Field(None, gt=0)
