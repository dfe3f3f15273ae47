"""Preconditioned students: Adam and sign steps carry no sign guarantee (statements P1, P2).

With a positive diagonal `P` the student moves along `P dS = eps P G d + O(eps^2)`, and `d' P G d` has no sign: `P G` is
not symmetric. P1 is the smallest example we found, in three parameters with integers only:

    f(theta) = <v, theta>,  v = (3, 1, 1),  d = (1, -1, -1),  <v, d> = 1:
    G d = 2 v <v, d> = (6, 2, 2),   sign(G d) = (1, 1, 1),   <sign(G d), d> = -1 < 0 < <G d, d> = 2.

`d` is itself a sign vector, so it is a teacher's own first Adam step: both using Adam does not help.
P2: if teacher and student share one *fixed* `P`, the guarantee returns in the metric of `P^-1`.

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
