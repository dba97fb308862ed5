"""Tests and estimates over finished cells: pure functions of counts."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the two-sided exact p-value that two methods are equally often right, from the problems that only one of
    them solved (McNemar 1947, in its binomial form); 1 where there is no such problem."""
    count, fewer = first_only + second_only, min(first_only, second_only)
    tail: int = sum(comb(count, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << count))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for there being several (Holm 1979), in the given order."""
    adjusted = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Estimate without bias that one of k of a problem's samples is right (Chen et al. 2021, arXiv 2107.03374)."""
    return 1 - comb(samples - right, k) / comb(samples, k)


def wilson(successes: float, count: int, z: float = 1.959964) -> dict[str, float]:
    """Return the mean and 95 % interval of a share (Wilson 1927): ``mean``, ``low``, ``high``."""
    mean = successes / count
    centre = (mean + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (mean * (1 - mean) / count + z * z / (4 * count * count)) ** 0.5
    return {"mean": mean, "low": max(0.0, centre - half), "high": min(1.0, centre + half)}
