"""A batch as the losses take it: experiences as tensors, with what is recomputed when a step begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from torch import Tensor

from trainer.algorithm.experience import Row


@dataclass(frozen=True)
class TakenBatch:
    """One rank's share of a batch: ``rows`` are prompts and completions as token ids, the tensors are
    ``[batch, time]``, an experience a row, padded on the right to the longest completion.

    ``mask`` is true at completion tokens. ``proximal``, ``reference`` and ``behaviour`` are log-probabilities: under
    the weights at the step's beginning, of the frozen policy, and of those that sampled, which were of ``versions``.
    ``values``, ``entropies`` and ``kl`` (to the reference) are of the step's beginning too. Without a reference policy
    ``reference`` and ``kl`` are None.
    """

    rows: Sequence[Row]
    mask: Tensor
    proximal: Tensor
    values: Tensor
    reference: Tensor | None
    entropies: Tensor
    behaviour: Tensor
    advantages: Tensor
    returns: Tensor
    kl: Tensor | None
    versions: Tensor

    def not_finite(self) -> list[str]:
        """Return the names of the tensors that are NaN or infinite at a completion token."""
        present = {name: value for name, value in self._tensors().items() if value is not None}
        return [name for name, value in present.items() if not value[self.mask].isfinite().all()]

    def pick(self, chosen: Sequence[int], length: int) -> TakenBatch:
        """Return the chosen experiences, the tensors cut to ``[chosen, length]``."""
        picked = {name: None if value is None else value[chosen, :length] for name, value in self._tensors().items()}
        return TakenBatch([self.rows[index] for index in chosen], **picked)

    def _tensors(self) -> dict[str, Tensor | None]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "rows"}
