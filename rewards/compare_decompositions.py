"""The likeness of a decomposition to a reference decomposition: a measure, no part of the reward.

Sub-questions are matched one to one, the most similar pair first, as long as its similarity is at least a threshold.
Similarity is the cosine of sentence vectors: of what is asked in nearly the same words, not of what is needed.
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
    """A decomposition beside its reference: how many of its sub-questions are ``matched``; the shares of the reference
    (``coverage``) and of itself (``precision``) that these are; and ``order``: of all pairs of matched sub-questions
    the share that come in the reference's order, None where fewer than two are matched."""

    matched: int
    coverage: float
    precision: float
    order: float | None


def match(similarity: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    """Return pairs (row, column) of ``similarity`` ``[sub-questions, references]``, each row and column at most once,
    best first; of equals the earlier row, then the earlier column."""
    pairs: list[tuple[int, int]] = []
    for place in np.argsort(-similarity, axis=None, kind="stable").tolist():
        row, column = divmod(place, similarity.shape[1])
        if similarity[row, column] < threshold:
            break
        if all(row != other and column != taken for other, taken in pairs):
            pairs.append((row, column))
    return pairs


def likeness(similarity: np.ndarray, threshold: float) -> Likeness:
    """Compute the likeness from similarities ``[sub-questions, references]``; only sub-questions may be none."""
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
    """Return the likeness of each written decomposition to its reference, which must hold a sub-question."""
    resources.vectors([text for texts in (*written, *references) for text in texts])  # in one call; kept from here on
    return [
        likeness(
            resources.vectors(asked) @ resources.vectors(reference).T if asked else np.zeros((0, len(reference))),
            threshold,
        )
        for asked, reference in zip(written, references, strict=True)
    ]


def means(found: Sequence[Likeness]) -> dict[str, float | None]:
    """Return the mean of every field; of ``order`` over those that have one (None if none has)."""
    rows = [asdict(one) for one in found]
    columns = {name: [row[name] for row in rows if row[name] is not None] for name in Likeness.__dataclass_fields__}
    return {name: fmean(values) if values else None for name, values in columns.items()}
