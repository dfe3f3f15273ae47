"""Interval arithmetic on arrays: the certainty behind the guaranteed radius (statement B3).

An interval array encloses every array between `lo` and `hi`, entry by entry. Each operation here returns an interval
that contains the exact result for *every* choice of operands inside their intervals, so a chain of operations encloses
a whole function over a whole range. Bounds are computed in the operands' own float type without outward rounding:
they are rigorous up to round-off (about 1e-15 relative in float64); `theory.radius` keeps a margin of 1e-9 for it.

A matrix product uses the midpoint-radius form: with `A = Am +- Ar` and `B = Bm +- Br`,

    A B  is inside  Am Bm  +-  ( |Am| Br + Ar (|Bm| + Br) ).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class Interval(NamedTuple):
    """All arrays `x` with `lo <= x <= hi` entry by entry; both have the same shape."""

    lo: Array
    hi: Array


def point(x: Array) -> Interval:
    """Return the interval that holds only `x`."""
    return Interval(x, x)


def midpoint(a: Interval) -> Array:
    """Return the centre `(lo + hi) / 2`."""
    return (a.lo + a.hi) / 2


def add(a: Interval, b: Interval) -> Interval:
    """Enclose `a + b`; equal shapes."""
    return Interval(a.lo + b.lo, a.hi + b.hi)


def subtract(a: Interval, b: Interval) -> Interval:
    """Enclose `a - b`; equal shapes."""
    return Interval(a.lo - b.hi, a.hi - b.lo)


def multiply(a: Interval, b: Interval) -> Interval:
    """Enclose `a * b` entry by entry: the extremes of a product of ranges are products of their ends."""
    ends = (a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi)
    lo = jnp.minimum(jnp.minimum(ends[0], ends[1]), jnp.minimum(ends[2], ends[3]))
    hi = jnp.maximum(jnp.maximum(ends[0], ends[1]), jnp.maximum(ends[2], ends[3]))
    return Interval(lo, hi)


def square(a: Interval) -> Interval:
    """Enclose `a**2`, tighter than `multiply(a, a)`: zero is the minimum when the interval holds zero."""
    ends = a.lo**2, a.hi**2
    holds_zero = (a.lo <= 0) & (a.hi >= 0)
    return Interval(jnp.where(holds_zero, 0, jnp.minimum(*ends)), jnp.maximum(*ends))


def total(a: Interval, axis: int | None = None) -> Interval:
    """Enclose the sum along `axis` (of all entries when None)."""
    return Interval(jnp.sum(a.lo, axis=axis), jnp.sum(a.hi, axis=axis))


def average(a: Interval) -> Interval:
    """Enclose the mean of all entries."""
    return Interval(jnp.mean(a.lo), jnp.mean(a.hi))


def matmul(a: Interval, b: Interval) -> Interval:
    """Enclose `a @ b` for shapes `[m, k]` and `[k, n]` by the midpoint-radius form of the module docstring."""
    a_mid, b_mid = midpoint(a), midpoint(b)
    a_rad, b_rad = (a.hi - a.lo) / 2, (b.hi - b.lo) / 2
    centre = a_mid @ b_mid
    radius = jnp.abs(a_mid) @ b_rad + a_rad @ (jnp.abs(b_mid) + b_rad)
    return Interval(centre - radius, centre + radius)


def matmul_exact(a: Interval, b: Array) -> Interval:
    """Enclose `a @ b` for shapes `[m, k]` and `[k, n]` where `b` is known exactly: the radius is `Ar |b|`."""
    centre, radius = midpoint(a) @ b, (a.hi - a.lo) / 2 @ jnp.abs(b)
    return Interval(centre - radius, centre + radius)


def intersect(a: Interval, b: Interval) -> Interval:
    """Return what both enclosures allow; an end that is NaN (unknown) yields to the other."""
    return Interval(jnp.fmax(a.lo, b.lo), jnp.fmin(a.hi, b.hi))


def drift(start: Interval, width: Array, slope: Interval) -> Interval:
    """Enclose `g(t)` for `t` in `[0, width]` by the mean value theorem: `g(0) + [0, width] * g'`, `width >= 0`."""
    zero = jnp.zeros_like(slope.lo)
    run = Interval(zero, zero + width)
    return add(start, multiply(run, slope))
