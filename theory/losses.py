"""Imitation losses `L(z, y)`: how far the student's output `z` is from the teacher's output `y`, both of shape `[n]`.

For each, the gradient in `z` vanishes at `z = y`, and `M = -d2L/dz dy` at `z = y` is symmetric positive semi-definite:

    squared error      L = sum_i w_i (z_i - y_i)^2          dL/dz = 2 w (z - y)     M = 2 diag(w)
    softmax CE         L = -sum_i q_i log p_i               dL/dz = (p - q) / T     M = (diag q - q q') / T^2
    KL divergence      L = sum_i q_i (log q_i - log p_i)    dL/dz = (p - q) / T     M = (diag q - q q') / T^2

with `p = softmax(z / T)`, `q = softmax(y / T)`. With `indices` both softmaxes run over that subset of the logits only
(the auxiliary-only loss) and `M` is zero outside it. `M` of a softmax is the covariance of a one-hot draw from `q`
divided by `T^2`, so `v' M v = Var_q(v) / T^2`: zero exactly for `v` constant over the subset.

Each loss also bounds its part of the teacher's ray (statement B3). With `z0` the shared outputs, `u` their change along
the teacher's direction and `y(t)` the teacher's output on the ray, `pull` encloses `h(t) = -dL/dz(z0, y(t))`, `h'` and
`h''`, and `enclose` their inner products with `u`:

    squared error      h = 2 w (y - z0)     h' = 2 w y'     h'' = 2 w y''
    softmax CE and KL  h = (q - p) / T      h' = q' / T     h'' = q'' / T,    with s = y / T and
                       q_i' = q_i (s_i' - E_q s')           q_i'' = q_i [(s_i' - E_q s')^2 + s_i'' - E_q s'' - Var_q s']

where `u` may be centred freely because `q - p`, `q'` and `q''` sum to zero. The losses are pytrees, so weights and
temperatures may be traced; arrays are of the caller's dtype.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from theory.intervals import (
    Interval,
    add,
    average,
    intersect,
    magnitude,
    midpoint,
    multiply,
    outward,
    point,
    square,
    subtract,
    total,
)


class Jet(NamedTuple):
    """Enclosures of a curve's `value`, `first` and `second` derivative in `t` over one stretch of the teacher's ray."""

    value: Interval
    first: Interval
    second: Interval


class RayBound(NamedTuple):
    """Enclosures (scalars) of `phi` and `phi'` at the left end of a stretch, and of `phi'` and `phi''` over it.

    `proved` is False for an estimate, of which nothing follows.
    """

    value: Interval
    slope: Interval
    first: Interval
    second: Interval
    proved: bool = True


class EnclosedLoss(Protocol):
    """An imitation loss that can also bound its own derivatives along the teacher's ray."""

    def __call__(self, z: Array, y: Array) -> Array:
        """Return the scalar loss of the student's outputs `z` `[n]` against the teacher's `y` `[n]`."""

    def pull(self, start: Jet, jet: Jet) -> Jet:
        """Enclose `-dL/dz(z0, y(t))` and its derivatives in `t`, `[batch, n]`, for the outputs `jet`; `start` at 0."""

    def enclose(self, start: Jet, jet: Jet) -> Jet:
        """Enclose `phi`, `phi'`, `phi''` (scalars); `start` holds `z0` and `u`, `jet` the teacher's `[batch, n]`."""

    def derivatives(self, jet: Jet, targets: Array) -> tuple[Interval, Interval]:
        """Enclose the first two derivatives (scalars) of `E_x L(z(t), y)` for moving outputs `jet`, fixed targets."""


@partial(jax.tree_util.register_dataclass, data_fields=["weights"], meta_fields=[])
@dataclass(frozen=True)
class SquaredError:
    """`L(z, y) = sum_i w_i (z_i - y_i)^2`; `weights` is a scalar, `[n]` values or an array `[n]`."""

    weights: Any = 1.0

    def __call__(self, z: Array, y: Array) -> Array:
        """Return the scalar loss of two outputs of shape `[n]`."""
        weights = jnp.asarray(self.weights, dtype=z.dtype)
        return jnp.sum(weights * (z - y) ** 2)

    def pull(self, start: Jet, jet: Jet) -> Jet:
        """Enclose `2 w (y - z0)`, `2 w y'` and `2 w y''`."""
        weights = jnp.asarray(self.weights, dtype=jet.value.lo.dtype)
        twice = point(jnp.broadcast_to(2 * weights, jet.value.lo.shape[1:])[None, :])
        return Jet(*(multiply(twice, part) for part in (subtract(jet.value, start.value), jet.first, jet.second)))

    def enclose(self, start: Jet, jet: Jet) -> Jet:
        """Enclose `<u, h>` and its derivatives, averaged over the batch."""
        return _along(start.first, self.pull(start, jet))

    def derivatives(self, jet: Jet, targets: Array) -> tuple[Interval, Interval]:
        """Enclose the means of `<2 w (z - y), z'>` and `<2 w (z - y), z''> + <2 w z', z'>`."""
        weights = jnp.asarray(self.weights, dtype=targets.dtype)
        twice = point(jnp.broadcast_to(2 * weights, targets.shape[1:])[None, :])
        slope = multiply(twice, subtract(jet.value, point(targets)))
        bend = add(multiply(slope, jet.second), multiply(twice, square(jet.first)))
        return _mean(multiply(slope, jet.first)), _mean(bend)


