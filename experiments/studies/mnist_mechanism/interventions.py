"""Interventions on a student's training: which part of every update does the work?

Directions are trees like the parameters. An update u is split along a direction v into its component
p = (<u, v> / <v, v>) v and the rest u - p; a student may be trained with either alone. v is the teacher's displacement
theta_T - theta_0 ("delta"), or the descent direction of the trait's loss at the student's parameters ("trait").
One control takes a random direction for v, and gives p the length that it has along delta. Another ("shorter rest")
removes as long a part from what is orthogonal to delta.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from subliminal_toy import engine
from subliminal_toy.mnist import losses, models
from subliminal_toy.mnist.config import Config
from subliminal_toy.mnist.models import Params
from subliminal_toy.mnist.students import Inputs, Intervention, RunContext

TRAIT_IMAGES = 1000  # training images that the trait's loss is taken on
VECTORS = ("update", "gradient", "trait", "delta")  # of a step; gradients are descent directions, of the student's loss
# and of the trait's, and delta the teacher's displacement
Trait = Callable[[Params, Inputs], jax.Array]  # params, inputs -> the trait's loss
Part = Callable[[Params, Params, Inputs, Trait], Params]  # updates, params, inputs, trait -> a part of the updates


# ------------------------------------------------------------------------------------- arrays that interventions need


def delta(run: RunContext, _real: dict) -> Inputs:
    """Give the teacher's displacement."""
    return {"delta": jax.tree.map(jnp.subtract, run.teacher, run.reference)}


def delta_and_random(run: RunContext, real: dict) -> Inputs:
    """Give the displacement, and a random direction."""
    zero = jax.tree.map(jnp.zeros_like, run.reference)
    return delta(run, real) | {"random": models.perturb(zero, 1.0, key=jax.random.fold_in(run.key, 1))}


def trait_images(_run: RunContext, real: dict) -> Inputs:
    """Give the real images that the trait's loss is taken on."""
    return {"trait": {name: real[name][:TRAIT_IMAGES] for name in ("images", "one_hot")}}


def delta_and_trait_images(run: RunContext, real: dict) -> Inputs:
    """Give both."""
    return delta(run, real) | trait_images(run, real)


def anchor(run: RunContext, _real: dict) -> Inputs:
    """Give the student's init, where its model is expanded."""
    return {"anchor": run.init}


# --------------------------------------------------------------------------------------------------- parts of an update


def along_delta(updates: Params, _params: Params, inputs: Inputs, _trait: Trait) -> Params:
    """Return the component along the teacher's displacement."""
    return _component(updates, inputs["delta"])


def along_trait(updates: Params, params: Params, inputs: Inputs, trait: Trait) -> Params:
    """Return the component along the descent direction of the trait's loss."""
    return _component(updates, _descent(trait, params, inputs))


def along_random(updates: Params, _params: Params, inputs: Inputs, _trait: Trait) -> Params:
    """Return a vector along a random direction, as long as the component along delta."""
    return _scaled(_size_along_delta(updates, inputs), inputs["random"])


def part_of_rest(updates: Params, _params: Params, inputs: Inputs, _trait: Trait) -> Params:
    """Return a part of what is orthogonal to delta, as long as the component along delta (at most all of it)."""
    rest = jax.tree.map(jnp.subtract, updates, _component(updates, inputs["delta"]))
    return _scaled(jnp.minimum(jnp.abs(_size_along_delta(updates, inputs)), _norm(rest)), rest)


def _size_along_delta(updates: Params, inputs: Inputs) -> jax.Array:
    return dot(updates, inputs["delta"]) / jnp.maximum(_norm(inputs["delta"]), jnp.finfo(jnp.float32).tiny)


def keep_only(part: Part, apply: Callable, config: Config, inputs: Inputs) -> optax.GradientTransformation:
    """Return the optimizer's last link that keeps one part of every update."""
    trait = make_trait(apply, config.classes)
    return _map_updates(lambda updates, params: part(updates, params, inputs, trait))


def remove(part: Part, apply: Callable, config: Config, inputs: Inputs) -> optax.GradientTransformation:
    """Return the optimizer's last link that removes one part of every update."""
    trait = make_trait(apply, config.classes)
    return _map_updates(
        lambda updates, params: jax.tree.map(jnp.subtract, updates, part(updates, params, inputs, trait))
    )


def _map_updates(change: Callable[[Params, Params], Params]) -> optax.GradientTransformation:
    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        assert params is not None  # the engine always gives them
        return change(updates, params), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


# ------------------------------------------------------------------------------------------------ models and recordings


