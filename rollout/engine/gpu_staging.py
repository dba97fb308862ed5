"""New weights on their way into a GPU, beside generation: from the object store's pageable memory into pinned memory,
and from there into the GPU's as far as it has room, so that the pause for a load holds copies within the GPU alone.

What finds no room stays in pinned memory, from which the pause copies it at the full rate of the bus.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

# Left free: what else is on the GPU comes and goes.
MARGIN = 2 * 2**30


class Device(Protocol):
    """A GPU as far as staging needs one."""

    def free_bytes(self) -> int:
        """Return how much of the GPU's memory nobody has."""

    def pinned(self, tensor: Tensor) -> Tensor:
        """Return a copy in pinned memory."""

    def placed(self, tensor: Tensor) -> Tensor:
        """Begin to copy a pinned tensor into the GPU's memory; return the copy, which is whole after ``wait``."""

    def wait(self) -> None:
        """Wait for the copies that were begun."""

    def release(self) -> None:
        """Wait for everything that the GPU does, after which staged tensors may be dropped."""


class Cuda:
    """The GPU of this process. Copies have a stream of their own, which does not wait for generation."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def free_bytes(self) -> int:
        """Return how much of the GPU's memory nobody has; what earlier staging left to torch is given back before."""
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info()[0])

    def pinned(self, tensor: Tensor) -> Tensor:
        """Return a copy in pinned memory."""
        return tensor.contiguous().pin_memory()

    def placed(self, tensor: Tensor) -> Tensor:
        """Begin to copy a pinned tensor; torch keeps its memory until the copy is made."""
        with torch.cuda.stream(self._stream):
            return tensor.to("cuda", non_blocking=True)

    def wait(self) -> None:
        """Wait for the copies, not for generation."""
        self._stream.synchronize()

    def release(self) -> None:
        """Wait for all streams: one of them reads what was copied on another."""
        torch.cuda.synchronize()


def stage(weights: Iterable[tuple[str, Tensor]], device: Device, *, own_gpu: bool) -> list[tuple[str, Tensor]]:
    """Return the same weights nearer to the GPU, in their order. Only with ``own_gpu`` do they take of its memory: on
    one that is shared, the learner may need all that is free in the next moment."""
    room = device.free_bytes() - MARGIN if own_gpu else 0
    found = []
    for name, tensor in weights:
        near = device.pinned(tensor)
        if tensor.nbytes <= room:
            room -= tensor.nbytes
            near = device.placed(near)
        found.append((name, near))
    device.wait()
    return found
