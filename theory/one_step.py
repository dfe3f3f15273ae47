r"""One step of the teacher, one step of the student, and the sign between them (statements L1, L2, T1, T2, R1).

The teacher leaves the shared parameters `theta` along `d`; the student takes one gradient step on an imitation loss:

    y(eps)   = f(theta + eps d, x)                              the teacher's outputs, shape [batch, n]
    dS(eps)  = -grad_theta E_x L(f(theta, x), y(eps))           the student's step, shaped like theta
    phi(eps) = <dS(eps), d> = eps A + O(eps^2)

    A = E_x[ (J d)' M (J d) ],   J = df/dtheta,   M = -d2L/dz dy at z = y = f(theta, x).

`J d` is one forward-mode derivative (jvp) of the network and `M u` one of the loss gradient: neither `J` nor `M` is
formed. Since `<J' v, d> = <v, J d>` (the adjoint identity), `phi` also needs no backward pass:

    phi(eps) = -E_x < dL/dz(f(theta, x), y_x(eps)), u_x >,   u = J d,

which is what `ray_inner_product` evaluates and what the bounds of `theory.radius` differentiate.

`E_x` is the mean over the batch; outputs of shape `[..., n]` count as that many samples. `apply(params, inputs)` maps a
pytree and a batch to outputs, `loss(z, y)` two vectors `[n]` to a scalar. Functions keep the caller's dtype; the orders
of magnitude the statements speak of need float64 (`jax.enable_x64(True)`).

Source: Cloud et al. 2025, arXiv 2507.14805, section 6.1 and appendix C; proofs in our own words in theory/README.md.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from theory.trees import Tree, tree_dot, tree_scale, tree_step

Apply = Callable[[Any, Any], Array]
Loss = Callable[[Array, Array], Array]
TeacherLoss = Callable[[Any], Array]

NOISE_ULPS = 256.0  # rounding of phi is a few ulps per layer; below this many we do not trust a remainder


class Ray(NamedTuple):
    """The shared outputs and their change along the teacher's direction.

    Fields:
        outputs: `z0 = f(theta, x)`, `[batch, n]`.
        tangents: `u = J d`, `[batch, n]`.
    """

    outputs: Array
    tangents: Array


class Slope(NamedTuple):
    """A fitted order: `value` is the slope (NaN with fewer than 3 points), `points` how many steps the fit used."""

    value: Array
    points: Array


def outputs(apply: Apply, params: Tree, inputs: Any) -> Array:
    """Return the model's outputs as `[batch, n]`; all axes before the last count as samples."""
    z = apply(params, inputs)
    return z.reshape(-1, z.shape[-1])


def teacher_direction(teacher_loss: TeacherLoss, params: Tree) -> Tree:
    """Return `d = -grad L_T(theta)`, the direction of the teacher's gradient step (T1); shaped like `params`."""
    return tree_scale(-1, jax.grad(teacher_loss)(params))


def teacher_outputs(apply: Apply, params: Tree, direction: Tree, inputs: Any, eps: Array | float) -> Array:
    """Return `y(eps) = f(theta + eps d, x)`, `[batch, n]`."""
    return outputs(apply, tree_step(params, eps, direction), inputs)


def imitation_loss(apply: Apply, loss: Loss, params: Tree, inputs: Any, targets: Array) -> Array:
    """Return the scalar `E_x L(f(theta, x), y_x)` for targets `[batch, n]`."""
    return jnp.mean(jax.vmap(loss)(outputs(apply, params, inputs), targets))


def imitation_step(apply: Apply, loss: Loss, params: Tree, inputs: Any, targets: Array) -> Tree:
    """Return the student's step `dS = -grad_theta E_x L(f(theta, x), y_x)`; shaped like `params`."""
    objective = jax.grad(lambda p: imitation_loss(apply, loss, p, inputs, targets))
    return tree_scale(-1, objective(params))


