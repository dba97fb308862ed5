from __future__ import annotations

import itertools
from statistics import fmean

import pytest
from scipy import stats

from trainer.tracking.statistics import difference_over_seeds, holm, mcnemar, mean_over_seeds, pass_at_k, wilson


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


@pytest.mark.parametrize(("right", "count"), [(0, 9), (3, 9), (9, 9), (61, 120)])
def test_wilson_s_interval_is_scipys(right, count):
    interval = stats.binomtest(right, count).proportion_ci(method="wilson")
    found = wilson(right, count)
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((right / count, *interval), abs=1e-6)


def test_an_interval_holds_its_mean_where_all_are_right_and_where_none_is():
    for count in range(1, 2001):
        for right in (0, count):
            found = wilson(right, count)
            assert 0 <= found["low"] <= found["mean"] <= found["high"] <= 1, found


@pytest.mark.parametrize(("n", "c", "k"), [(5, 0, 2), (5, 1, 2), (6, 2, 3), (4, 4, 1), (3, 2, 3)])
def test_pass_at_k_is_the_share_of_draws_without_replacement_that_hold_a_right_one(n, c, k):
    drawn = itertools.combinations([True] * c + [False] * (n - c), k)
    assert pass_at_k(n, c, k) == pytest.approx(fmean(any(draw) for draw in drawn))


def test_the_mean_over_seeds_has_the_t_interval_worked_by_hand():
    # Mean 0.6, standard deviation 0.1, standard error 0.1 / sqrt(3) = 0.057735; t of 2 degrees of freedom 4.302653.
    assert mean_over_seeds([0.5, 0.7, 0.6]) == pytest.approx((0.6, 0.6 - 0.248414, 0.6 + 0.248414, 3), abs=1e-6)


@pytest.mark.parametrize("values", [[0.2, 0.9], [0.61, 0.58, 0.66, 0.6, 0.59], [-3.0, 8.0, 1.5, 2.25]])
def test_the_mean_over_seeds_has_the_interval_of_scipys_t_test(values):
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_over_seeds(values)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_only_a_share_s_interval_is_clipped():
    assert mean_over_seeds([0.2, 0.9], share=True)[1:3] == (0.0, 1.0)
    low, high = mean_over_seeds([0.2, 0.9])[1:3]
    assert low < 0 < 1 < high


@pytest.mark.parametrize("values", [[0.7], [0.7, 0.7, 0.7]])
def test_one_seed_or_seeds_that_are_all_alike_have_no_interval(values):
    assert mean_over_seeds(values) == (pytest.approx(0.7), None, None, len(values))


def test_differences_are_paired_by_the_seeds_that_both_have():
    first, second = {1: 0.5, 2: 0.6, 3: 0.9, 4: 0.1}, {3: 1.0, 2: 0.9, 1: 0.7, 5: 0.0}
    found = difference_over_seeds(first, second)
    # 0.2, 0.3 and 0.1 above the first: as above, with a mean of 0.2.
    assert found == pytest.approx((0.2, 0.2 - 0.248414, 0.2 + 0.248414, 3), abs=1e-6)
    interval = stats.ttest_rel([0.7, 0.9, 1.0], [0.5, 0.6, 0.9]).confidence_interval(0.95)
    assert found[1:3] == pytest.approx((interval.low, interval.high))
    # 0.1 and 0.3 are no exact binary fractions: the same difference differs in its last digit.
    assert difference_over_seeds({1: 0.1, 2: 0.3}, {1: 0.2, 2: 0.4})[1:] == (None, None, 2)
    with pytest.raises(ValueError, match="no seed"):
        difference_over_seeds({1: 0.5}, {2: 0.5})
