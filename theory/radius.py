"""How far along the teacher's ray the inner product is *guaranteed* non-negative (statements B1, B2, B4).

`phi(t) = <dS(t), d>` starts at 0 with slope `A`. A ray bound is a callable `bound(start, stop)` that encloses `phi` and
`phi'` at `start`, and `phi'` and `phi''` over that stretch. Then `phi >= 0` on all of `[0, r]` as soon as one of

    B1   A + (r / 2) min(0, inf phi'')  >= 0        (Taylor's theorem; phi'' exists if no ReLU kink is crossed)
    B2   inf phi'  >= 0                             (phi' almost everywhere is enough: kinks may be crossed)

where the infima run over `[0, r]`. Both get harder as `r` grows, so bisection finds the largest such `r`. B4 chains the
same argument over cells `[t, t + h]`, starting each from `phi(t)` and `phi'(t)`, and reaches much further.

What is rigorous: with `mlp_ray_bound` (interval arithmetic rounded outwards, any activation of `theory.activations`,
the losses of `theory.losses`) or with a bound you prove yourself, the radius is a theorem. `phi` and `phi'` at the left
end of a cell are enclosed too. Where a bound is unknown (NaN: the curvature past
a ReLU kink) nothing is proved by it. `estimated_ray_bound` samples instead of bounding and guarantees nothing.

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
from theory.intervals import Interval, point
from theory.losses import EnclosedLoss, Jet, RayBound
from theory.mlp import output_jets
from theory.one_step import Apply, Loss, Ray, ray, ray_inner_product
from theory.trees import Tree

BoundRay = Callable[[Array | float, Array | float], RayBound]
Curve = Callable[[Array | float], Array]

MARGIN = 2.0**-48  # the round-off of adding up a cell's lower bound, relative to its terms
# Below NOTHING a bound counts as zero, since outward rounding turns an exact 0 into about -2^-800: `phi >= 0` below
# means `phi >= -2^-600`. Where A is below SATURATED that is no statement, and `certify` says that nothing is proved.
NOTHING = 2.0**-600
SATURATED = 2.0**-500


class Cell(NamedTuple):
    """Where a march stands: everything in `[0, at]` is proved, and the next cell tried is `width` long."""

    at: Array
    width: Array


def is_saturated(leading: float, vacuous: bool) -> bool:
    """Return whether `A` is too small for any bound to say something (saturated softmaxes), though not zero (T2)."""
    return abs(leading) < SATURATED and not vacuous


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
        TypeError: the loss has no `enclose` method, or the parameters are not float64.
    """
    if not hasattr(loss, "enclose"):
        raise TypeError(f"{type(loss).__name__} has no enclose(tangents, jet): supply your own ray bound instead")
    kinds = sorted({str(jnp.result_type(leaf)) for leaf in jax.tree.leaves((params, direction))})
    if kinds != ["float64"]:
        raise TypeError(
            f"params and direction must be float64, got {' and '.join(kinds)}: the bounds are proved for that"
        )

    def bound(
        params: Tree, direction: Tree, inputs: Array, shared: Jet, start: Array | float, stop: Array | float
    ) -> RayBound:
        return ray_bound(loss, shared, output_jets(activation, params, direction, inputs, start, stop))

    shared = jax.tree.map(lambda leaf: leaf[0], output_jets(activation, params, direction, inputs, 0.0, 0.0))
    return Partial(bound, params, direction, inputs, shared)


def ray_bound(loss: EnclosedLoss, shared: Jet, jets: Jet) -> RayBound:
    """Return what `jets` `[2, batch, n]` (at the left end, and over the stretch) say of `phi`; `shared` is at 0."""
    here, cell = (loss.enclose(shared, jax.tree.map(lambda leaf, i=i: leaf[i], jets)) for i in (0, 1))
    return RayBound(here.value, here.first, cell.first, cell.second)


