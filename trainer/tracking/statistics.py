"""Tests and estimates over finished cells: pure functions of counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from statistics import fmean, stdev
from typing import Any, NamedTuple

# What rounding leaves of a difference that is the same for every seed.
ROUNDING = 1e-12


class OverSeeds(NamedTuple):
    """The mean over ``seeds`` seeds with the ends of its 95 % interval, None where there is none."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


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
    # Where all are right, or none, an end is the mean itself, and rounding may put it on the wrong side.
    return {"mean": mean, "low": max(0.0, min(mean, centre - half)), "high": min(1.0, max(mean, centre + half))}


def mean_over_seeds(values: Sequence[float], *, share: bool = False) -> OverSeeds:
    """Return the mean of one value a seed with its 95 % t interval (Student 1908), which takes the seeds for a random
    sample of all seeds. There is no interval for one seed, nor where all values are alike: what spread is to be
    expected cannot be told from either. The interval of a ``share``, as an accuracy is, is clipped to [0, 1]."""
    # Here: it takes half a second to load, and every run imports this module.
    from scipy.special import stdtrit

    mean, count = fmean(values), len(values)
    spread = stdev(values) if count > 1 else 0.0
    if spread < ROUNDING:
        return OverSeeds(mean, None, None, count)
    half = float(stdtrit(count - 1, 0.975)) * spread / count**0.5
    low, high = mean - half, mean + half
    return OverSeeds(mean, max(0.0, low) if share else low, min(1.0, high) if share else high, count)


def difference_over_seeds(first: Mapping[Any, float], second: Mapping[Any, float]) -> OverSeeds:
    """Return by how much ``second`` is above ``first``, each a value by seed: the mean of the differences within the
    seeds that both have, and the 95 % t interval of that mean, as ``mean_over_seeds``. Raises ValueError if they share
    no seed."""
    shared = [seed for seed in first if seed in second]
    if not shared:
        raise ValueError("the two share no seed")
    return mean_over_seeds([second[seed] - first[seed] for seed in shared])