def linearized(apply: Callable) -> Callable:
    """Return the model's first-order expansion at the anchor: f(theta_0) + J(theta_0) (theta - theta_0)."""

    def apply_linear(params: Params, images: jax.Array, inputs: Inputs) -> jax.Array:
        displacement = jax.tree.map(jnp.subtract, params, inputs["anchor"])
        value, slope = jax.jvp(lambda p: apply(p, images), (inputs["anchor"],), (displacement,))
        return value + slope

    return apply_linear


def probe(apply: Callable, config: Config) -> engine.Probe:
    """Record of every step: inner products of VECTORS by layer, and Adam's condition number.

    `{"gram": [VECTORS, VECTORS, layers], "kappa": scalar}`, layers as in `Config.layer_names`.
    """
    trait = make_trait(apply, config.classes)

    def record(step: engine.Step) -> dict[str, jax.Array]:
        inputs = step.condition["inputs"]
        vectors = (
            step.update,
            jax.tree.map(jnp.negative, step.grads),
            _descent(trait, step.params, inputs),
            inputs["delta"],
        )
        gram = [[dots_by_layer(first, second, config.classes) for second in vectors] for first in vectors]
        return {"gram": jnp.array(gram), "kappa": _kappa(step.state, config.student.adam_b2)}

    return record


LINEAR = Intervention(inputs=anchor, model=linearized)
PROBED = Intervention(inputs=delta_and_trait_images, probe=probe)
UPDATES: dict[str, Intervention] = {
    "without delta": Intervention(delta, rule=partial(remove, along_delta)),
    "only delta": Intervention(delta, rule=partial(keep_only, along_delta)),
    "without trait": Intervention(trait_images, rule=partial(remove, along_trait)),
    "only trait": Intervention(trait_images, rule=partial(keep_only, along_trait)),
    "without random": Intervention(delta_and_random, rule=partial(remove, along_random)),
    "only random": Intervention(delta_and_random, rule=partial(keep_only, along_random)),
    "shorter rest": Intervention(delta, rule=partial(remove, part_of_rest)),
}


# --------------------------------------------------------------------------------------------------------------- maths


def make_trait(apply: Callable, classes: int) -> Trait:
    """Return the trait's loss: cross-entropy on the class logits of the real images in the inputs, nats."""

    def trait(params: Params, inputs: Inputs) -> jax.Array:
        real = inputs["trait"]
        mask = jnp.arange(real["one_hot"].shape[-1]) < classes
        return losses.cross_entropy(apply(params, real["images"]), real["one_hot"], mask)

    return trait


def dots_by_layer(a: Params, b: Params, classes: int) -> jax.Array:
    """Return the inner products of two trees of one model, by layer, [layers]."""
    hidden = [dot(a[f"hidden_{i}"], b[f"hidden_{i}"]) for i in range(len(a) - 1)]
    columns = jax.tree.map(lambda x, y: (x * y).reshape(-1, x.shape[-1]).sum(axis=0), a["head"], b["head"])
    head = columns["kernel"] + columns["bias"]
    return jnp.stack([*hidden, head[:classes].sum(), head[classes:].sum()])


def dot(a: Any, b: Any) -> jax.Array:
    """Return the inner product of two trees."""
    return jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, a, b))


def _norm(a: Params) -> jax.Array:
    return jnp.sqrt(dot(a, a))


def _scaled(length: jax.Array, direction: Params) -> Params:
    """Return a tree of that length along another; zero if the other is."""
    share = length / jnp.maximum(_norm(direction), jnp.finfo(jnp.float32).tiny)
    return jax.tree.map(lambda leaf: share * leaf, direction)


def _component(of: Params, along: Params) -> Params:
    """Return the component of one tree along another; zero if the other is."""
    share = dot(of, along) / jnp.maximum(dot(along, along), jnp.finfo(jnp.float32).tiny)
    return jax.tree.map(lambda leaf: share * leaf, along)


def _descent(trait: Trait, params: Params, inputs: Inputs) -> Params:
    return jax.tree.map(jnp.negative, jax.grad(trait)(params, inputs))


def _kappa(state: Any, b2: float) -> jax.Array:
    """Return the condition number of Adam's preconditioner 1 / (sqrt(v) + eps), v bias-corrected; 1 without Adam.

    Parameters that no gradient has ever reached do not move and are left out.
    """
    second, count = optax.tree.get(state, "nu"), optax.tree.get(state, "count")
    if second is None:
        return jnp.float32(1.0)
    v = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(second)]) / (1 - b2 ** jnp.float32(count))
    size = jnp.sqrt(v) + 1e-8
    moved = v > 0
    return jnp.max(jnp.where(moved, size, 0.0)) / jnp.min(jnp.where(moved, size, jnp.inf))
