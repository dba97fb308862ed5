"""The likeness of decompositions, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rewards.compare_decompositions import Likeness, compare, likeness, match, means
from rewards.nouns_and_vectors import TextResources

HIGH, LOW = 0.9, 0.5


def test_the_best_pairs_go_first_and_nothing_is_matched_twice():
    # Row 0 is nearest to column 0, but row 1 is nearer to it still; what is left for row 0 is column 1.
    similarity = np.array([[0.90, 0.85], [0.95, 0.20]])
    assert match(similarity, 0.8) == [(1, 0), (0, 1)]
    assert match(similarity, 0.9) == [(1, 0)]
    assert match(similarity, 0.96) == []


def test_of_equal_pairs_the_earlier_is_taken():
    assert match(np.full((3, 2), HIGH), 0.8) == [(0, 0), (1, 1)]


def test_a_reference_in_another_order_with_something_needless():
    # Asks for the third, something else, the first and the second of four: two of the three pairs are in wrong order.
    similarity = np.full((4, 4), LOW)
    for row, column in ((0, 2), (2, 0), (3, 1)):
        similarity[row, column] = HIGH
    found = likeness(similarity, 0.8)
    assert (found.matched, found.coverage, found.precision) == (3, 0.75, 0.75)
    assert found.order == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("similarity", "expected"),
    [
        (np.diag([HIGH, HIGH]), Likeness(2, 1.0, 1.0, 1.0)),
        (np.fliplr(np.diag([HIGH, HIGH])), Likeness(2, 1.0, 1.0, 0.0)),
        (np.array([[HIGH, LOW, LOW]]), Likeness(1, 1 / 3, 1.0, None)),
        # A hundred copies of one sub-question match it once.
        (np.full((100, 1), HIGH), Likeness(1, 1.0, 0.01, None)),
        (np.full((2, 2), LOW), Likeness(0, 0.0, 0.0, None)),
        (np.zeros((0, 2)), Likeness(0, 0.0, 0.0, None)),
    ],
)
def test_worked_cases(similarity, expected):
    assert likeness(similarity, 0.8) == expected


def test_means_leave_out_what_is_absent():
    found = [Likeness(2, 1.0, 0.5, 0.0), Likeness(1, 0.5, 1.0, None), Likeness(0, 0.0, 0.0, None)]
    assert means(found) == {"matched": 1.0, "coverage": 0.5, "precision": 0.5, "order": 0.0}
    assert means(found[1:])["order"] is None


def test_texts_are_compared_by_what_they_say():
    reference = ["How many pens does Tom buy?", "How much do the pens cost?", "How much money is left?"]
    plans = [
        ["How much do the pens cost?", "how many pens does Tom buy"],
        ["Where does the river end?"],
        [],
    ]  # fmt: skip
    swapped, other, nothing = compare(plans, [reference] * 3, TextResources(), 0.8)
    assert swapped == Likeness(2, pytest.approx(2 / 3), 1.0, 0.0)
    assert other.matched == nothing.matched == 0
