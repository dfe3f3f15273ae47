"""Intervals against SciPy's t distribution, and their coverage by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from subliminal_toy.statistics import paired_interval, t_interval


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
