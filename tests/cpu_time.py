"""Processor time of readers of hostile text, on machines that do other work too."""

from __future__ import annotations

import time
from collections.abc import Callable

TRIES = 3


def least_seconds(read: Callable[[], object], enough: float = 0.0) -> float:
    """Return the least processor time, in seconds, of a few tries; the first of at most `enough` is the last.

    Processor time too is longer on a machine that is shared, so that one try says little.
    """
    least = float("inf")
    for _ in range(TRIES):
        started = time.process_time()
        read()
        least = min(least, time.process_time() - started)
        if least <= enough:
            break
    return least


def assert_linear(read: Callable[[str], object], piece: str, before: str = "", after: str = "") -> None:
    """Read twenty times the text, and assert that it takes less than eighty times the time: a reader of quadratic time
    would take four hundred."""
    short = max(least_seconds(lambda: read(before + piece * 2_000 + after)), 5e-4)
    limit = 80 * short
    assert least_seconds(lambda: read(before + piece * 40_000 + after), limit) < limit
