"""K gradient-descent steps of the student or of the teacher, and inits that differ a little (K1, K2, K3, S3, S5).

Every step imitates the same fixed outputs `y(eps)`: `theta_{k+1} = theta_k - alpha grad E L(f(theta_k), y(eps))`. At
`eps = 0` the student already imitates perfectly and does not move, so for fixed `K` and `eps -> 0` the recursion can be
differentiated at the shared init, where the step's derivative is `-alpha G` in `theta` and `alpha G d` in `eps`, with
`G = E[J' M J]`:

    theta_K - theta = eps (I - (I - alpha G)^K) d + O(eps^2)                        K1, all steps on one batch
    theta_K - theta = eps (I - (I - alpha G_K) ... (I - alpha G_1)) d + O(eps^2)    K2, batch k has its own G_k

K1: `<theta_K - theta, d> / eps -> d' (I - (I - alpha G)^K) d`, non-negative for *every* `alpha >= 0` when `K` is odd,
and for `alpha lambda_max(G) <= 2` when `K` is even; the exact conditions are read off `1 - (1 - alpha lambda)^K`.
K2: non-negative, by Cauchy-Schwarz, when `alpha lambda_max(G_k) <= 2` for every `k`.
S3: after many teacher steps `Delta = -eta sum_k g_k` is no gradient; the trait's first-order change `<g_0, G Delta>` is
negative while the mean gradient has not drifted: `|mean g - g_0|_G < |g_0|_G`, with `|v|_G = sqrt(v' G v)`.
S5: a student at `theta + r` has `phi = eps A - <G r, d>` to first order.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from theory.one_step import Apply, Loss, gauss_newton_product, imitation_step, teacher_outputs
from theory.trees import Tree, tree_dot, tree_norm, tree_scale, tree_step


def student_displacement(
    apply: Apply,
    loss: Loss,
    params: Tree,
    direction: Tree,
    batches: Sequence[Any],
    eps: Array | float,
    *,
    alpha: Array | float,
) -> Tree:
    """Return `theta_K - theta` after one student step per batch, on a teacher at `theta + eps d`.

    Args:
        apply: the model.
        loss: the imitation loss.
        params: the shared init `theta`.
        direction: the teacher's direction `d`.
        batches: `K` batches of inputs; repeat one batch for full-batch descent (K1).
        eps: the teacher's step size.
        alpha: the student's learning rate.
    """
    student = params
    for inputs in batches:
        targets = teacher_outputs(apply, params, direction, inputs, eps)
        student = tree_step(student, alpha, imitation_step(apply, loss, student, inputs, targets))
    return tree_step(student, -1, params)


def leading_displacement(
    apply: Apply, loss: Loss, params: Tree, direction: Tree, batches: Sequence[Any], *, alpha: Array | float
) -> Tree:
    """Return `(I - (I - alpha G_K) ... (I - alpha G_1)) d`, the student's displacement per unit `eps` (K1, K2)."""
    left = direction  # what of the teacher's displacement the student still lacks
    for inputs in batches:
        left = tree_step(left, -alpha, gauss_newton_product(apply, loss, params, inputs, left))
    return tree_step(direction, -1, left)


def leading_inner_product(
    apply: Apply, loss: Loss, params: Tree, direction: Tree, batches: Sequence[Any], *, alpha: Array | float
) -> Array:
    """Return the limit of `<theta_K - theta, d> / eps` as `eps -> 0` (K1, K2)."""
    return tree_dot(leading_displacement(apply, loss, params, direction, batches, alpha=alpha), direction)


def spectral_factor(alpha: Array | float, eigenvalue: Array, steps: int) -> Array:
    """Return `1 - (1 - alpha lambda)^K`, the share of an eigendirection that K steps recover (K1).

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return 1 - (1 - alpha * eigenvalue) ** steps


def largest_eigenvalue(
    apply: Apply, loss: Loss, params: Tree, inputs: Any, *, key: Array, iterations: int = 100
) -> Array:
    """Return the power-iteration estimate of `lambda_max(G)`, from below; `2 / lambda_max` limits alpha (K1)."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noise = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]

    def iterate(_: int, v: Tree) -> Tree:
        unit = tree_scale(1 / jnp.maximum(tree_norm(v), jnp.finfo(leaves[0].dtype).tiny), v)
        return gauss_newton_product(apply, loss, params, inputs, unit)

    start = jax.tree.unflatten(structure, noise)
    return tree_norm(jax.lax.fori_loop(0, iterations, iterate, start))


def trait_change(
    apply: Apply, loss: Loss, params: Tree, inputs: Any, gradient: Tree, displacement: Tree
) -> tuple[Array, Array]:
    """Return `<g, G Delta>` and the drift `|mean g - g|_G / |g|_G` of a teacher that moved by `Delta` (S3).

    The first is the change of the teacher's loss per unit of the student's learning rate, to first order. The mean
    gradient is `-Delta` up to a positive factor; the factor is chosen to make the drift smallest, so that the change is
    negative if and only if the drift is below 1.

    Args:
        apply: the model.
        loss: the imitation loss.
        params: the shared init.
        inputs: the student's batch.
        gradient: the teacher loss's gradient `g` at the shared init.
        displacement: the teacher's whole displacement.
    """
    pushed = gauss_newton_product(apply, loss, params, inputs, displacement)
    change = tree_dot(gradient, pushed)
    square, own = (
        tree_dot(displacement, pushed),
        tree_dot(gradient, gauss_newton_product(apply, loss, params, inputs, gradient)),
    )
    cosine = jnp.maximum(-change, 0) / jnp.sqrt(square * own)
    return change, jnp.sqrt(jnp.maximum(1 - cosine**2, 0))


def tolerated_mismatch(
    leading: Array | float, pushed_norm: Array | float, eps: Array | float, *, delta: float = 0.05
) -> Array:
    """Return the largest `rho` for which `r ~ N(0, rho^2)` keeps the sign with probability `1 - delta` (S5).

    Args:
        leading: `A`.
        pushed_norm: `|G d|`.
        eps: the teacher's step size.
        delta: the probability of a negative first-order product, below 1/2.

    Raises:
        ValueError: `delta` is not between 0 and 1/2.
    """
    if not 0 < delta < 0.5:
        raise ValueError(f"delta must be between 0 and 1/2, got {delta}")
    return eps * jnp.asarray(leading) / (-jax.scipy.special.ndtri(delta) * jnp.asarray(pushed_norm))
