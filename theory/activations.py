"""Activation functions with exact ranges of their value and first two derivatives over an interval.

The range of a smooth `g` over `[a, b]` is attained at an end or at a critical point of `g` inside, so for each of
`g, g', g''` it is enough to list the critical points:

    tanh      g: none         g': 0              g'': +-atanh(1/sqrt 3)
    sigmoid   g: none         g': 0              g'': +-log(2 + sqrt 3)
    softplus  g: none         g': none           g'': 0
    gelu      g: -0.7517...   g': +-sqrt 2       g'': 0, +-2             (g = x Phi(x), the exact form)
    sin       g: pi/2 + k pi  g': k pi           g'': pi/2 + k pi
    square    g: 0            g': none           g'': none
    identity  none

`relu` is piecewise linear: `g'` ranges over {0}, {1} or [0, 1], and `g''` is 0 where the interval avoids the kink and
unknown (the whole line) where it does not; `theory.radius` falls back to first derivatives there (statement B2).

Ranges are widened by `ULPS` units in the last place of `1 + |g|`: more than XLA's elementary functions, and the
cancellations in the formulas below, are off by in float64 (a test measures it with arbitrary precision).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.stats import norm

from theory.intervals import Interval, outward

Derivative = Callable[[Array], Array]
GELU_MINIMUM = -0.751791524693564457458
ULPS = 32.0


@dataclass(frozen=True)
class Activation:
    """A scalar function with `g, g', g''`, their critical points, and the spacing at which those repeat (if any)."""

    name: str
    derivatives: tuple[Derivative, Derivative, Derivative]
    critical: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]] = ((), (), ())
    period: float | None = None
    smooth: bool = True

    def __call__(self, x: Array) -> Array:
        """Apply `g` entry by entry."""
        return self.derivatives[0](x)

    def range(self, order: int, x: Interval) -> Interval:
        """Return the range of the derivative of the given order (0, 1 or 2) over `x`: exact, rounded outwards."""
        if order and not self.smooth:
            return _relu_range(order, x)
        g = self.derivatives[order]
        ends = g(jnp.stack(x))
        lo, hi = jnp.min(ends, axis=0), jnp.max(ends, axis=0)
        with jax.ensure_compile_time_eval():
            extremes = [g(jnp.asarray(c, lo.dtype)) for c in self.critical[order]]
        for c, extreme in zip(self.critical[order], extremes, strict=True):
            inside = _holds(x, c, self.period)
            lo = jnp.where(inside, jnp.minimum(lo, extreme), lo)
            hi = jnp.where(inside, jnp.maximum(hi, extreme), hi)
        return outward(Interval(lo, hi), ULPS * float(jnp.finfo(lo.dtype).eps), ulps=ULPS)


def _holds(x: Interval, c: float, period: float | None) -> Array:
    """Return where the interval holds `c`, or `c` plus some whole number of periods."""
    if period is None:
        return (x.lo <= c) & (c <= x.hi)
    wide = outward(x, ulps=8)
    return jnp.ceil((wide.lo - c) / period) <= jnp.floor((wide.hi - c) / period)


def _relu_range(order: int, x: Interval) -> Interval:
    """Return the range of the (almost everywhere) derivative of relu."""
    if order == 1:
        return Interval(jnp.where(x.lo > 0, 1.0, jnp.zeros_like(x.lo)), jnp.where(x.hi > 0, 1.0, jnp.zeros_like(x.hi)))
    unknown = jnp.where((x.lo > 0) | (x.hi < 0), jnp.zeros_like(x.lo), jnp.inf)
    return Interval(-unknown, unknown)


def _tanh_first(x: Array) -> Array:
    return 1 - jnp.tanh(x) ** 2


def _tanh_second(x: Array) -> Array:
    return -2 * jnp.tanh(x) * _tanh_first(x)


def _sigmoid_first(x: Array) -> Array:
    return jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)


def _sigmoid_second(x: Array) -> Array:
    return _sigmoid_first(x) * (jax.nn.sigmoid(-x) - jax.nn.sigmoid(x))


def _gelu(x: Array) -> Array:
    return x * norm.cdf(x)


def _gelu_first(x: Array) -> Array:
    return norm.cdf(x) + x * norm.pdf(x)


def _gelu_second(x: Array) -> Array:
    return norm.pdf(x) * (2 - x**2)


TANH = Activation(
    "tanh", (jnp.tanh, _tanh_first, _tanh_second), ((), (0.0,), (-math.atanh(3**-0.5), math.atanh(3**-0.5)))
)
SIGMOID = Activation(
    "sigmoid",
    (jax.nn.sigmoid, _sigmoid_first, _sigmoid_second),
    ((), (0.0,), (-math.log(2 + math.sqrt(3)), math.log(2 + math.sqrt(3)))),
)
SOFTPLUS = Activation("softplus", (jax.nn.softplus, jax.nn.sigmoid, _sigmoid_first), ((), (), (0.0,)))
GELU = Activation(
    "gelu",
    (_gelu, _gelu_first, _gelu_second),
    ((GELU_MINIMUM,), (-math.sqrt(2), math.sqrt(2)), (0.0, -2.0, 2.0)),
)
SIN = Activation(
    "sin",
    (jnp.sin, jnp.cos, lambda x: -jnp.sin(x)),
    ((-math.pi / 2, math.pi / 2), (0.0, math.pi), (-math.pi / 2, math.pi / 2)),
    2 * math.pi,
)
SQUARE = Activation("square", (jnp.square, lambda x: 2 * x, lambda x: 2 * jnp.ones_like(x)), ((0.0,), (), ()))
IDENTITY = Activation("identity", (lambda x: x, jnp.ones_like, jnp.zeros_like))
RELU = Activation("relu", (jax.nn.relu, lambda x: (x > 0).astype(x.dtype), jnp.zeros_like), smooth=False)

ACTIVATIONS = {a.name: a for a in (TANH, SIGMOID, SOFTPLUS, GELU, SIN, SQUARE, IDENTITY, RELU)}
