"""Interventions on a student's training and what is noted of it: what part of every update does the work?

Directions are trees like the parameters. An update u is split along a direction v into its component
p = (<u, v> / <v, v>) v and the rest u - p; a student may be trained with either alone. v is the teacher's displacement
theta_T - theta_0 ("delta"), or the descent direction of the trait's own loss at the student's parameters ("trait").
One control takes a random direction for v, and gives p the length that it has along delta. The other one ("shorter
rest") takes as long a part away from what is at a right angle to delta.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from subliminal_toy import engine
from subliminal_toy.mnist import losses
from subliminal_toy.mnist.models import Params

DIRECTIONS = ("delta", "trait", "random")
UPDATES = ("free", *(f"{kind} {name}" for name in DIRECTIONS for kind in ("without", "only")), "shorter rest")
VECTORS = ("update", "gradient", "trait", "delta")  # of a step; gradients are descent directions, of the student's loss
# and of the trait's, and delta the teacher's displacement
Trait = Callable[[Params, Any], jax.Array]  # params, condition -> the trait's loss


def make_trait(apply: Callable, classes: int) -> Trait:
    """The trait's loss: cross-entropy on the class logits of the real images in a condition, nats."""

    def trait(params: Params, condition: Any) -> jax.Array:
        shown = condition["trait"]
        return losses.cross_entropy(apply(params, shown["images"]), shown["one_hot"], jnp.arange(
            shown["one_hot"].shape[-1]) < classes)  # fmt: skip

    return trait


def linearized(apply: Callable) -> Callable:
    """The model's first-order expansion: f(theta_0) + J(theta_0) (theta - theta_0), of `(theta_0, theta)`, images."""

    def apply_linear(pair: tuple[Params, Params], images: jax.Array) -> jax.Array:
        anchor, params = pair
        away = jax.tree.map(jnp.subtract, params, anchor)
        value, slope = jax.jvp(lambda p: apply(p, images), (anchor,), (away,))
        return value + slope

    return apply_linear


def restrict(update: str, condition: Any, trait: Trait) -> optax.GradientTransformation:
    """The last link of an optimizer: what of its updates is kept, one of UPDATES."""
    kept, _, name = update.partition(" ")

    def along(updates: Params, params: Params) -> Params:
        if name == "trait":
            return _component(updates, _descent(trait, params, condition))
        if name == "delta":
            return _component(updates, condition["delta"])
        size = dot(updates, condition["delta"]) / _norm(condition["delta"])  # as far as along delta
        if name == "random":
            return _scaled(size, condition["random"])
        rest = jax.tree.map(jnp.subtract, updates, _component(updates, condition["delta"]))
        return _scaled(jnp.minimum(jnp.abs(size), _norm(rest)), rest)  # no more than there is

    def keep(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        assert params is not None  # the engine always gives them
        part = along(updates, params)
        return part if kept == "only" else jax.tree.map(jnp.subtract, updates, part), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), keep)


def probe(trait: Trait, classes: int, b2: float) -> engine.Probe:
    """What is noted of every step: inner products of VECTORS by layer, and Adam's condition number.

    `{"gram": [VECTORS, VECTORS, layers], "kappa": scalar}`, layers as in `Config.layer_names`.
    """

    def note(step: engine.Step) -> dict[str, jax.Array]:
        vectors = (
            step.update,
            jax.tree.map(jnp.negative, step.grads),
            _descent(trait, step.params, step.condition),
            step.condition["delta"],
        )
        gram = [[dots_by_layer(one, other, classes) for other in vectors] for one in vectors]
        return {"gram": jnp.array(gram), "kappa": _kappa(step.state, b2)}

    return note


def dots_by_layer(a: Params, b: Params, classes: int) -> jax.Array:
    """The inner products of two trees of one model, by layer, [layers]."""
    hidden = [dot(a[f"hidden_{i}"], b[f"hidden_{i}"]) for i in range(len(a) - 1)]
    columns = jax.tree.map(lambda x, y: (x * y).reshape(-1, x.shape[-1]).sum(axis=0), a["head"], b["head"])
    head = columns["kernel"] + columns["bias"]
    return jnp.stack([*hidden, head[:classes].sum(), head[classes:].sum()])


def dot(a: Any, b: Any) -> jax.Array:
    """The inner product of two trees."""
    return jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, a, b))


def _norm(a: Params) -> jax.Array:
    return jnp.sqrt(dot(a, a))


def _scaled(length: jax.Array, way: Params) -> Params:
    """A tree of that length along another; zero if the other is."""
    share = length / jnp.maximum(_norm(way), jnp.finfo(jnp.float32).tiny)
    return jax.tree.map(lambda leaf: share * leaf, way)


def _component(of: Params, along: Params) -> Params:
    """The component of one tree along another; zero if the other is."""
    share = dot(of, along) / jnp.maximum(dot(along, along), jnp.finfo(jnp.float32).tiny)
    return jax.tree.map(lambda leaf: share * leaf, along)


def _descent(trait: Trait, params: Params, condition: Any) -> Params:
    return jax.tree.map(jnp.negative, jax.grad(trait)(params, condition))


def _kappa(state: Any, b2: float) -> jax.Array:
    """The condition number of Adam's diagonal preconditioner 1 / (sqrt(v) + eps), v without its start-up bias; else 1.

    Parameters that no gradient has ever reached do not move and are left out.
    """
    second, count = optax.tree.get(state, "nu"), optax.tree.get(state, "count")
    if second is None:
        return jnp.float32(1.0)
    v = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(second)]) / (1 - b2 ** jnp.float32(count))
    size = jnp.sqrt(v) + 1e-8
    moved = v > 0
    return jnp.max(jnp.where(moved, size, 0.0)) / jnp.min(jnp.where(moved, size, jnp.inf))
