"""Interval arithmetic on arrays: the certainty behind the guaranteed radius (statement B3).

An interval array encloses every array between `lo` and `hi`, entry by entry. Each operation here returns an interval
that contains the exact result for *every* choice of operands inside their intervals, so a chain of operations encloses
a whole function over a whole range. Every result is rounded outwards, in the operands' own float type: by a few units
in the last place for one operation, by `k` units of the sum of absolute values for a sum of `k` terms (in any order),
and by `TINY`, because XLA may flush subnormal numbers to zero (and a smaller `TINY` would make subnormal ones, on which
matrix products are a hundred times slower). Meant for float64.

A matrix product uses the midpoint-radius form: with `A = Am +- Ar` and `B = Bm +- Br`,

    A B  is inside  Am Bm  +-  ( |Am| Br + Ar (|Bm| + Br) ),

where each radius is first widened by `k` units of its midpoint, which covers the rounding of the products too.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

TINY = 2.0**-800


class Interval(NamedTuple):
    """All arrays `x` with `lo <= x <= hi` entry by entry; both have the same shape."""

    lo: Array
    hi: Array


def point(x: Array) -> Interval:
    """Return the interval that holds only `x`."""
    return Interval(x, x)


def midpoint(a: Interval) -> Array:
    """Return the centre `(lo + hi) / 2`, rounded."""
    return (a.lo + a.hi) / 2


def magnitude(a: Interval) -> Array:
    """Return the largest `|x|` in the interval."""
    return jnp.maximum(jnp.abs(a.lo), jnp.abs(a.hi))


def outward(a: Interval, error: Array | float = 0.0, *, ulps: float = 2.0) -> Interval:
    """Widen computed ends that are off by less than `ulps` units in the last place plus `error`."""
    info = jnp.finfo(a.lo.dtype)
    fixed = error + TINY
    slack = [(ulps * float(info.eps)) * jnp.abs(end) + fixed for end in a]
    return Interval(a.lo - slack[0], a.hi + slack[1])


def add(a: Interval, b: Interval) -> Interval:
    """Enclose `a + b`; equal shapes."""
    return outward(Interval(a.lo + b.lo, a.hi + b.hi))


def subtract(a: Interval, b: Interval) -> Interval:
    """Enclose `a - b`; equal shapes."""
    return outward(Interval(a.lo - b.hi, a.hi - b.lo))


def multiply(a: Interval, b: Interval) -> Interval:
    """Enclose `a * b` entry by entry: the extremes of a product of ranges are products of their ends."""
    ends = (a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi)
    lo = jnp.minimum(jnp.minimum(ends[0], ends[1]), jnp.minimum(ends[2], ends[3]))
    hi = jnp.maximum(jnp.maximum(ends[0], ends[1]), jnp.maximum(ends[2], ends[3]))
    return outward(Interval(lo, hi))


def square(a: Interval) -> Interval:
    """Enclose `a**2`, tighter than `multiply(a, a)`: zero is the minimum when the interval holds zero."""
    ends = a.lo**2, a.hi**2
    holds_zero = (a.lo <= 0) & (a.hi >= 0)
    found = outward(Interval(jnp.where(holds_zero, 0, jnp.minimum(*ends)), jnp.maximum(*ends)))
    return Interval(jnp.maximum(found.lo, 0), found.hi)


def total(a: Interval, axis: int | None = None) -> Interval:
    """Enclose the sum along `axis` (of all entries when None)."""
    terms = a.lo.size if axis is None else a.lo.shape[axis]
    info = jnp.finfo(a.lo.dtype)
    error = terms * (info.eps * jnp.sum(magnitude(a), axis=axis) + TINY)
    return outward(Interval(jnp.sum(a.lo, axis=axis), jnp.sum(a.hi, axis=axis)), error)


def average(a: Interval) -> Interval:
    """Enclose the mean of all entries."""
    whole = total(a)
    return outward(Interval(whole.lo / a.lo.size, whole.hi / a.lo.size))


def matmul(a: Interval, b: Interval) -> Interval:
    """Enclose `a @ b` for shapes `[m, k]` and `[k, n]` by the midpoint-radius form of the module docstring."""
    info, terms = jnp.finfo(a.lo.dtype), a.lo.shape[1]
    slack = (terms + 8) * float(info.eps)
    (a_mid, a_rad), (b_mid, b_rad) = (_midpoint_radius(x, slack) for x in (a, b))
    radius = jnp.abs(a_mid) @ b_rad + a_rad @ (jnp.abs(b_mid) + b_rad)
    centre = a_mid @ b_mid
    return outward(Interval(centre - radius, centre + radius), slack * radius + terms * TINY)


def _midpoint_radius(a: Interval, slack: float) -> tuple[Array, Array]:
    """Return the midpoint and a radius that covers the interval, and `slack |midpoint|` besides."""
    middle = midpoint(a)
    return middle, (a.hi - a.lo) / 2 * (1 + slack) + slack * jnp.abs(middle)


def intersect(a: Interval, b: Interval) -> Interval:
    """Return what both enclosures allow; an end that is NaN (unknown) yields to the other."""
    return Interval(jnp.fmax(a.lo, b.lo), jnp.fmin(a.hi, b.hi))


def drift(start: Interval, width: Array, slope: Interval) -> Interval:
    """Enclose `g(t)` for `t` in `[0, width]` by the mean value theorem: `g(0) + [0, width] * g'`, `width >= 0`."""
    return moved(start, slope, Interval(jnp.zeros_like(width), width))


def moved(start: Interval, rate: Interval, stretch: Interval) -> Interval:
    """Enclose `start + t rate` for `t` in the stretch `0 <= lo <= t <= hi` (scalars)."""
    down = jnp.minimum(stretch.lo * rate.lo, stretch.hi * rate.lo)
    up = jnp.maximum(stretch.lo * rate.hi, stretch.hi * rate.hi)
    error = jnp.finfo(down.dtype).eps * jnp.maximum(jnp.abs(down), jnp.abs(up))
    return outward(Interval(start.lo + down, start.hi + up), error)
