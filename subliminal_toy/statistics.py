"""Means and medians over independent runs, with 95% intervals.

t interval: mean +- t_{0.975, n-1} s / sqrt(n), s^2 the unbiased variance. A paired difference is the interval of the
per-run differences: both conditions of a run share noise, batches and teacher, so what they share cancels.

Interval of a median: from the k-th smallest value to the k-th largest, with the largest k for which P(B < k) <= 0.025,
B binomial of n and 1/2. It holds the median of any continuous distribution with at least 95%. Of fewer than six values
not even the smallest and the largest do (1 - 2 / 2^5 < 0.95), so that there is none.

Outliers: values further from the median than 3 scaled MADs, 3 * 1.4826 * median |x - median|, which is 3 standard
deviations of a normal distribution. Marked, never left out; not looked for among fewer than six.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

TAIL, FEWEST = 0.025, 6  # of probability on either side; of values that a median has an interval for
MADS, MAD_TO_SD = 3.0, 1.4826


class Interval(NamedTuple):
    """A mean over runs with its 95% t interval."""

    mean: float
    ci95: tuple[float, float] | None  # None for a single run

    @property
    def half_width(self) -> float | None:
        """Half the interval's width, None for a single run."""
        return None if self.ci95 is None else (self.ci95[1] - self.ci95[0]) / 2


def t_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Mean and 95% t interval of one value per run; ValueError if there is none."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"an interval needs a list of at least one value, got shape {values.shape}")
    mean = float(values.mean())
    if values.size == 1:
        return Interval(mean, None)
    half = float(special.stdtrit(values.size - 1, 0.975) * values.std(ddof=1) / values.size**0.5)
    return Interval(mean, (mean - half, mean + half))


def paired_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Mean and 95% t interval of first - second, run by run; ValueError if their lengths differ."""
    if len(first) != len(second):
        raise ValueError(f"paired runs need equal numbers, got {len(first)} and {len(second)}")
    return t_interval(np.asarray(first, np.float64) - np.asarray(second, np.float64))


def median_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float] | None:
    """The 95% interval of a median by order statistics (see above); None for fewer than six values."""
    ordered = np.sort(np.asarray(values, np.float64))
    k = sum(special.bdtr(below, ordered.size, 0.5) <= TAIL for below in range(ordered.size))
    return (float(ordered[k - 1]), float(ordered[-k])) if k else None


def outliers(values: Sequence[float] | np.ndarray) -> list[int]:
    """Which values are beyond MADS scaled MADs (see above), by index."""
    away = np.abs(np.asarray(values, np.float64) - np.median(values))
    return np.flatnonzero(away > MADS * MAD_TO_SD * np.median(away)).tolist() if len(away) >= FEWEST else []


def describe(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """{"mean", "ci95", "median", "median_ci95", "outliers"} of one value per run, as it is kept in results."""
    return {
        **t_interval(values)._asdict(),
        "median": float(np.median(values)),
        "median_ci95": median_interval(values),
        "outliers": outliers(values),
    }
