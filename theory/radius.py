"""How far along the teacher's ray the inner product is *guaranteed* non-negative (statements B1, B2, B4).

`phi(t) = <dS(t), d>` starts at 0 with slope `A`. A ray bound is a callable `bound(start, stop)` that encloses `phi'`
and `phi''` over that stretch. Then `phi >= 0` on all of `[0, r]` as soon as one of

    B1   A + (r / 2) min(0, inf phi'')  >= 0        (Taylor's theorem; phi'' exists if no ReLU kink is crossed)
    B2   inf phi'  >= 0                             (phi' almost everywhere is enough: kinks may be crossed)

where the infima run over `[0, r]`. Both get harder as `r` grows, so bisection finds the largest such `r`. B4 chains the
same argument over cells `[t, t + h]`, starting each from `phi(t)` and `phi'(t)`, and reaches much further.

What is rigorous: with `mlp_ray_bound` (interval arithmetic, any activation of `theory.activations`, the losses of
`theory.losses`) or with a bound you prove yourself, the radius is a theorem up to float64 round-off, for which a
relative margin of 1e-9 is kept. `estimated_ray_bound` samples instead of bounding and guarantees nothing.

Bounds and curves are `jax.tree_util.Partial`s: callables that are also pytrees, so `jax.jit(guaranteed_radius)(bound,
A)` gets the network as an argument. (Closed over, its weights would be constants, which XLA folds for minutes.)
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from theory.activations import Activation
from theory.intervals import Interval
from theory.losses import EnclosedLoss, RayBound
from theory.mlp import mlp, output_jet
from theory.one_step import Apply, Loss, Ray, ray, ray_inner_product
from theory.trees import Tree

BoundRay = Callable[[Array | float, Array | float], RayBound]
Curve = Callable[[Array | float], Array]

MARGIN = 1e-9  # relative slack for round-off in the bounds


class Cell(NamedTuple):
    """Where a march stands: everything in `[0, at]` is proved, and the next cell tried is `width` long."""

    at: Array
    width: Array


def as_pytree(function: Callable[..., Any]) -> Partial:
    """Return the callable as a pytree that `jax.jit` takes as an argument; a `Partial` is one already.

    Wrapping a `Partial` again would hide its arrays from JAX and turn them into constants.
    """
    return function if isinstance(function, Partial) else Partial(function)


def mlp_ray_bound(activation: Activation, loss: EnclosedLoss, params: Tree, direction: Tree, inputs: Array) -> BoundRay:
    """Return the rigorous ray bound of a multi-layer perceptron (B3).

    Args:
        activation: hidden activation; ReLU has first-derivative bounds through kinks, curvature away from them.
        loss: one of `theory.losses`, or any loss with an `enclose` method.
        params: `(W, b)` pairs as in `theory.mlp`.
        direction: the teacher's direction, shaped like `params`.
        inputs: `[batch, n_in]`.

    Raises:
        TypeError: the loss has no `enclose` method.
    """
    if not hasattr(loss, "enclose"):
        raise TypeError(f"{type(loss).__name__} has no enclose(tangents, jet): supply your own ray bound instead")
    tangents = ray(mlp(activation), params, direction, inputs).tangents

    def bound(
        params: Tree, direction: Tree, inputs: Array, tangents: Array, start: Array | float, stop: Array | float
    ) -> RayBound:
        return loss.enclose(tangents, output_jet(activation, params, direction, inputs, start, stop))

    return Partial(bound, params, direction, inputs, tangents)


def inner_product_curve(apply: Apply, loss: Loss, params: Tree, direction: Tree, inputs: Any) -> Curve:
    """Return `t -> phi(t)`, one forward pass per call (L2)."""

    def curve(params: Tree, direction: Tree, inputs: Any, at: Ray, t: Array | float) -> Array:
        return ray_inner_product(apply, loss, params, direction, inputs, t, at)

    return Partial(curve, params, direction, inputs, ray(apply, params, direction, inputs))


def with_derivative(curve: Curve, t: Array | float) -> tuple[Array, Array]:
    """Return `(phi(t), phi'(t))`."""
    t = jnp.asarray(t, dtype=float)
    value, slope = jax.jvp(curve, (t,), (jnp.ones_like(t),))
    return value, slope


def estimated_ray_bound(curve: Curve, *, samples: int = 9) -> BoundRay:
    """Return a ray bound that only SAMPLES `phi'` and `phi''`: an estimate for any callable, never a guarantee.

    Args:
        curve: `t -> phi(t)`.
        samples: points per stretch, ends included.

    Raises:
        ValueError: fewer than two samples.
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}")

    def bound(curve: Curve, start: Array | float, stop: Array | float) -> RayBound:
        points = start + (stop - start) * jnp.linspace(0.0, 1.0, samples)
        first = jax.vmap(jax.grad(curve))(points)
        second = jax.vmap(jax.grad(jax.grad(curve)))(points)
        return RayBound(*(Interval(jnp.min(d), jnp.max(d)) for d in (first, second)))

    return Partial(bound, as_pytree(curve))


