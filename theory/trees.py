"""Linear algebra on pytrees of parameters.

A point of parameter space is any pytree of arrays; `<a, b> = sum over leaves of sum(a * b)` is its inner product.
No function here changes a dtype: float64 in, float64 out.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Tree = Any


def tree_dot(a: Tree, b: Tree) -> Array:
    """Return the scalar `<a, b>` of two pytrees with the same structure and shapes."""
    products = jax.tree.map(lambda x, y: jnp.sum(x * y), a, b)
    return jnp.asarray(sum(jax.tree.leaves(products)))


def tree_norm(a: Tree) -> Array:
    """Return the scalar Euclidean norm `sqrt(<a, a>)`."""
    return jnp.sqrt(tree_dot(a, a))


def tree_cosine(a: Tree, b: Tree) -> Array:
    """Return `<a, b> / (|a| |b|)`, and 0 where either tree is zero."""
    scale = tree_norm(a) * tree_norm(b)
    return jnp.where(scale > 0, tree_dot(a, b) / jnp.where(scale > 0, scale, 1), 0)


def tree_scale(scale: Array | float, a: Tree) -> Tree:
    """Return `scale * a`, leaf by leaf; `scale` is a scalar."""
    return jax.tree.map(lambda x: scale * x, a)


def tree_step(a: Tree, scale: Array | float, b: Tree) -> Tree:
    """Return `a + scale * b`, leaf by leaf; `scale` is a scalar."""
    return jax.tree.map(lambda x, y: x + scale * y, a, b)


def tree_size(a: Tree) -> int:
    """Return the number of scalar entries in the tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(a))
