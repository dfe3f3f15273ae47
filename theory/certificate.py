"""One call that puts a number on the one-step theorem for anybody's model, loss and data (L1, L2, T1, B1, S2).

`certify(apply, loss, params, inputs, teacher_loss=...)` measures `A`, the inner products `phi(eps)` over a grid, the
order of the remainder `phi(eps) - eps A` (2 in theory), the first `eps` at which the sign fails, the first `alpha` at
which the teacher's loss rises after the student's step, whether the imitation loss meets the theorem's assumptions, and
(given a ray bound) the radius within which the sign is guaranteed. `observe` is the same without the report: arrays in,
arrays out, to be jitted and vmapped over thousands of problems.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from theory.checks import check_bound, check_float64, check_precision, checked_grid, checked_ray, conditions_at
from theory.conditions import LossReport
from theory.descent import MLPTeacher, certified_product
from theory.one_step import (
    Apply,
    Loss,
    TeacherLoss,
    descent,
    is_vacuous,
    leading_coefficient,
    log_log_slope,
    noise_floor,
    powers_of_two,
    ray,
    student_step,
    teacher_direction,
)
from theory.radius import BoundRay, as_pytree, first_negative, guaranteed_radius, is_estimate
from theory.trees import Tree, tree_cosine, tree_dot, tree_size

EPS_GRID = powers_of_two(-4, 15)[::-1]
ALPHA_GRID = powers_of_two(-8, 4)[::-1]


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


@dataclass(frozen=True)
class Certificate:
    """The report of `certify`; `None` where something was not asked for or never happens on the grid.

    Attributes:
        parameters: number of scalar parameters.
        samples: number of output vectors in the batch.
        leading_coefficient: `A`.
        vacuous: whether `A` and all of `phi` are zero up to round-off (the degenerate branch, T2).
        eps: the grid, ascending.
        inner_products: `phi(eps)`.
        cosines: cosine of the student's step to the teacher's direction.
        remainder_slope: fitted order of `phi(eps) - eps A`; None if that is round-off.
        remainder_points: grid points in that fit.
        first_negative_eps: where the sign first fails on the grid.
        alphas: the student's learning rates, ascending; empty without a teacher loss.
        descent: change of the teacher's loss, one row per eps, one column per alpha.
        first_ascent_alpha: for each eps, the first alpha at which the teacher's loss rises.
        certified_alpha: for each eps, an alpha below which the descent is *proved* for all steps up to that eps and
            alphas up to that alpha (S2), 0 where it is not; empty unless `teacher_loss` is an `MLPTeacher`.
        guaranteed_radius: `phi >= 0` is proved up to here (B1, B2); None without a ray bound.
        estimated: whether that bound only samples (`estimated_ray_bound`), so that nothing is proved.
        negative_within_radius: grid points inside the radius with a negative product; 0 unless something is wrong.
        conditions: the check of the imitation loss (R2).
    """

    parameters: int
    samples: int
    leading_coefficient: float
    vacuous: bool
    eps: tuple[float, ...]
    inner_products: tuple[float, ...]
    cosines: tuple[float, ...]
    remainder_slope: float | None
    remainder_points: int
    first_negative_eps: float | None
    alphas: tuple[float, ...]
    descent: tuple[tuple[float, ...], ...]
    first_ascent_alpha: tuple[float | None, ...]
    certified_alpha: tuple[float, ...]
    guaranteed_radius: float | None
    estimated: bool
    negative_within_radius: int
    conditions: LossReport

    @property
    def assumptions_hold(self) -> bool:
        """Whether L1, T1 and T2 stand: the loss passed its conditions, and nothing else was seen to fail."""
        return self.conditions.holds and not self.refuted

    @property
    def refuted(self) -> tuple[str, ...]:
        """Statements that the measured remainder refutes: some hypothesis on smoothness does not hold here."""
        if self.remainder_slope is None or self.remainder_slope > 1.75:
            return ()
        return ("L2",) if self.remainder_slope > 1.25 else ("L1", "L2", "T1")

    @property
    def lost(self) -> tuple[str, ...]:
        """The statements that do not stand here."""
        return tuple(dict.fromkeys((*self.conditions.lost, *self.refuted)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return asdict(self) | {
            "conditions": self.conditions.to_dict(),
            "assumptions_hold": self.assumptions_hold,
            "lost": list(self.lost),
        }

    def __str__(self) -> str:
        return "\n".join(_lines(self))


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
        apply: `apply(params, inputs) -> outputs` of shape `[..., n]`; for Flax and Equinox see theory/README.md.
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
            outputs that are not `[..., n]`, not finite, or (log-)probabilities under a loss of logits; another ray's
            bound.
        TypeError: a parameter is not a float64 array, something computes in fewer bits, or `apply` does not return one
            array.

    Example:
        >>> with jax.enable_x64(True):  # doctest: +SKIP
        ...     print(certify(apply, softmax_cross_entropy(), params, noise, teacher_loss=trait))
    """
    if (direction is None) == (teacher_loss is None):
        raise ValueError("give exactly one of direction and teacher_loss")
    check_float64(params)
    steps, rates = checked_grid("eps", eps), checked_grid("alphas", alphas)
    towards = teacher_direction(teacher_loss, params) if teacher_loss is not None else direction
    grid = jnp.asarray(steps)
    at = checked_ray(apply, params, towards, inputs)
    check_precision("apply", lambda p: apply(p, inputs), params)
    check_precision("loss", loss, at.outputs[0], at.outputs[0])
    if teacher_loss is not None:
        check_precision("teacher_loss", teacher_loss, params)
    conditions = conditions_at(apply, loss, params, towards, inputs, at, steps)
    seen = jax.jit(lambda p, d, x: observe(apply, loss, p, d, x, grid))(params, towards, inputs)
    if bound is not None:
        check_bound(bound, seen.leading, seen.noise)
    radius = None if bound is None else float(jax.jit(guaranteed_radius)(as_pytree(bound)))
    changes, ascents = _descent(apply, loss, teacher_loss, params, inputs, grid, rates)
    return Certificate(
        parameters=tree_size(params),
        samples=at.outputs.shape[0],
        leading_coefficient=float(seen.leading),
        vacuous=bool(seen.vacuous),
        eps=steps,
        inner_products=tuple(seen.inner_products.tolist()),
        cosines=tuple(seen.cosines.tolist()),
        remainder_slope=_finite(float(seen.slope)),
        remainder_points=int(seen.slope_points),
        first_negative_eps=_finite(float(seen.first_negative)),
        alphas=rates if teacher_loss is not None else (),
        descent=changes,
        first_ascent_alpha=ascents,
        certified_alpha=_certified(loss, params, towards, inputs, teacher_loss, grid),
        guaranteed_radius=radius,
        negative_within_radius=int(jnp.sum((seen.inner_products < -seen.noise) & (grid <= (radius or 0.0)))),
        estimated=bound is not None and is_estimate(bound),
        conditions=conditions,
    )


