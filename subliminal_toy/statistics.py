"""Means and medians over independent runs, with 95% intervals.

t interval: mean +- t_{0.975, n-1} s / sqrt(n), s^2 the unbiased variance. A paired difference is the interval of the
per-run differences: both conditions of a run share noise, batches and teacher, so common variation cancels.

Interval of a median: from the k-th smallest value to the k-th largest, with the largest k for which P(B < k) <= 0.025,
B ~ Binomial(n, 1/2). It covers the median of any continuous distribution with probability at least 95%. For fewer than
six values there is none: even the interval from the smallest to the largest covers less (1 - 2 / 2^5 < 0.95).

Outliers: values further from the median than 3 scaled MADs, 3 * 1.4826 * median |x - median|, which is 3 standard
deviations of a normal distribution. They are marked, never dropped; fewer than six values have none.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

TAIL, FEWEST = 0.025, 6  # probability in each tail; least number of values for outliers
MADS, MAD_TO_SD = 3.0, 1.4826


class Interval(NamedTuple):
    """A mean over runs with its 95% t interval."""

    mean: float
    ci95: tuple[float, float] | None  # None for a single run

    @property
    def half_width(self) -> float | None:
        """Half the interval's width; None for a single run."""
        return None if self.ci95 is None else (self.ci95[1] - self.ci95[0]) / 2


def t_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Return the mean and 95% t interval of one value per run; ValueError for an empty list."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"an interval needs a list of at least one value, got shape {values.shape}")
    mean = float(values.mean())
    if values.size == 1:
        return Interval(mean, None)
    half = float(special.stdtrit(values.size - 1, 0.975) * values.std(ddof=1) / values.size**0.5)
    return Interval(mean, (mean - half, mean + half))


def paired_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return the mean and 95% t interval of first - second, run by run; ValueError if their lengths differ."""
    if len(first) != len(second):
        raise ValueError(f"paired runs need equal numbers, got {len(first)} and {len(second)}")
    return t_interval(np.asarray(first, np.float64) - np.asarray(second, np.float64))


def median_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float] | None:
    """Return the 95% interval of the median by order statistics (see above); None for fewer than six values."""
    ordered = np.sort(np.asarray(values, np.float64))
    k = sum(special.bdtr(below, ordered.size, 0.5) <= TAIL for below in range(ordered.size))
    return (float(ordered[k - 1]), float(ordered[-k])) if k else None


def outliers(values: Sequence[float] | np.ndarray) -> list[int]:
    """Return the indices of values further than MADS scaled MADs from the median (see above)."""
    away = np.abs(np.asarray(values, np.float64) - np.median(values))
    return np.flatnonzero(away > MADS * MAD_TO_SD * np.median(away)).tolist() if len(away) >= FEWEST else []


def describe(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """Summarize one value per run for results: {"mean", "ci95", "median", "median_ci95", "outliers"}."""
    return {
        **t_interval(values)._asdict(),
        "median": float(np.median(values)),
        "median_ci95": median_interval(values),
        "outliers": outliers(values),
    }