def student_step(
    apply: Apply,
    loss: Loss,
    params: Tree,
    direction: Tree,
    inputs: Any,
    eps: Array | float,
    student: Tree | None = None,
) -> Tree:
    """Return `dS(eps)`: the step towards a teacher at `theta + eps d`.

    Args:
        apply: the model.
        loss: the imitation loss.
        params: the teacher's initial parameters `theta`.
        direction: the teacher's direction `d`.
        inputs: the student's inputs; any distribution.
        eps: the teacher's step size.
        student: the student's own initial parameters; None means the shared `theta` (R1 is about another init).
    """
    targets = teacher_outputs(apply, params, direction, inputs, eps)
    return imitation_step(apply, loss, params if student is None else student, inputs, targets)


def inner_product(apply: Apply, loss: Loss, params: Tree, direction: Tree, inputs: Any, eps: Array | float) -> Array:
    """Return `phi(eps) = <dS(eps), d>` by its definition, in parameter space."""
    return tree_dot(student_step(apply, loss, params, direction, inputs, eps), direction)


def ray(apply: Apply, params: Tree, direction: Tree, inputs: Any) -> Ray:
    """Return `z0` and `u = J d` with one jvp; `J` is never formed."""
    # d -> J d  (push the teacher's direction through the network)
    return Ray(*jax.jvp(lambda p: outputs(apply, p, inputs), (params,), (direction,)))


def ray_inner_product(
    apply: Apply, loss: Loss, params: Tree, direction: Tree, inputs: Any, eps: Array | float, at: Ray
) -> Array:
    """Return `phi(eps)` in output space (L2): one forward pass, given `at = ray(...)`."""
    targets = teacher_outputs(apply, params, direction, inputs, eps)
    slopes = jax.vmap(jax.grad(loss))(at.outputs, targets)
    return -jnp.mean(jnp.sum(slopes * at.tangents, axis=1))


def mixed_product(loss: Loss, z: Array, y: Array, u: Array) -> Array:
    """Return `M u` with `M = -d2L/dz dy` at `(z, y)`, the derivative of `-dL/dz` as `y` moves along `u`; all `[n]`."""
    _, change = jax.jvp(lambda t: jax.grad(loss)(z, t), (y,), (u,))
    return -change


def mixed_matrix(loss: Loss, z: Array, y: Array) -> Array:
    """Return `M[i, j] = -d2L / dz_i dy_j` at `(z, y)`, `[n, n]`; only for small `n` and for checks."""
    return -jax.jacfwd(lambda t: jax.grad(loss)(z, t))(y)


def leading_coefficient(loss: Loss, at: Ray) -> Array:
    """Return `A = E_x[u' M u]`, the slope of the inner product at `eps = 0` (L1)."""
    pushed = jax.vmap(lambda z, u: mixed_product(loss, z, z, u))(at.outputs, at.tangents)
    return jnp.mean(jnp.sum(at.tangents * pushed, axis=1))


def gauss_newton_product(apply: Apply, loss: Loss, params: Tree, inputs: Any, v: Tree) -> Tree:
    """Return `G v` with `G = E_x[J' M J]`, matrix-free; so `dS = eps G d + O(eps^2)`."""
    z, pull = jax.vjp(lambda p: outputs(apply, p, inputs), params)
    # v -> J v -> M J v -> J' M J v
    u = ray(apply, params, v, inputs).tangents
    pushed = jax.vmap(lambda a, b: mixed_product(loss, a, a, b))(z, u)
    (product,) = pull(pushed / z.shape[0])
    return product


def _typical_push(loss: Loss, at: Ray) -> Array:
    """Return `|u| |M v| / |v|` per sample `[batch]` for a fixed generic `v`: `|M u|` if `u` were not special to `M`."""
    generic = jnp.cos(1.0 + jnp.arange(at.outputs.shape[1], dtype=at.outputs.dtype))
    pushed = jax.vmap(lambda z: mixed_product(loss, z, z, generic))(at.outputs)
    return jnp.linalg.norm(pushed, axis=1) / jnp.linalg.norm(generic) * jnp.linalg.norm(at.tangents, axis=1)


