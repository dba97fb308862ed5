"""A reward actor lives as long as a run: what it keeps of texts has a limit."""

from __future__ import annotations

import psutil

from rewards.nouns_and_vectors import TextResources

MIB = 2**20


def test_texts_that_are_new_leave_no_memory_behind():
    resources = TextResources(cache_size=100)

    def embed(first: int, count: int) -> int:
        for start in range(first, first + count, 4):
            resources.vectors(
                [f"Amy has {index * 7919} pens, {index} more than Tom." for index in range(start, start + 4)]
            )
        return int(psutil.Process().memory_full_info().uss)

    before = embed(0, 1000)
    # 2 kB of each were 16 MiB.
    assert embed(1000, 8000) - before < 4 * MIB
