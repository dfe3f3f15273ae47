"""Means and 95% intervals over independent runs.

t interval: mean +- t_{0.975, n-1} s / sqrt(n), s^2 the unbiased variance. A paired difference is the interval of the
per-run differences: both conditions of a run share noise, batches and teacher, so what they share cancels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special


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
