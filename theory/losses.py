"""Imitation losses `L(z, y)`: how far the student's output `z` is from the teacher's output `y`, both of shape `[n]`.

For each, the gradient in `z` vanishes at `z = y`, and `M = -d2L/dy dz` at `z = y` is symmetric positive semi-definite:

    squared error      L = sum_i w_i (z_i - y_i)^2          dL/dz = 2 w (z - y)     M = 2 diag(w)
    softmax CE         L = -sum_i q_i log p_i               dL/dz = (p - q) / T     M = (diag q - q q') / T^2
    KL divergence      L = sum_i q_i (log q_i - log p_i)    dL/dz = (p - q) / T     M = (diag q - q q') / T^2

with `p = softmax(z / T)`, `q = softmax(y / T)`. With `indices` both softmaxes run over that subset of the logits only
(the auxiliary-only loss) and `M` is zero outside it. `M` of a softmax is the covariance of a one-hot draw from `q`
divided by `T^2`, so `v' M v = Var_q(v) / T^2`: zero exactly for `v` constant over the subset.

Each loss also bounds its part of the teacher's ray (statement B3). With `z0` the shared outputs, `u` their change along
the teacher's direction and `y(t)` the teacher's output on the ray, let `h(y) = -<dL/dz(z0, y), u>`; `enclose` turns
enclosures of `y, y', y''` into enclosures of `h' = (h(y(t)))'` and `h''`:

    squared error      h' = 2 <w u, y'>                     h'' = 2 <w u, y''>
    softmax CE and KL  h' = <u, q'> / T                     h'' = <u, q''> / T,    with s = y / T and
                       q_i' = q_i (s_i' - E_q s')           q_i'' = q_i [(s_i' - E_q s')^2 + s_i'' - E_q s'' - Var_q s']

where `u` may be centred freely because `q'` and `q''` sum to zero. The losses are pytrees, so weights and temperatures
may be traced; arrays are of the caller's dtype.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from theory.intervals import Interval, average, intersect, midpoint, multiply, point, square, subtract, total


class Jet(NamedTuple):
    """Enclosures of a curve's `value`, `first` and `second` derivative in `t` over one stretch of the teacher's ray."""

    value: Interval
    first: Interval
    second: Interval


class RayBound(NamedTuple):
    """Enclosures of the first and second derivative of the inner product `phi(t)` over one stretch; scalars."""

    first: Interval
    second: Interval


class EnclosedLoss(Protocol):
    """An imitation loss that can also bound its own derivatives along the teacher's ray."""

    def __call__(self, z: Array, y: Array) -> Array:
        """Return the scalar loss of the student's outputs `z` `[n]` against the teacher's `y` `[n]`."""

    def enclose(self, tangents: Array, jet: Jet) -> RayBound:
        """Enclose `phi'` and `phi''`; `tangents` is `u` `[batch, n]`, `jet` the teacher's outputs `[batch, n]`."""


@partial(jax.tree_util.register_dataclass, data_fields=["weights"], meta_fields=[])
@dataclass(frozen=True)
class SquaredError:
    """`L(z, y) = sum_i w_i (z_i - y_i)^2`; `weights` is a scalar, `[n]` values or an array `[n]`."""

    weights: Any = 1.0

    def __call__(self, z: Array, y: Array) -> Array:
        """Return the scalar loss of two outputs of shape `[n]`."""
        weights = jnp.asarray(self.weights, dtype=z.dtype)
        return jnp.sum(weights * (z - y) ** 2)

    def enclose(self, tangents: Array, jet: Jet) -> RayBound:
        """Enclose `2 <w u, y'>` and `2 <w u, y''>`, averaged over the batch."""
        weights = jnp.asarray(self.weights, dtype=tangents.dtype)
        lever = point(jax.vmap(lambda u: 2 * weights * u)(tangents))
        return RayBound(*(average(total(multiply(lever, part), axis=1)) for part in (jet.first, jet.second)))


class _SoftmaxLoss:
    """What cross-entropy and KL share: both have the z-gradient `(p - q) / T`."""

    temperature: Any
    indices: tuple[int, ...] | None

    def logits(self, x: Array) -> Array:
        """Return the logits the softmax sees, divided by the temperature; `x` is `[n]`."""
        kept = x if self.indices is None else x[jnp.asarray(self.indices)]
        return kept / self.temperature

    def enclose(self, tangents: Array, jet: Jet) -> RayBound:
        """Enclose `<u, q'> / T` and `<u, q''> / T`, averaged over the batch."""
        rows = jax.vmap(self.logits)
        value, first, second = (Interval(rows(part.lo), rows(part.hi)) for part in jet)
        q = _softmax_range(value)
        first, second = _centre(first, q), _centre(second, q)
        variance = total(multiply(q, square(first)), axis=1)
        spread = Interval(variance.lo[:, None] + jnp.zeros_like(q.lo), variance.hi[:, None] + jnp.zeros_like(q.lo))
        bend = subtract(Interval(square(first).lo + second.lo, square(first).hi + second.hi), spread)
        u = rows(tangents)
        weight = midpoint(q) / jnp.sum(midpoint(q), axis=1, keepdims=True)
        lever = point(u - jnp.sum(weight * u, axis=1, keepdims=True))
        slopes = multiply(q, first), multiply(q, bend)
        return RayBound(*(average(total(multiply(lever, part), axis=1)) for part in slopes))


