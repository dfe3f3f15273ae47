"""One call that puts a number on the one-step theorem for anybody's model, loss and data (L1, L2, T1, B1, S2).

`certify(apply, loss, params, inputs, teacher_loss=...)` measures `A`, the inner products `phi(eps)` over a grid, the
order of the remainder `phi(eps) - eps A` (2 in theory), the first `eps` at which the sign fails, the first `alpha` at
which the teacher's loss rises after the student's step, whether the imitation loss meets the theorem's assumptions, and
(given a ray bound) the radius within which the sign is guaranteed. `observe` is the same without the report: arrays in,
arrays out, to be jitted and vmapped over thousands of problems.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from theory.checks import (
    check_bound,
    check_float64,
    check_loss,
    check_model,
    check_precision,
    checked_direction,
    checked_grid,
    checked_ray,
    conditions_at,
)
from theory.descent import MLPTeacher, certified_product
from theory.mlp import mlp
from theory.one_step import (
    Apply,
    Loss,
    Ray,
    Slope,
    TeacherLoss,
    descent,
    is_vacuous,
    leading_coefficient,
    log_log_slope,
    noise_floor,
    powers_of_two,
    ray,
    ray_inner_product,
    student_step,
    teacher_direction,
)
from theory.radius import BoundRay, as_pytree, first_negative, guaranteed_radius, is_saturated
from theory.report import Certificate
from theory.trees import Tree, tree_cosine, tree_dot, tree_size

EPS_GRID = powers_of_two(-4, 15)[::-1]
ALPHA_GRID = powers_of_two(-8, 4)[::-1]
ORDER_GRID = powers_of_two(4, 45)[::-1]  # an order is a limit: down to where the remainder is round-off


class Observation(NamedTuple):
    """What one problem shows along the teacher's ray.

    Fields:
        leading: `A`; scalar.
        inner_products: `phi(eps)`, `[k]`.
        cosines: cosine of the student's step to `d`, `[k]`.
        remainders: `phi(eps) - eps A`, `[k]`.
        slope: fitted order of the remainder; scalar, NaN if the remainder is round-off.
        slope_points: how many grid points the fit used.
        noise: the round-off level of `phi`; scalar.
        first_negative: first `eps` of the grid with `phi(eps)` below minus the round-off level, else infinity.
        vacuous: whether `A` and all of `phi` are zero up to round-off (T2).
    """

    leading: Array
    inner_products: Array
    cosines: Array
    remainders: Array
    slope: Array
    slope_points: Array
    noise: Array
    first_negative: Array
    vacuous: Array


def observe(apply: Apply, loss: Loss, params: Tree, direction: Tree, inputs: Any, eps: Array) -> Observation:
    """Measure one problem on an ascending grid `eps` `[k]`; jit- and vmap-friendly (L1, L2)."""
    at = ray(apply, params, direction, inputs)
    leading = leading_coefficient(loss, at)

    def measure(step_size: Array) -> tuple[Array, Array]:
        step = student_step(apply, loss, params, direction, inputs, step_size)
        return tree_dot(step, direction), tree_cosine(step, direction)

    products, cosines = jax.lax.map(measure, eps)
    remainders = products - eps * leading
    noise = noise_floor(loss, at)
    audible = jax.vmap(lambda e: noise_floor(loss, at, e))(eps)
    slope = log_log_slope(eps, remainders, noise)
    failed = first_negative(eps, products + audible)
    vacuous = is_vacuous(loss, at, leading) & jnp.all(jnp.abs(products) <= audible)
    return Observation(leading, products, cosines, remainders, *slope, noise, failed, vacuous)


def descent_map(
    apply: Apply, loss: Loss, teacher_loss: TeacherLoss, params: Tree, inputs: Any, eps: Array, alphas: Array
) -> Array:
    """Return `L_T(theta + alpha dS(eps)) - L_T(theta)` for `d = -grad L_T`, as `[len(eps), len(alphas)]` (T1)."""
    direction = teacher_direction(teacher_loss, params)

    def row(step_size: Array) -> Array:
        step = student_step(apply, loss, params, direction, inputs, step_size)
        return jax.lax.map(lambda alpha: descent(teacher_loss, params, step, alpha), alphas)

    return jax.lax.map(row, eps)


def certify(
    apply: Apply,
    loss: Loss,
    params: Tree,
    inputs: Any,
    *,
    direction: Tree | None = None,
    teacher_loss: TeacherLoss | None = None,
    bound: BoundRay | None = None,
    eps: Sequence[float] | Array | float = EPS_GRID,
    alphas: Sequence[float] | Array | float = ALPHA_GRID,
) -> Certificate:
    """Check Lemma 1 (L1, L2), Theorem 1 (T1) and the guaranteed radius (B1, B2) on one problem.

    Args:
        apply: `apply(params, inputs) -> outputs` of shape `[..., n]`; for Flax and Equinox see theory/certify.md.
        loss: imitation loss `loss(z, y)` of two vectors `[n]`.
        params: the shared init, float64.
        inputs: the student's batch, from any distribution.
        direction: the teacher's direction `d`; give this or `teacher_loss`.
        teacher_loss: `L_T(params)`, any differentiable function; then `d = -grad L_T` and its descent is mapped. An
            `MLPTeacher` (with `apply = mlp(...)` and a loss of `theory.losses`) gets a certified box too.
        bound: a ray bound from `theory.radius`, for the guaranteed radius.
        eps: the teacher's step sizes, ascending and positive: a sequence, an array or one number.
        alphas: the student's learning rates, likewise.

    Raises:
        ValueError: not exactly one of `direction` and `teacher_loss`; a grid that is not ascending and positive;
            outputs that are not `[..., n]`, not finite, or (log-)probabilities under a loss of logits; a loss that
            does not see the teacher move; a teacher's loss without a gradient, or of another network than `apply`;
            another ray's bound.
        TypeError: a parameter is not a float64 array, something computes in fewer bits, `apply` does not return one
            array of floats, or a loss no scalar.

    Example:
        >>> with jax.enable_x64(True):  # doctest: +SKIP
        ...     print(certify(apply, softmax_cross_entropy(), params, noise, teacher_loss=trait))
    """
    if (direction is None) == (teacher_loss is None):
        raise ValueError("give exactly one of direction and teacher_loss")
    check_float64(params)
    steps, rates = checked_grid("eps", eps), checked_grid("alphas", alphas)
    towards = checked_direction(teacher_loss, params) if teacher_loss is not None else direction
    grid = jnp.asarray(steps)
    at = checked_ray(apply, params, towards, inputs)
    check_loss(loss, at)
    if isinstance(teacher_loss, MLPTeacher):
        check_model(mlp(teacher_loss.activation), params, towards, inputs, at)
    check_precision("apply", lambda p: apply(p, inputs), params)
    check_precision("loss", loss, at.outputs[0], at.outputs[0])
    if teacher_loss is not None:
        check_precision("teacher_loss", teacher_loss, params)
    conditions = conditions_at(apply, loss, params, towards, inputs, at, steps)
    seen = jax.jit(lambda p, d, x: observe(apply, loss, p, d, x, grid))(params, towards, inputs)
    order = jax.jit(lambda p, d, x, at, seen: _order(apply, loss, p, d, x, at, seen))(params, towards, inputs, at, seen)
    saturated = is_saturated(float(seen.leading), bool(seen.vacuous))
    proved = True
    if bound is not None and not saturated:
        proved = check_bound(bound, seen.leading, seen.noise, grid, seen.inner_products)
    radius = None if bound is None else 0.0 if saturated else float(jax.jit(guaranteed_radius)(as_pytree(bound)))
    changes, ascents, noise = _descent(apply, loss, teacher_loss, params, inputs, grid, rates)
    certified = _certified(loss, params, towards, inputs, teacher_loss, grid)
    return Certificate(
        parameters=tree_size(params),
        samples=at.outputs.shape[0],
        leading_coefficient=float(seen.leading),
        vacuous=bool(seen.vacuous),
        eps=steps,
        inner_products=tuple(seen.inner_products.tolist()),
        cosines=tuple(seen.cosines.tolist()),
        remainder_slope=_finite(float(order.value)),
        remainder_points=int(order.points),
        first_negative_eps=_finite(float(seen.first_negative)),
        alphas=rates if teacher_loss is not None else (),
        descent=changes,
        first_ascent_alpha=ascents,
        certified_alpha=certified,
        ascents_within_box=_ascents_within(certified, steps, rates, changes, noise),
        guaranteed_radius=radius,
        negative_within_radius=int(jnp.sum((seen.inner_products < -seen.noise) & (grid <= (radius or 0.0)))),
        estimated=not proved,
        conditions=conditions,
    )


def _order(apply: Apply, loss: Loss, params: Tree, direction: Tree, inputs: Any, at: Ray, seen: Observation) -> Slope:
    """Fit the order of `phi(eps) - eps A` on ORDER_GRID, whatever the size of the direction (L2)."""
    eps = jnp.asarray(ORDER_GRID)
    products = jax.lax.map(lambda e: ray_inner_product(apply, loss, params, direction, inputs, e, at), eps)
    return log_log_slope(eps, products - eps * seen.leading, seen.noise)


def _ascents_within(
    certified: Sequence[float],
    eps: Sequence[float],
    alphas: Sequence[float],
    changes: Sequence[Sequence[float]],
    noise: float,
) -> int:
    """Count the grid points inside the certified region at which the teacher's loss rises above round-off (S2)."""
    boxes = list(zip(eps, certified, strict=True)) if certified else []
    return sum(
        change > noise and any(e <= end and alpha <= reach for end, reach in boxes)
        for e, row in zip(eps, changes or [()] * len(eps), strict=True)
        for alpha, change in zip(alphas, row, strict=bool(row))
    )


