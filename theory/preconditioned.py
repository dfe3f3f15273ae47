"""Preconditioned students: Adam and sign steps carry no sign guarantee (statements P1, P2, S4).

With a positive diagonal `P` the student moves along `P dS = eps P G d + O(eps^2)`, and `d' P G d` has no sign: `P G` is
not symmetric. P1 is the smallest example we found, in three parameters with integers only:

    f(theta) = <v, theta>,  v = (3, 1, 1),  d = (1, -1, -1),  <v, d> = 1:
    G d = 2 v <v, d> = (6, 2, 2),   sign(G d) = (1, 1, 1),   <sign(G d), d> = -1 < 0 < <G d, d> = 2.

`d` is itself a sign vector, so it is a teacher's own first Adam step: both using Adam does not help.
P2: if teacher and student share one *fixed* `P`, the guarantee returns in the metric of `P^-1`.
S4: a `P` of condition number `kappa` turns a step by at most `arcsin((kappa - 1) / (kappa + 1))`, so the sign survives
while `cos(dS, d) > (kappa - 1) / (kappa + 1)`; for diagonal `P` it survives exactly while `kappa < S+ / S-`, the sums
of the positive and of the negative products `dS_i d_i`.

The first Adam step from zero moments is `g / (|g| + eps_adam)` entry by entry, the sign of the gradient in the limit.
"""

import jax
import jax.numpy as jnp
from jax import Array

from theory.trees import Tree, tree_dot

COUNTER_EXAMPLE_FEATURES = (3.0, 1.0, 1.0)
COUNTER_EXAMPLE_DIRECTION = (1.0, -1.0, -1.0)


def linear_readout(params: Array, inputs: Array) -> Array:
    """Return `<theta, x>` for each row of `inputs` `[batch, p]` as outputs `[batch, 1]`: the model of P1."""
    return inputs @ params[:, None]


def sign_step(step: Tree) -> Tree:
    """Return the entry-wise sign of a step (P1)."""
    return jax.tree.map(jnp.sign, step)


def first_adam_step(step: Tree, *, stabiliser: float = 1e-8) -> Tree:
    """Return Adam's first step from zero moments, `g / (|g| + stabiliser)`, for learning rate 1 (P1).

    Args:
        step: the negative gradient.
        stabiliser: Adam's small constant.
    """
    return jax.tree.map(lambda g: g / (jnp.abs(g) + stabiliser), step)


def precondition(scale: Tree, step: Tree) -> Tree:
    """Return `P step` for the diagonal `P` given as a tree of positive entries shaped like `step` (P2)."""
    return jax.tree.map(lambda p, g: p * g, scale, step)


def metric_inner_product(scale: Tree, a: Tree, b: Tree) -> Array:
    """Return `<a, b>` in the metric of `P^-1`: `sum a b / p` (P2)."""
    return tree_dot(jax.tree.map(lambda p, x: x / p, scale, a), b)


def largest_angle(kappa: Array | float) -> Array:
    """Return the largest angle (radians) between `v` and `P v` for positive definite `P` of condition `kappa` (S4)."""
    return jnp.arcsin((kappa - 1) / (kappa + 1))


def condition_number(scale: Tree, step: Tree) -> Array:
    """Return the condition number of the positive diagonal `P` given by `scale`, where `step` is not zero (S4).

    Elsewhere `P` does nothing: Adam's `1 / (sqrt(v) + stabiliser)` is huge where no gradient ever came, and harmless.
    """
    pairs = list(zip(jax.tree.leaves(scale), jax.tree.leaves(step), strict=True))
    large = jnp.max(jnp.stack([jnp.max(jnp.where(s != 0, p, -jnp.inf)) for p, s in pairs]))
    small = jnp.min(jnp.stack([jnp.min(jnp.where(s != 0, p, jnp.inf)) for p, s in pairs]))
    return jnp.where(large > 0, large / small, 1)


def tolerated_condition(step: Tree, direction: Tree) -> Array:
    """Return `S+ / S-`: `<P step, d> > 0` for every diagonal `P > 0` of a smaller condition number, no further (S4)."""
    products = [s * d for s, d in zip(jax.tree.leaves(step), jax.tree.leaves(direction), strict=True)]
    gain = jnp.stack([jnp.sum(jnp.maximum(x, 0)) for x in products]).sum()
    loss = jnp.stack([jnp.sum(jnp.maximum(-x, 0)) for x in products]).sum()
    return gain / loss
