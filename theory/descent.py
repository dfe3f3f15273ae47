"""A certified box in (eps, alpha): the student's step lowers the teacher's own loss everywhere in it (statement S2).

For every `eps` in `(0, E]` the step is `dS(eps) = eps g` with `g = J' h'` averaged over the batch, where `h'` lies in
the enclosure of the derivative of `-dL/dz(z0, y(t))` over `[0, E]` (mean value theorem). So `g` lies in a box that an
interval backward pass computes. Along `theta + tau g`, `tau = eps alpha`, the teacher's loss `psi(tau)` starts with the
slope `psi'(0) = -phi(eps) / eps <= -c` and has derivatives that B3's recursion encloses for all `g` in the box at once.
Then `psi(tau) <= psi(0)` for `0 < tau <= t` by the argument of B1 and B2, and the certificate is the region

    0 < eps <= E,   0 < alpha <= t / eps,

which holds the box `(0, E] x (0, t / E]`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from theory.activations import Activation
from theory.intervals import Interval, magnitude, matmul, multiply, outward, point, subtract, total
from theory.losses import EnclosedLoss, Jet, RayBound
from theory.mlp import Box, mlp, output_jets, with_row
from theory.radius import guaranteed_radius, ray_bound
from theory.trees import Tree, tree_norm


@partial(jax.tree_util.register_dataclass, data_fields=["loss", "inputs", "targets"], meta_fields=["activation"])
@dataclass(frozen=True)
class MLPTeacher:
    """`L_T(params) = E_x L(f(params, x), y_x)` of a multi-layer perceptron, a teacher loss that S2 can bound.

    Attributes:
        activation: the hidden activation.
        loss: one of `theory.losses`.
        inputs: the teacher's own inputs, `[batch, n_in]`.
        targets: what it learns, `[batch, n]`; logits for a softmax loss (a label is a large logit).
    """

    activation: Activation
    loss: EnclosedLoss
    inputs: Array
    targets: Array

    def __call__(self, params: Tree) -> Array:
        """Return the scalar loss."""
        return jnp.mean(jax.vmap(self.loss)(mlp(self.activation)(params, self.inputs), self.targets))


def step_box(activation: Activation, params: Tree, inputs: Array, force: Interval) -> tuple[Box, ...]:
    """Enclose `E_x J' h` for every `h` `[batch, n]` inside `force`, shaped like `params`: an interval backward pass."""
    hidden, slopes = [point(inputs.astype(jnp.result_type(*jax.tree.leaves(params))))], []
    for weight, bias in params[:-1]:
        s = with_row(matmul(hidden[-1], point(weight)), point(bias))
        hidden.append(activation.range(0, s))
        slopes.append(activation.range(1, s))
    layers, delta = [], force
    for depth in range(len(params) - 1, -1, -1):
        products = matmul(Interval(*(end.T for end in hidden[depth])), delta), total(delta, axis=0)
        layers.append(Box(*(outward(Interval(p.lo / len(inputs), p.hi / len(inputs))) for p in products)))
        if depth:
            delta = multiply(matmul(delta, point(params[depth][0].T)), slopes[depth - 1])
    return tuple(reversed(layers))


def gradient_error(params: Tree, direction: Tree, teacher: MLPTeacher) -> Array:
    """Return a bound of `|direction + grad L_T(params)|`: autodiff's gradient is rounded, and may cancel (S2)."""
    jets = output_jets(teacher.activation, params, direction, teacher.inputs, 0.0, 0.0)
    start = jax.tree.map(lambda leaf: leaf[0], jets)
    still = point(jnp.zeros_like(teacher.targets))
    force = teacher.loss.pull(start, Jet(point(teacher.targets), still, still)).value
    box = step_box(teacher.activation, params, teacher.inputs, force)
    return tree_norm(
        [
            magnitude(subtract(b, point(d)))
            for bs, ds in zip(box, direction, strict=True)
            for b, d in zip(bs, ds, strict=True)
        ]
    )


def certified_product(
    loss: EnclosedLoss, params: Tree, direction: Tree, inputs: Array, teacher: MLPTeacher, eps: Array | float
) -> Array:
    """Return `t` such that the teacher's loss falls for all steps up to `eps` with `eps alpha <= t`, or 0 (S2).

    Args:
        loss: the student's imitation loss.
        params: the shared init, `(W, b)` pairs.
        direction: `-grad L_T(params)`.
        inputs: the student's batch.
        teacher: the teacher's loss.
        eps: the largest teacher step `E`.
    """
    jets = output_jets(teacher.activation, params, direction, inputs, 0.0, eps)
    shared, cell = (jax.tree.map(lambda leaf, i=i: leaf[i], jets) for i in (0, 1))
    along = ray_bound(loss, shared, jets)
    box = step_box(teacher.activation, params, inputs, loss.pull(shared, cell).first)
    reach = tree_norm([magnitude(part) for layer in box for part in layer])
    curved = along.slope.lo + eps / 2 * jnp.minimum(along.second.lo, 0)
    least = jnp.fmax(along.first.lo, curved) - gradient_error(params, direction, teacher) * reach

    def fall(params: Tree, box: Any, teacher: MLPTeacher, least: Array, start: Array, stop: Array) -> RayBound:
        jets = output_jets(teacher.activation, params, box, teacher.inputs, start, stop)
        first, second = teacher.loss.derivatives(jax.tree.map(lambda leaf: leaf[1], jets), teacher.targets)
        zero = jnp.zeros_like(least)
        falls = Interval(-first.hi, -first.lo), Interval(-second.hi, -second.lo)
        return RayBound(point(zero), point(least), falls[0], falls[1])

    return jnp.where(least > 0, guaranteed_radius(Partial(fall, params, box, teacher, least)), 0)