def _descent(
    apply: Apply,
    loss: Loss,
    teacher_loss: TeacherLoss | None,
    params: Tree,
    inputs: Any,
    eps: Array,
    alphas: Sequence[float],
) -> tuple[tuple[tuple[float, ...], ...], tuple[float | None, ...], float]:
    """Return the descent map, per eps the first alpha at which the teacher's loss rises above round-off, and that."""
    if teacher_loss is None:
        return (), (), 0.0
    rates = jnp.asarray(alphas, dtype=float)
    changes = jax.jit(lambda p, x: descent_map(apply, loss, teacher_loss, p, x, eps, rates))(params, inputs)
    noise = 64 * jnp.finfo(changes.dtype).eps * (1 + jnp.abs(teacher_loss(params)))
    failed = jax.vmap(lambda row: first_negative(rates, noise - row))(changes)
    return tuple(tuple(row) for row in changes.tolist()), tuple(_finite(a) for a in failed.tolist()), float(noise)


def _certified(
    loss: Any, params: Tree, direction: Tree, inputs: Any, teacher: TeacherLoss | None, eps: Array
) -> tuple[float, ...]:
    """Return the certified alpha for each eps, if the losses can be enclosed (S2)."""
    if not isinstance(teacher, MLPTeacher) or not hasattr(loss, "pull"):
        return ()

    @jax.jit
    def products(params: Tree, direction: Tree, inputs: Any, teacher: MLPTeacher) -> Array:
        return jax.lax.map(lambda e: certified_product(loss, params, direction, inputs, teacher, e), eps)

    return tuple((products(params, direction, inputs, teacher) / eps).tolist())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