def inner_product_curve(apply: Apply, loss: Loss, params: Tree, direction: Tree, inputs: Any) -> Curve:
    """Return `t -> phi(t)`, one forward pass per call (L2)."""

    def curve(params: Tree, direction: Tree, inputs: Any, at: Ray, t: Array | float) -> Array:
        return ray_inner_product(apply, loss, params, direction, inputs, t, at)

    return Partial(curve, params, direction, inputs, ray(apply, params, direction, inputs))


def estimated_ray_bound(curve: Curve, *, samples: int = 9) -> BoundRay:
    """Return a ray bound that only SAMPLES `phi` and its derivatives: an estimate for any callable, never a guarantee.

    Args:
        curve: `t -> phi(t)`.
        samples: points per stretch, ends included.

    Raises:
        ValueError: fewer than two samples.
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}")
    return Partial(_sampled, as_pytree(curve), jnp.linspace(0.0, 1.0, samples))


def _sampled(curve: Curve, unit: Array, start: Array | float, stop: Array | float) -> RayBound:
    points = start + (stop - start) * unit
    first, second = (jax.vmap(g)(points) for g in (jax.grad(curve), jax.grad(jax.grad(curve))))
    slopes, bends = (Interval(jnp.min(d), jnp.max(d)) for d in (first, second))
    return RayBound(point(curve(points[0])), point(first[0]), slopes, bends, proved=False)


def _holds(bound: RayBound, width: Array) -> Array:
    """Return whether `phi >= 0` is proved over a cell of this width (B1, B2, B4)."""
    value, slope = bound.value.lo, bound.slope.lo
    bend = width**2 / 2 * jnp.minimum(bound.second.lo, 0)
    curved = value + width * slope + bend >= MARGIN * (jnp.abs(value) + width * jnp.abs(slope) - bend) - NOTHING
    fall = width * jnp.minimum(bound.first.lo, 0)
    straight = value + fall >= MARGIN * (jnp.abs(value) - fall) - NOTHING
    return (value >= -NOTHING) & (curved | straight)  # an unknown (NaN) bound compares false


def guaranteed_radius(
    bound: BoundRay, *, smallest: float = 2.0**-30, largest: float = 2.0**10, halvings: int = 24
) -> Array:
    """Return `r` such that `phi(eps) >= 0` for every `eps` in `[0, r]`, by one application of B1 or B2.

    Args:
        bound: the ray bound; the guarantee is as rigorous as it is. Its `phi'(0)` is the `A` of B1.
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
    zero = jnp.asarray(0.0)

    def halve(_: int, ends: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        low, high, best = ends
        middle = (low + high) / 2
        radius = 2.0**middle
        good = _holds(bound(zero, radius)._replace(value=point(zero)), radius)
        return jnp.where(good, middle, low), jnp.where(good, high, middle), jnp.where(good, radius, best)

    start = jnp.asarray(math.log2(smallest)), jnp.asarray(math.log2(largest)), zero
    return jax.lax.fori_loop(0, halvings, halve, start)[2]


def marched_radius(bound: BoundRay, proved: Array | float, *, largest: float = 2.0**10, cells: int = 64) -> Array:
    """Return a guaranteed radius from a chain of cells (B4): each proved cell starts the next, twice as wide.

    A cell that cannot be proved is halved. The result is as rigorous as `bound` is.

    Args:
        bound: the ray bound.
        proved: the stretch `[0, proved]` the march starts from: `guaranteed_radius(...)`. From 0 it goes nowhere.
        largest: the march stops here.
        cells: how many cells are tried.
    """

    def advance(_: int, cell: Cell) -> Cell:
        end = cell.at + jnp.minimum(cell.width, largest - cell.at)
        good = _holds(bound(cell.at, end), (end - cell.at) * (1 + MARGIN))
        return Cell(jnp.where(good, end, cell.at), jnp.where(good, 2 * cell.width, cell.width / 2))

    start = jnp.asarray(proved, dtype=float)
    return jax.lax.fori_loop(0, cells, advance, Cell(start, start)).at


def first_negative(steps: Array, values: Array) -> Array:
    """Return the first of the ascending `steps` `[k]` whose value is negative, or infinity when none is."""
    negative = values < 0
    return jnp.where(jnp.any(negative), steps[jnp.argmax(negative)], jnp.inf)
