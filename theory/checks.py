"""What `certify` refuses, and where it looks at the loss: at the outputs that occur."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from theory.conditions import DENSE, LossReport, check_loss_at
from theory.one_step import Apply, Loss, Ray, ray, teacher_outputs
from theory.radius import BoundRay, as_pytree
from theory.trees import Tree


def checked_ray(apply: Apply, params: Tree, direction: Tree, inputs: Any) -> Ray:
    """Return `z0` and `J d` after refusing directions and outputs that would be misread."""
    kinds = [jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), tree) for tree in (params, direction)]
    if kinds[0] != kinds[1]:
        raise ValueError("the direction must be a tree like params, with the same shapes and types")
    made = jax.eval_shape(apply, params, inputs)
    if not hasattr(made, "shape"):
        raise TypeError(f"apply must return one array of outputs, got a {type(made).__name__}: return its first part")
    if len(made.shape) < 2:
        raise ValueError(f"apply must return outputs [batch, n], got shape {made.shape}: one output is [batch, 1]")
    if 0 in made.shape:
        raise ValueError(f"apply must return outputs of at least one sample, got shape {made.shape}")
    at = jax.jit(lambda p, d, x: ray(apply, p, d, x))(params, direction, inputs)
    for name, values in (("outputs", at.outputs), ("derivative J d", at.tangents)):
        if not bool(jnp.all(jnp.isfinite(values))):
            raise ValueError(f"the model's {name} hold NaN or infinity: look at params, inputs and direction")
    return at


def conditions_at(
    apply: Apply, loss: Loss, params: Tree, direction: Tree, inputs: Any, at: Ray, eps: Sequence[float]
) -> LossReport:
    """Check the loss at up to 32 outputs that occur: the student's, and the teacher's at the end of the grid."""
    kept = max(2, min(32, 2**20 // at.outputs.shape[1] // DENSE))
    y = jax.jit(lambda p, d, x: teacher_outputs(apply, p, d, x, max(eps)))(params, direction, inputs)[:kept]
    z = at.outputs[:kept]
    y = jnp.where(jnp.isfinite(y), y, z)
    unit = jnp.sqrt(jnp.mean(z**2 + y**2)) + 1e-3
    drawn = [unit * jax.random.normal(jax.random.key(k), z.shape) for k in range(2)]
    report = check_loss_at(loss, *(jnp.concatenate(pair) for pair in zip((z, y), drawn, strict=True)))
    sums = jnp.sum(at.outputs, axis=1), jax.nn.logsumexp(at.outputs, axis=1) + 1
    if "minimum" in report.failed and at.outputs.shape[1] > 1 and any(bool(jnp.allclose(s, 1)) for s in sums):
        raise ValueError("the outputs look like (log-)probabilities, but z = y is no minimum of this loss: give logits")
    return report


def check_bound(bound: BoundRay, leading: Array, noise: Array) -> None:
    """Stop if the bound encloses another ray: its `phi'(0)` must hold `A`."""
    slope = jax.jit(lambda b: b(0.0, 0.0).slope)(as_pytree(bound))
    slack = 1e-9 * jnp.abs(leading) + noise
    if not bool((slope.lo <= leading + slack) & (leading - slack <= slope.hi)):
        text = f"[{float(slope.lo):.6g}, {float(slope.hi):.6g}], A = {float(leading):.6g}"
        raise ValueError(f"the bound is not of this ray: its phi'(0) is in {text}; make it with the same direction")


def checked_grid(name: str, grid: Sequence[float] | Array | float) -> tuple[float, ...]:
    """Return the grid (a number is a grid of one) after refusing one that is not positive and ascending."""
    values = tuple(jnp.ravel(jnp.asarray(grid, dtype=float)).tolist())
    ascending = all(a < b for a, b in pairwise(values))
    if not values or not all(0 < value < float("inf") for value in values) or not ascending:
        raise ValueError(f"{name} must be positive and ascending, got {values}")
    return values


def check_precision(name: str, function: Callable[..., Any], *arguments: Any) -> None:
    """Stop if what the function makes of its arguments passes through floats of less than 64 bits.

    The derivative is looked at: what depends on no argument (a table of positions, say) may be of any type.
    """
    found: set[str] = set()

    def trace(*arguments: Any) -> None:
        _, push = jax.linearize(function, *arguments)
        found.update(_narrow_types(jax.make_jaxpr(push)(*arguments).jaxpr))

    jax.eval_shape(trace, *arguments)
    if found:
        kinds = " and ".join(sorted(found))
        raise TypeError(f"{name} computes in {kinds}, too coarse for orders of remainders: make it float64 throughout")


def _narrow_types(jaxpr: Any) -> set[str]:
    """Return the types of less than 64 bits among all floats of a program, its inner programs included."""
    found: set[str] = set()
    for step in jaxpr.eqns:
        types = [out.aval.dtype for out in step.outvars if hasattr(out.aval, "dtype")]
        found |= {str(t) for t in types if jnp.issubdtype(t, jnp.floating) and jnp.finfo(t).bits < 64}
        for inner in jax.tree.leaves(step.params, is_leaf=lambda part: hasattr(part, "eqns")):
            if hasattr(inner, "eqns"):  # a jaxpr, or one closed over its constants
                found |= _narrow_types(inner)
    return found


def check_float64(params: Tree) -> None:
    """Stop unless every leaf is a float64 array."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not isinstance(leaf, jax.Array):
            raise TypeError(f"params must hold arrays only, got {leaf!r} at {jax.tree_util.keystr(path) or 'the root'}")
    dtypes = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)})
    if dtypes != ["float64"]:
        raise TypeError(f"params must be float64, got {dtypes}: make them inside `with jax.enable_x64(True):`")