def _descent(
    apply: Apply,
    loss: Loss,
    teacher_loss: TeacherLoss | None,
    params: Tree,
    inputs: Any,
    eps: Array,
    alphas: Sequence[float],
) -> tuple[tuple[tuple[float, ...], ...], tuple[float | None, ...]]:
    """Return the descent map and, per eps, the first alpha at which the teacher's loss rises above round-off."""
    if teacher_loss is None:
        return (), ()
    rates = jnp.asarray(alphas, dtype=float)
    changes = jax.jit(lambda p, x: descent_map(apply, loss, teacher_loss, p, x, eps, rates))(params, inputs)
    noise = 64 * jnp.finfo(changes.dtype).eps * (1 + jnp.abs(teacher_loss(params)))
    failed = jax.vmap(lambda row: first_negative(rates, noise - row))(changes)
    return tuple(tuple(row) for row in changes.tolist()), tuple(_finite(a) for a in failed.tolist())


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


def _box(c: Certificate) -> str:
    """Return the certified box with the largest `eps alpha` as text."""
    if not c.certified_alpha:
        return "not asked for (teacher_loss is no MLPTeacher)"
    alpha, eps = max(zip(c.certified_alpha, c.eps, strict=True), key=lambda pair: pair[0] * pair[1])
    return f"eps <= {eps:.4g} and alpha <= {alpha:.4g}" if alpha else "nothing proved on this grid"


def _lines(c: Certificate) -> list[str]:
    """Return the lines of the printed report."""
    slope = "round-off" if c.remainder_slope is None else f"order {c.remainder_slope:.3f} ({c.remainder_points} points)"
    sign = "never on this grid" if c.first_negative_eps is None else f"eps = {c.first_negative_eps:.4g}"
    radius = "not asked for (no ray bound)" if c.guaranteed_radius is None else f"eps <= {c.guaranteed_radius:.4g}"
    found = [a for a in c.first_ascent_alpha if a is not None]
    ascent = "no teacher loss given" if not c.alphas else "never on this grid"
    if found:
        ascent = f"alpha = {min(found):.4g} at its earliest, over all eps"
    failed = (
        "hold" if c.assumptions_hold else "FAIL: " + ", ".join((*c.conditions.failed, *["smooth"] * bool(c.refuted)))
    )
    label = "estimated (no proof)    " if c.estimated else "guaranteed non-negative "
    return [
        f"one-step theorem: {c.parameters} parameters, {c.samples} samples",
        f"  leading coefficient A    {c.leading_coefficient:.6g}" + (" (vacuous: zero up to round-off)" * c.vacuous),
        f"  remainder phi - eps A    {slope}",
        f"  cosine at smallest eps   {c.cosines[0]:.4g}",
        f"  inner product negative   {sign}",
        f"  teacher's loss rises     {ascent}",
        f"  descent certified        {_box(c)}",
        f"  {label} {radius}",
        f"  negative within radius   {c.negative_within_radius}",
        f"  assumptions              {failed}",
        f"  statements lost          {', '.join(c.lost) or 'none'}",
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
