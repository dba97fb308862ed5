from __future__ import annotations

import itertools
from statistics import fmean

import pytest

from trainer.tracking.statistics import holm, mcnemar, pass_at_k


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (9, 1, 22 / 1024), (4, 4, 1.0), (0, 12, 2 / 4096)],
)
def test_mcnemar_is_the_exact_two_sided_binomial_test(first, second, p):
    assert mcnemar(first, second) == mcnemar(second, first) == pytest.approx(p)


def test_mcnemar_bears_many_problems():
    assert mcnemar(3000, 2000) == pytest.approx(0.0, abs=1e-40)
    assert mcnemar(2500, 2499) > 0.98


def test_holm_adjusts_in_the_given_order_and_never_reverses_one():
    # Holm (1979): 0.01 * 4, 0.03 * 3 = 0.09, then 0.04 * 2 = 0.08 raised to 0.09, and 0.2.
    assert holm([0.04, 0.01, 0.2, 0.03]) == pytest.approx([0.09, 0.04, 0.2, 0.09])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(("n", "c", "k"), [(5, 0, 2), (5, 1, 2), (6, 2, 3), (4, 4, 1), (3, 2, 3)])
def test_pass_at_k_is_the_share_of_draws_without_replacement_that_hold_a_right_one(n, c, k):
    drawn = itertools.combinations([True] * c + [False] * (n - c), k)
    assert pass_at_k(n, c, k) == pytest.approx(fmean(any(draw) for draw in drawn))