def _holds(value: Array, slope: Array, width: Array, bound: RayBound) -> Array:
    """Return whether `phi >= 0` is proved over a cell of this width that starts with this value and slope (B1, B2)."""
    bend = width**2 / 2 * jnp.minimum(bound.second.lo, 0)
    curved = value + width * slope + bend >= MARGIN * (jnp.abs(value) + width * jnp.abs(slope) - bend)
    fall = width * jnp.minimum(bound.first.lo, 0)
    straight = value + fall >= MARGIN * (jnp.abs(value) - fall)
    return (value >= 0) & (curved | straight)  # an unknown (NaN) bound compares false


def guaranteed_radius(
    bound: BoundRay, leading: Array, *, smallest: float = 2.0**-30, largest: float = 2.0**10, halvings: int = 24
) -> Array:
    """Return `r` such that `phi(eps) >= 0` for every `eps` in `[0, r]`, by one application of B1 or B2.

    Args:
        bound: the ray bound; the guarantee is as rigorous as it is.
        leading: `A = phi'(0)`.
        smallest: below this radius the answer is 0 (nothing proved).
        largest: the search stops here.
        halvings: bisection steps on `log2 r`.

    Returns:
        A scalar, 0 or between `smallest` and `largest`; jit- and vmap-friendly.

    Raises:
        ValueError: not `0 < smallest < largest`.
    """
    if not 0 < smallest < largest:
        raise ValueError(f"need 0 < smallest < largest, got {smallest} and {largest}")

    def halve(_: int, ends: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        low, high, best = ends
        middle = (low + high) / 2
        radius = 2.0**middle
        good = _holds(jnp.zeros_like(leading), leading, radius, bound(jnp.zeros_like(radius), radius))
        return jnp.where(good, middle, low), jnp.where(good, high, middle), jnp.where(good, radius, best)

    low = jnp.full_like(leading, math.log2(smallest))
    high = jnp.full_like(leading, math.log2(largest))
    return jax.lax.fori_loop(0, halvings, halve, (low, high, jnp.zeros_like(leading)))[2]


def marched_radius(
    bound: BoundRay, curve: Curve, proved: Array | float, *, largest: float = 2.0**10, cells: int = 64
) -> Array:
    """Return a guaranteed radius from a chain of cells (B4): each proved cell starts the next, twice as wide.

    A cell that cannot be proved is halved. The value and the slope at each cell's left end are point evaluations, so
    the result is rigorous up to round-off whenever `bound` is.

    Args:
        bound: the ray bound.
        curve: `t -> phi(t)`.
        proved: the stretch `[0, proved]` the march starts from: `guaranteed_radius(...)`. From 0 it goes nowhere.
        largest: the march stops here.
        cells: how many cells are tried.
    """

    def advance(_: int, cell: Cell) -> Cell:
        width = jnp.minimum(cell.width, largest - cell.at)
        value, slope = with_derivative(curve, cell.at)
        good = _holds(value, slope, width, bound(cell.at, cell.at + width))
        return Cell(jnp.where(good, cell.at + width, cell.at), jnp.where(good, 2 * width, width / 2))

    start = jnp.asarray(proved, dtype=float)
    return jax.lax.fori_loop(0, cells, advance, Cell(start, start)).at


def first_negative(steps: Array, values: Array) -> Array:
    """Return the first of the ascending `steps` `[k]` whose value is negative, or infinity when none is."""
    negative = values < 0
    return jnp.where(jnp.any(negative), steps[jnp.argmax(negative)], jnp.inf)
