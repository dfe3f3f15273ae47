"""What `certify` refuses, and where it looks at the loss: at the outputs that occur."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from theory.conditions import DENSE, LossReport, check_loss_at
from theory.one_step import Apply, Loss, Ray, TeacherLoss, mixed_product, ray, teacher_direction, teacher_outputs
from theory.radius import BoundRay, as_pytree
from theory.trees import Tree

SLACK = 1e-9  # relative: two ways to compute the same number in float64


def checked_ray(apply: Apply, params: Tree, direction: Tree, inputs: Any) -> Ray:
    """Return `z0` and `J d` after refusing directions and outputs that would be misread."""
    kinds = [jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), tree) for tree in (params, direction)]
    if kinds[0] != kinds[1]:
        raise ValueError("the direction must be a tree like params, with the same shapes and types")
    made = jax.eval_shape(apply, params, inputs)
    if isinstance(made, dict):
        kept = f'lambda p, x: f(p, x)["{next(iter(made), "logits")}"]'
        raise TypeError(f"apply must return one array of outputs, got a dict: give its logits, apply = {kept}")
    if not hasattr(made, "shape"):
        raise TypeError(f"apply must return one array of outputs, got a {type(made).__name__}: return its first part")
    if not jnp.issubdtype(made.dtype, jnp.floating):
        raise TypeError(f"apply must return floating-point outputs (logits), got {made.dtype}: no argmax")
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


def check_loss(loss: Loss, at: Ray) -> None:
    """Stop unless the loss takes two vectors `[n]`, returns a scalar and is moved by the second one, too.

    Raises:
        TypeError: it is no function of two vectors, or its value is no floating-point scalar.
        ValueError: it moves with `z` alone, as with `stop_gradient` on the teacher's outputs.
    """
    wanted = "loss takes two vectors [n], the student's outputs and the teacher's, and returns a scalar"
    if not callable(loss):
        raise TypeError(f"{wanted}: got {loss!r}")
    try:
        made = jax.eval_shape(loss, at.outputs[0], at.outputs[0])
    except (TypeError, ValueError) as error:
        if "reach past" in str(error):
            raise
        raise TypeError(f"{wanted}: {str(error).splitlines()[0]}") from error
    if getattr(made, "shape", None) != () or not jnp.issubdtype(made.dtype, jnp.floating):
        raise TypeError(f"{wanted}: got {getattr(made, 'dtype', type(made).__name__)}{getattr(made, 'shape', '')}")
    kept, generic = at.outputs[:8], jnp.cos(1.0 + jnp.arange(at.outputs.shape[1], dtype=at.outputs.dtype))

    def sizes(z: Array) -> tuple[Array, ...]:
        slope, bend = jax.jvp(lambda s: jax.grad(loss)(s, z), (z,), (generic,))
        return tuple(jnp.max(jnp.abs(part)) for part in (slope, bend, mixed_product(loss, z, z, generic)))

    slope, bend, mixed = (float(jnp.max(part)) for part in jax.jit(jax.vmap(sizes))(kept))
    if bend > 0 == mixed and slope <= SLACK * bend:  # at a minimum the last two are equal (R3)
        raise ValueError("the loss does not see the teacher's outputs move (stop_gradient on them?): leave it out here")


def checked_direction(teacher_loss: TeacherLoss, params: Tree) -> Tree:
    """Return `-grad L_T` after refusing a loss that has none, or is zero everywhere.

    Raises:
        TypeError: it is no floating-point scalar.
        ValueError: the gradient is zero.
    """
    made = jax.eval_shape(teacher_loss, params)
    if getattr(made, "shape", None) != () or not jnp.issubdtype(made.dtype, jnp.floating):
        raise TypeError(f"teacher_loss(params) must return a floating-point scalar, got {made}")
    towards = jax.jit(lambda p: teacher_direction(teacher_loss, p))(params)
    if not any(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(towards)):
        raise ValueError("the direction is zero: the teacher's loss has no gradient here (an accuracy, a constant?)")
    return towards


def check_model(other: Apply, params: Tree, direction: Tree, inputs: Any, at: Ray) -> None:
    """Stop if two models differ in outputs or derivatives along the direction (S2 speaks of `mlp` alone)."""
    theirs = jax.jit(lambda p, d, x: ray(other, p, d, x))(params, direction, inputs)
    for name, ours, those in zip(("outputs", "derivatives J d"), at, theirs, strict=True):
        size = SLACK * (1 + float(jnp.max(jnp.abs(ours))))
        if ours.shape != those.shape or float(jnp.max(jnp.abs(ours - those))) > size:
            raise ValueError(
                f"apply is not the network of teacher_loss: their {name} differ; "
                "give apply = mlp(teacher_loss.activation)"
            )


def check_bound(bound: BoundRay, leading: Array, noise: Array, eps: Array, products: Array) -> bool:
    """Return whether the bound is proved, after checking that it encloses this ray: `A`, and the grid's `phi(eps)`.

    Raises:
        ValueError: `A` is not in its `phi'(0)`, or a `phi(eps)` not in what it says of it.
    """
    points = jnp.concatenate([jnp.zeros_like(eps[:1]), eps])
    held = jax.jit(lambda b, e: jax.lax.map(lambda t: b(t, t), e))(as_pytree(bound), points)
    slack = SLACK * jnp.abs(leading) + noise
    low, high = (float(end[0]) for end in held.slope)
    if not low - slack <= leading <= high + slack:
        text = f"[{low:.6g}, {high:.6g}], A = {float(leading):.6g}"
        raise ValueError(f"the bound is not of this ray: its phi'(0) is in {text}; make it with the same direction")
    low, high = held.value.lo[1:], held.value.hi[1:]
    slack = SLACK * (jnp.abs(products) + jnp.abs(leading) * eps) + noise * (1 + eps)
    wrong = (products < low - slack) | (products > high + slack)
    if bool(jnp.any(wrong)):
        i = int(jnp.argmax(wrong))
        text = (
            f"phi({float(eps[i]):.4g}) = {float(products[i]):.6g} is not in [{float(low[i]):.6g}, {float(high[i]):.6g}]"
        )
        raise ValueError(f"the bound is not of this ray: {text}; make it with the same model, loss and inputs")
    return bool(held.proved[0])


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
    """Stop unless every leaf is a float64 array of JAX; say which is not, and what to type."""
    if any(base.__name__ == "Module" and base.__module__.startswith("flax.nnx") for base in type(params).__mro__):
        raise TypeError("params is an NNX module: nnx.split(model, nnx.Param, ...) gives its parameters")
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = {path: jax.tree_util.keystr(path) or "the root" for path, _ in leaves}
    for path, leaf in leaves:
        if type(leaf).__module__ == "numpy":
            raise TypeError(f"params holds a numpy array at {names[path]}: use jax.tree.map(jnp.asarray, params)")
        if not isinstance(leaf, jax.Array):
            short = f"{leaf!r}"[:60].splitlines()[0]
            raise TypeError(f"params must hold arrays only, got {short} at {names[path]}")
    kinds = {names[path]: str(leaf.dtype) for path, leaf in leaves}
    narrow = {name: kind for name, kind in kinds.items() if kind != "float64"}
    if not narrow and kinds:
        return
    if len(narrow) == len(kinds):
        found = sorted(set(kinds.values()))
        raise TypeError(f"params must be float64, got {found}: make them inside `with jax.enable_x64(True):`")
    name, kind = next(iter(narrow.items()))
    hint = 'give variables["params"] alone (Linen), or nnx.split(model, nnx.Param, ...) (NNX)'
    raise TypeError(f"params must be float64, got {kind} at {name}: {hint}")
