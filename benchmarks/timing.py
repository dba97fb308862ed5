"""Times of what is computed on a GPU, or without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


def wait_for_gpu() -> None:
    """Wait until the GPU has done what it was given, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(step: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds of one call: of wall time, and of CPU time, which other processes disturb less."""
    wait_for_gpu()
    started = time.perf_counter(), time.process_time()
    step()
    wait_for_gpu()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def take_turns(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return the seconds of each side's calls, as ``timed`` gives them; in every round each side is called once."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(rounds):
        # Neither is always the one that finds the other's data in the cache.
        for name in list(sides)[:: 1 if number % 2 else -1]:
            seconds[name].append(timed(sides[name]))
    return seconds


class PassTimer:
    """The seconds of training's own passes: forward with gradients, and backward."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the seconds of a block."""
        wait_for_gpu()
        started = time.perf_counter()
        yield
        wait_for_gpu()
        self.seconds += time.perf_counter() - started
