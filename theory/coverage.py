"""How much of the teacher's displacement a student can recover at all, and the linearised student (S1, S7).

With K1 and many steps, `theta_K - theta -> eps P d`, where `P` projects orthogonally onto the range of `G = E[J' M J]`,
the span of the rows of `M^{1/2} J`. The recovered fraction is `<P d, d> / |d|^2 = |P d|^2 / |d|^2`. `P d` is the limit
of conjugate gradients on `G v = G d` from 0: every iterate lies in the range, so the limit is the solution of least
norm. `G` is only ever multiplied with a vector, batch by batch, so that a batch's Jacobian products are all it keeps.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from theory.one_step import Apply, Loss, gauss_newton_product
from theory.trees import Tree, tree_dot, tree_scale, tree_step


class Recovered(NamedTuple):
    """What a student can recover of a displacement (S1).

    Fields:
        projection: `P d`, shaped like `params`.
        fraction: `<P d, d> / |d|^2`; scalar.
        fractions: the same after 1, 2, ... iterations, `[iterations]`.
        residual: `|G d - G P d| / |G d|`; scalar. A small one proves nothing: directions of small eigenvalues hardly
            enter it. `fraction` is a lower bound that grows with the iterations; look at `fractions`.
    """

    projection: Tree
    fraction: Array
    fractions: Array
    residual: Array


def batched_product(apply: Apply, loss: Loss, params: Tree, batches: Any, v: Tree) -> Tree:
    """Return `G v` over `batches` `[batches, batch, ...]` (any pytree of inputs), one batch in memory at a time."""

    def add(whole: Tree, inputs: Any) -> tuple[Tree, None]:
        return tree_step(whole, 1, gauss_newton_product(apply, loss, params, inputs, v)), None

    count = jax.tree.leaves(batches)[0].shape[0]
    whole, _ = jax.lax.scan(add, tree_scale(0, v), batches)
    return tree_scale(1 / count, whole)


def recovered_fraction(
    apply: Apply,
    loss: Loss,
    params: Tree,
    batches: Any,
    direction: Tree,
    *,
    iterations: int = 50,
    tolerance: float | None = None,
) -> Recovered:
    """Return the part of `direction` that many student steps on these inputs recover, by conjugate gradients (S1).

    Args:
        apply: the model; float32 or float64 alike.
        loss: the imitation loss.
        params: the shared init.
        batches: the student's inputs `[batches, batch, ...]`.
        direction: the teacher's displacement `d`.
        iterations: at most so many products with `G`; in exact arithmetic its number of distinct eigenvalues is enough.
        tolerance: the iterates stay where they are once the residual is below this share of `|G d|`; None: where it is
            round-off, which would lead them astray (2e-12 in float64, 6e-6 in float32).

    Raises:
        ValueError: fewer than one iteration.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    if tolerance is None:
        tolerance = float(jnp.finfo(jnp.result_type(*jax.tree.leaves(params))).eps) ** 0.75
    start = batched_product(apply, loss, params, batches, direction)
    target, whole = tree_dot(start, start), tree_dot(direction, direction)

    def iterate(state: tuple[Tree, Tree, Tree], _: None) -> tuple[tuple[Tree, Tree, Tree], Array]:
        found, left, towards = state
        pushed = batched_product(apply, loss, params, batches, towards)
        size, bend = tree_dot(left, left), tree_dot(towards, pushed)
        going = (size > tolerance**2 * target) & (bend > 0)
        length = jnp.where(going, size / jnp.where(going, bend, 1), 0)
        found, rest = tree_step(found, length, towards), tree_step(left, -length, pushed)
        turn = jnp.where(going, tree_dot(rest, rest) / jnp.where(going, size, 1), 0)
        return (found, rest, tree_step(rest, turn, towards)), tree_dot(found, direction) / whole

    begin = tree_scale(0, direction), start, start
    (found, left, _), fractions = jax.lax.scan(iterate, begin, None, length=iterations)
    residual = jnp.sqrt(tree_dot(left, left) / jnp.where(target > 0, target, 1))
    return Recovered(found, fractions[-1], fractions, residual)


def rank_bound(samples: int, outputs: int, *, softmax: bool) -> int:
    """Return how large the rank of `G` can be: `outputs` per sample, one fewer under softmax (S1)."""
    return samples * (outputs - softmax)


def linearised(apply: Apply, params: Tree) -> Apply:
    """Return `(theta', x) -> f(theta, x) + J (theta' - theta)`: the student for which K1 and S1 are exact (S7)."""

    def linear(moved: Tree, inputs: Any) -> Array:
        value, change = jax.jvp(lambda p: apply(p, inputs), (params,), (tree_step(moved, -1, params),))
        return value + change

    return linear
