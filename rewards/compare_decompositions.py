"""Measure how similar a decomposition is to a reference decomposition; this is not a part of the reward.

Sub-questions are matched one to one, the most similar pair first, as long as the similarity is at least a threshold.
Similarity is the cosine of sentence vectors. It shows whether nearly the same words are used, not whether a
sub-question is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean

import numpy as np

from rewards.nouns_and_vectors import TextResources


@dataclass(frozen=True)
class Likeness:
    """A decomposition compared with its reference. ``matched`` counts its matched sub-questions; ``coverage`` and
    ``precision`` are their shares of the reference and of the decomposition. ``order`` is the share of pairs of matched
    sub-questions that come in the reference's order; None if fewer than two are matched."""

    matched: int
    coverage: float
    precision: float
    order: float | None


def match(similarity: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    """Return pairs (row, column) of ``similarity`` ``[sub-questions, references]``, each row and column at most once,
    best first. Ties go to the earlier row, then to the earlier column."""
    pairs: list[tuple[int, int]] = []
    for place in np.argsort(-similarity, axis=None, kind="stable").tolist():
        row, column = divmod(place, similarity.shape[1])
        if similarity[row, column] < threshold:
            break
        if all(row != other and column != taken for other, taken in pairs):
            pairs.append((row, column))
    return pairs


def likeness(similarity: np.ndarray, threshold: float) -> Likeness:
    """Compute the likeness from similarities ``[sub-questions, references]``; the references must not be empty."""
    asked, wanted = similarity.shape
    columns = [column for _, column in sorted(match(similarity, threshold))]
    pairs = list(combinations(columns, 2))
    return Likeness(
        matched=len(columns),
        coverage=len(columns) / wanted,
        precision=len(columns) / asked if asked else 0.0,
        order=fmean(first < second for first, second in pairs) if pairs else None,
    )


def compare(
    written: Sequence[Sequence[str]], references: Sequence[Sequence[str]], resources: TextResources, threshold: float
) -> list[Likeness]:
    """Return the likeness of each decomposition to its reference, which must have at least one sub-question."""
    resources.vectors([text for texts in (*written, *references) for text in texts])  # in one call; kept from here on
    return [
        likeness(
            resources.vectors(asked) @ resources.vectors(reference).T if asked else np.zeros((0, len(reference))),
            threshold,
        )
        for asked, reference in zip(written, references, strict=True)
    ]


def means(found: Sequence[Likeness]) -> dict[str, float | None]:
    """Return the mean of every field. For ``order`` it is the mean over those that have one; None if none has."""
    rows = [asdict(one) for one in found]
    columns = {name: [row[name] for row in rows if row[name] is not None] for name in Likeness.__dataclass_fields__}
    return {name: fmean(values) if values else None for name, values in columns.items()}
