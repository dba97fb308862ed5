"""A data set of one's own, as code: the embedded task, of which only problems about some items are kept."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

from rollout.data import chained
from rollout.data.generated import is_held_out
from rollout.data.graph import imperfect_decomposition
from rollout.records import Problem


class ItemProblems:
    """Chained problems of ``steps`` steps about ``items``, two splits that share no question."""

    def __init__(self, items: Sequence[str], steps: int) -> None:
        self._items, self._steps = set(items), {steps: 1.0}
        self.report: dict[str, int] = {}
        self.rows: Sequence[Problem] = ()

    def train(self, seed: int) -> Iterator[Problem]:
        """Yield training problems in an order that the seed fixes, without end."""
        return self._kept(chained.generate(seed + 1_000, "train", self._steps))

    def held_out(self, count: int) -> list[Problem]:
        """Return ``count`` held-out problems, always the same ones."""
        return list(itertools.islice(self._kept(chained.generate(0, "held_out", self._steps)), count))

    def is_held_out(self, question: str) -> bool:
        """Return whether a question is never to be trained on."""
        return is_held_out(question)

    def imperfect_decomposition(
        self, problem: Problem, rng: random.Random, drop: float, swap: float, redundant: float
    ) -> list[str]:
        """Return a decomposition as an automatic teacher might write it, for stage 1."""
        return imperfect_decomposition(problem, rng, drop, swap, redundant)

    def _kept(self, problems: Iterator[Problem]) -> Iterator[Problem]:
        return (problem for problem in problems if problem.meta["item"] in self._items)
