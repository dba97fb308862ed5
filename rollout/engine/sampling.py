"""How a completion is sampled, and the seeds of repeated draws."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """How to sample one completion. Plain temperature sampling only: truncation would make importance weights
    wrong. ``temperature`` 0 is greedy."""

    max_tokens: int
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


def draw_seed(prompt: str, sample: int) -> int:
    """Return the seed of the ``sample``-th draw of a reply to ``prompt``: the same in every run, 31 bits."""
    return int.from_bytes(hashlib.sha256(f"{sample} {prompt}".encode()).digest()[:4], "big") >> 1
