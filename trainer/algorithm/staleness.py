"""How far rollouts may run ahead of the learner: one small class, no I/O. The unit is the weight version."""

from __future__ import annotations

from collections.abc import Sequence


class StalenessManager:
    """Holds ``admitted <= (version + target + 1) * batch_size``, and says what is staler than ``max_staleness``.

    ``admitted`` counts every problem accepted and not given up: running, scored, waiting and trained on. The ``target``
    (None: ``max_staleness``) is what admissions aim at; slow episodes may come to be staler, up to the bound.
    """

    def __init__(self, batch_size: int, max_staleness: int, target: float | None = None) -> None:
        self.batch_size = batch_size
        self.max_staleness = max_staleness
        self.target = max_staleness if target is None else min(target, max_staleness)
        self.admitted = 0

    def capacity(self, version: int) -> int:
        """Return how many more problems may be admitted while the rollouts hold weights of ``version``."""
        return max(0, int((version + self.target + 1) * self.batch_size) - self.admitted)

    def admit(self, count: int = 1) -> None:
        """Count problems in."""
        self.admitted += count

    def give_up(self, count: int = 1) -> None:
        """Count problems out that were admitted and will not be trained on."""
        self.admitted -= count

    def too_stale(self, token_versions: Sequence[int], version: int) -> bool:
        """Return whether a sample must not be trained on by weights of ``version``: its oldest token decides."""
        return version - min(token_versions, default=version) > self.max_staleness