class _SoftmaxLoss:
    """What cross-entropy and KL share: both have the z-gradient `(p - q) / T`."""

    temperature: Any
    indices: tuple[int, ...] | None

    def kept(self, x: Array) -> Array:
        """Return the logits the softmax sees, `[..., kept]` of `[..., n]`.

        Raises:
            ValueError: an index is not below `n` (JAX would take the last logit instead).
        """
        if self.indices is None:
            return x
        if max(self.indices) >= x.shape[-1]:
            raise ValueError(f"indices {self.indices} reach past the model's {x.shape[-1]} outputs")
        return x[..., jnp.asarray(self.indices)]

    def logits(self, x: Array) -> Array:
        """Return the logits the softmax sees, divided by the temperature; `x` is `[n]`."""
        return self.kept(x) / self.temperature

    def pull(self, start: Jet, jet: Jet) -> Jet:
        """Enclose `(q - p) / T`, `q' / T` and `q'' / T`; zero outside `indices`."""
        if self.indices is not None and len(self.indices) == 1:  # q = p = 1: nothing to pull (C2)
            return Jet(*(point(jnp.zeros_like(part.lo)) for part in jet))
        value, first, second = (self._scaled(part) for part in jet)
        q, p = _softmax_range(value), _softmax_range(self._scaled(start.value))
        first, second = _centre(first, q), _centre(second, q)
        spread = total(multiply(q, square(first)), axis=1)
        bend = subtract(add(square(first), second), Interval(spread.lo[:, None], spread.hi[:, None]))
        found = subtract(q, p), multiply(q, first), multiply(q, bend)
        return Jet(*(self._spread(self._over_temperature(part), jet.value.lo) for part in found))

    def enclose(self, start: Jet, jet: Jet) -> Jet:
        """Enclose `<u - c, h>` and its derivatives, averaged over the batch; `c` is the mean of `u` under a `q`."""
        weight = jax.vmap(lambda y: jax.nn.softmax(self.logits(y)))(midpoint(jet.value))
        centre = jnp.sum(weight * self.kept(midpoint(start.first)), axis=1, keepdims=True)
        return _along(subtract(start.first, point(centre)), self.pull(start, jet))

    def derivatives(self, jet: Jet, targets: Array) -> tuple[Interval, Interval]:
        """Enclose the means of `<p - q, s'>` and `<p - q, s''> + Var_p s'`, with `s = z / T`, `q` of the targets."""
        value, first, second = (self._scaled(part) for part in jet)
        p, q = _softmax_range(value), _softmax_range(self._scaled(point(targets)))
        slope, first, second = subtract(p, q), _centre(first, p), _centre(second, p)
        return _mean(multiply(slope, first)), _mean(add(multiply(slope, second), multiply(p, square(first))))

    def _scaled(self, part: Interval) -> Interval:
        """Enclose the kept entries divided by the temperature."""
        return self._over_temperature(Interval(*map(self.kept, part)))

    def _over_temperature(self, part: Interval) -> Interval:
        return outward(Interval(part.lo / self.temperature, part.hi / self.temperature))

    def _spread(self, part: Interval, like: Array) -> Interval:
        """Return the kept entries at their places among zeros, shaped `like`."""
        if self.indices is None:
            return part
        return Interval(*(jnp.zeros_like(like).at[:, jnp.asarray(self.indices)].set(end) for end in part))


def _along(lever: Interval, pull: Jet) -> Jet:
    """Enclose the batch means of `<lever, pull>` and its derivatives."""
    return Jet(*(_mean(multiply(lever, part)) for part in pull))


def _mean(a: Interval) -> Interval:
    """Enclose the batch mean of the rows' sums."""
    return average(total(a, axis=1))


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
    """Return the range of a softmax over a box: `q_i` rises with `s_i` and falls with every other `s_j`.

    `q_i = sigmoid(s_i - log sum_{j != i} exp s_j)`, the sum without any subtraction: the difference 'all minus own'
    would cancel on wide boxes. `slip` covers the rounding of the exponent.
    """
    eps = jnp.finfo(s.lo.dtype).eps
    slip = 8 * (s.lo.shape[1] + 2) * eps * (1 + jnp.max(magnitude(s), axis=1, keepdims=True))
    low, high = s.lo - _log_sum_of_others(s.hi) - slip, s.hi - _log_sum_of_others(s.lo) + slip
    found = outward(Interval(jax.nn.sigmoid(low), jax.nn.sigmoid(high)), ulps=8)
    return Interval(jnp.maximum(found.lo, 0), jnp.minimum(found.hi, 1))


def _log_sum_of_others(s: Array) -> Array:
    """Return `log sum_{j != i} exp s_j` for each `i`, `[batch, n]`: what comes before `i`, and what comes after."""
    nothing = jnp.full_like(s[:, :1], -jnp.inf)
    before = jax.lax.cumlogsumexp(s[:, :-1], axis=1)
    after = jax.lax.cumlogsumexp(s[:, 1:], axis=1, reverse=True)
    return jnp.logaddexp(jnp.concatenate([nothing, before], axis=1), jnp.concatenate([after, nothing], axis=1))


def _centre(a: Interval, q: Interval) -> Interval:
    """Enclose `a_i - sum_j q_j a_j` for probabilities `q`, both `[batch, n]`.

    The shift by a fixed reference per row cancels exactly (probabilities sum to one) and keeps the product narrow;
    a mean under `q` also cannot leave the span of the entries, which rules when `q` is known only poorly.
    """
    shifted = subtract(a, point(jnp.mean(midpoint(a), axis=1, keepdims=True)))
    span = Interval(jnp.min(shifted.lo, axis=1), jnp.max(shifted.hi, axis=1))
    mean = intersect(total(multiply(q, shifted), axis=1), span)
    return subtract(shifted, Interval(mean.lo[:, None], mean.hi[:, None]))