@partial(jax.tree_util.register_dataclass, data_fields=["temperature"], meta_fields=["indices"])
@dataclass(frozen=True)
class SoftmaxCrossEntropy(_SoftmaxLoss):
    """`L(z, y) = -sum_i q_i log p_i` with temperature `T`, over `indices` only when given."""

    temperature: Any = 1.0
    indices: tuple[int, ...] | None = None

    def __call__(self, z: Array, y: Array) -> Array:
        """Return the scalar loss of two logit vectors of shape `[n]`."""
        return -jnp.sum(jax.nn.softmax(self.logits(y)) * jax.nn.log_softmax(self.logits(z)))


@partial(jax.tree_util.register_dataclass, data_fields=["temperature"], meta_fields=["indices"])
@dataclass(frozen=True)
class KullbackLeibler(_SoftmaxLoss):
    """`L(z, y) = sum_i q_i (log q_i - log p_i)` with temperature `T`, over `indices` only when given."""

    temperature: Any = 1.0
    indices: tuple[int, ...] | None = None

    def __call__(self, z: Array, y: Array) -> Array:
        """Return the scalar loss of two logit vectors of shape `[n]`."""
        log_q, log_p = (jax.nn.log_softmax(self.logits(x)) for x in (y, z))
        return jnp.sum(jnp.exp(log_q) * (log_q - log_p))


def squared_error(weights: Sequence[float] | Array | float = 1.0) -> SquaredError:
    """Return the weighted squared error after checking the weights.

    Args:
        weights: a scalar or `[n]` values, none negative.

    Raises:
        ValueError: a weight is negative or not finite.
    """
    values = weights if isinstance(weights, float | int) else tuple(float(w) for w in weights)
    if not all(0 <= w < float("inf") for w in (values if isinstance(values, tuple) else (values,))):
        raise ValueError(f"weights must be finite and >= 0, got {values}")
    return SquaredError(values)


def softmax_cross_entropy(temperature: float = 1.0, indices: Sequence[int] | None = None) -> SoftmaxCrossEntropy:
    """Return softmax cross-entropy over all logits, or over `indices`.

    Raises:
        ValueError: the temperature is not positive and finite, or the indices are empty, negative or repeated.
    """
    return SoftmaxCrossEntropy(_checked_temperature(temperature), _checked_indices(indices))


def kl_divergence(temperature: float = 1.0, indices: Sequence[int] | None = None) -> KullbackLeibler:
    """Return the KL divergence from the student's softmax to the teacher's, over all logits or over `indices`.

    Raises:
        ValueError: the temperature is not positive and finite, or the indices are empty, negative or repeated.
    """
    return KullbackLeibler(_checked_temperature(temperature), _checked_indices(indices))


def _checked_temperature(temperature: float) -> float:
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    return temperature


def _checked_indices(indices: Sequence[int] | None) -> tuple[int, ...] | None:
    if indices is None:
        return None
    kept = tuple(int(i) for i in indices)
    if not kept or min(kept) < 0 or len(set(kept)) < len(kept):
        raise ValueError(f"indices must be non-empty, distinct and >= 0, got {kept}")
    return kept


def _softmax_range(s: Interval) -> Interval:
    """Return the exact range of a softmax over a box: `q_i` rises with `s_i` and falls with every other `s_j`."""
    top = jnp.max(s.hi, axis=1, keepdims=True)
    small, large = jnp.exp(s.lo - top), jnp.exp(s.hi - top)
    others_small = jnp.maximum(jnp.sum(small, axis=1, keepdims=True) - small, 0)
    others_large = jnp.maximum(jnp.sum(large, axis=1, keepdims=True) - large, 0)
    return Interval(small / (small + others_large), large / (large + others_small))


def _centre(a: Interval, q: Interval) -> Interval:
    """Enclose `a_i - sum_j q_j a_j` for probabilities `q`, both `[batch, n]`.

    The shift by a fixed reference per row cancels exactly (probabilities sum to one) and keeps the product narrow;
    a mean under `q` also cannot leave the span of the entries, which rules when `q` is known only poorly.
    """
    reference = jnp.mean(midpoint(a), axis=1, keepdims=True)
    shifted = Interval(a.lo - reference, a.hi - reference)
    span = Interval(jnp.min(shifted.lo, axis=1), jnp.max(shifted.hi, axis=1))
    mean = intersect(total(multiply(q, shifted), axis=1), span)
    return Interval(shifted.lo - mean.hi[:, None], shifted.hi - mean.lo[:, None])