def noise_floor(loss: Loss, at: Ray, eps: Array | float = 0.0) -> Array:
    """Return the size below which a computed `phi(eps) - eps A` is round-off; `eps` is a scalar.

    `phi` is close to `E_x <M u, y - z0>`, and `y` carries an absolute error of a few units in the last place of
    `|z0| + eps |u| + 1`. If `M u` cancels (all logits shift alike), its terms, of the size of `_typical_push`, do not.
    """
    pushed = jnp.linalg.norm(jax.vmap(lambda z, u: mixed_product(loss, z, z, u))(at.outputs, at.tangents), axis=1)
    reach = jnp.linalg.norm(at.outputs, axis=1) + eps * jnp.linalg.norm(at.tangents, axis=1) + 1
    size = jnp.maximum(pushed, _typical_push(loss, at)) * reach
    return NOISE_ULPS * jnp.finfo(size.dtype).eps * jnp.mean(size)


def log_log_slope(steps: Array, values: Array, floor: Array | float, *, points: int = 6) -> Slope:
    """Fit the order of `|values|` in `steps` by least squares on logarithms (L2).

    The fit uses the smallest `points` steps whose value is above the floor: an order is a limit. Values
    at or below `floor` are round-off and are left out, so a remainder that is exactly zero (a model linear in its
    parameters under squared error) gives `points = 0` and a NaN slope rather than a made-up one.

    Args:
        steps: step sizes, `[k]`, positive.
        values: what shrinks with them, `[k]`, any sign.
        floor: noise floor; scalar.
        points: how many steps the fit may use.
    """
    audible = jnp.abs(values) > floor
    rank = jnp.sum(audible[None, :] & (steps[None, :] <= steps[:, None]), axis=1)
    used = audible & (rank <= points)
    x = jnp.log2(steps)
    y = jnp.log2(jnp.where(used, jnp.abs(values), 1))
    count = jnp.sum(used)
    share = used.astype(x.dtype) / jnp.maximum(count, 1).astype(x.dtype)
    dx, dy = x - jnp.sum(share * x), y - jnp.sum(share * y)
    slope = jnp.sum(share * dx * dy) / jnp.sum(share * dx * dx)
    return Slope(jnp.where(count >= 3, slope, jnp.nan), count)


def is_vacuous(loss: Loss, at: Ray, leading: Array) -> Array:
    """Return whether `A` is zero up to round-off, so that the theorem is in its degenerate branch (T2).

    The yardstick is `E_x |u|^2 |M v| / |v|` for a fixed generic `v`: what `A` would be, if `u` were not special to `M`.
    Where `M` itself vanishes in arithmetic (saturated logits), `A` says nothing and only `phi` can tell.
    """
    typical = _typical_push(loss, at) * jnp.linalg.norm(at.tangents, axis=1)
    return leading <= NOISE_ULPS * jnp.finfo(leading.dtype).eps * jnp.mean(typical)


def descent(teacher_loss: TeacherLoss, params: Tree, step: Tree, alpha: Array | float) -> Array:
    """Return `L_T(theta + alpha dS) - L_T(theta)` (T1: `-eps alpha A + O(eps^2)`)."""
    return teacher_loss(tree_step(params, alpha, step)) - teacher_loss(params)


def powers_of_two(first: int, last: int) -> tuple[float, ...]:
    """Return `2**-first, ..., 2**-last`, exact in binary; the grids of step sizes used throughout.

    Raises:
        ValueError: `last` is before `first`.
    """
    if last < first:
        raise ValueError(f"need first <= last, got {first} > {last}")
    return tuple(math.ldexp(1.0, -k) for k in range(first, last + 1))
