"""The rows of each episode laid end to end, so that what goes over a whole episode, as GAE does, sees one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class EndToEnd:
    """Two ways to see the same tokens: ``[rows, columns]``, and ``[episodes, time]`` with an episode's rows one after
    the other, both padded on the right.

    ``places`` ``[episodes, time]`` are indices into the flattened rows, and ``present`` says which of them are no
    padding. Where every episode has one row, both ways are the same tensor.
    """

    rows: int
    columns: int
    places: Tensor
    present: Tensor

    def lay(self, values: Tensor) -> Tensor:
        """Return a tensor ``[rows, columns]`` as ``[episodes, time]``; zero where there is padding."""
        laid = values.flatten()[self.places]
        return torch.where(self.present, laid, torch.zeros_like(laid))

    def cut(self, values: Tensor) -> Tensor:
        """Return a tensor ``[episodes, time]`` as ``[rows, columns]``; zero where there is padding."""
        rows = values.new_zeros(self.rows * self.columns)
        rows[self.places[self.present]] = values[self.present]
        return rows.view(self.rows, self.columns)


def end_to_end(lengths: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> EndToEnd:
    """Return how rows of these lengths, a list an episode, lie one after the other."""
    columns = max(length for rows in lengths for length in rows)
    time = max(sum(rows) for rows in lengths)
    places = torch.zeros(len(lengths), time, dtype=torch.long)
    present = torch.zeros(len(lengths), time, dtype=torch.bool)
    row = 0
    for episode, rows in enumerate(lengths):
        start = 0
        for length in rows:
            places[episode, start : start + length] = torch.arange(length) + row * columns
            start, row = start + length, row + 1
        present[episode, :start] = True
    return EndToEnd(row, columns, places.to(device), present.to(device))
