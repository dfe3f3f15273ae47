"""Intervals against SciPy's t distribution, and their coverage by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from subliminal_toy.statistics import describe, median_interval, outliers, paired_interval, t_interval


@given(st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=2, max_size=30))
def test_t_interval_is_scipys(values: list[float]) -> None:
    interval = t_interval(values)
    assert interval.mean == pytest.approx(np.mean(values))
    if np.std(values) > 1e-9:
        expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        np.testing.assert_allclose(interval.ci95, expected, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(2, 20))
def test_paired_interval_agrees_with_scipys_paired_test(seed: int, n: int) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, n))
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    np.testing.assert_allclose(paired_interval(first, second).ci95, expected, rtol=1e-9)


def test_interval_covers_the_truth_95_times_in_100() -> None:
    samples = np.random.default_rng(0).normal(loc=2.0, size=(4000, 5))
    intervals = np.array([t_interval(row).ci95 for row in samples])
    covered = np.mean((intervals[:, 0] < 2.0) & (intervals[:, 1] > 2.0))
    assert abs(covered - 0.95) < 0.011  # 3 standard errors


def test_pairing_removes_what_runs_share() -> None:
    rng = np.random.default_rng(0)
    shared, own = rng.normal(scale=10, size=20), rng.normal(scale=0.1, size=(2, 20))
    paired = paired_interval(shared + own[0] + 1, shared + own[1])
    assert paired.half_width < 0.1
    assert paired.ci95[0] < 1 < paired.ci95[1]


def test_a_single_run_has_no_interval() -> None:
    assert t_interval([0.5]) == (0.5, None)
    assert t_interval([0.5]).half_width is None


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])
    with pytest.raises(ValueError, match="equal numbers, got 2 and 3"):
        paired_interval([1, 2], [1, 2, 3])


@pytest.mark.parametrize(("n", "k"), [(6, 1), (8, 1), (9, 2), (10, 2), (20, 6), (50, 18), (100, 40)])
def test_intervals_of_medians_are_those_of_tables(n: int, k: int) -> None:
    """Ranks by counting all outcomes of the binomial, and as they are tabulated (Conover, table A3)."""
    values = np.random.default_rng(n).permutation(np.arange(1, n + 1))
    assert median_interval(values) == (k, n + 1 - k)
    below = [math.comb(n, i) / 2**n for i in range(k + 1)]
    assert sum(below[:k]) <= 0.025 < sum(below)


def test_interval_of_a_median_covers_it_in_skewed_samples() -> None:
    samples = np.random.default_rng(0).exponential(size=(4000, 10))
    intervals = np.array([median_interval(row) for row in samples])
    covered = np.mean((intervals[:, 0] < np.log(2)) & (intervals[:, 1] > np.log(2)))
    assert abs(covered - 0.9785) < 0.008  # 1 - 2 (1 + 10) / 2^10, 3 standard errors


def test_few_values_have_no_interval_of_a_median_and_no_outliers() -> None:
    found = describe([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (found["median"], found["median_ci95"], found["outliers"]) == (3.0, None, [])
    assert found["ci95"] is not None


def test_outliers_are_beyond_three_scaled_mads() -> None:
    values = [9.0, 9.0, 9.0, 10.0, 11.0, 11.0, 11.0, 14.44, 5.55]  # the median is 10 and the MAD 1
    assert outliers(values) == [8]
    assert describe(values)["mean"] == t_interval(values).mean  # nothing is left out
