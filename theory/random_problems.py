"""Random one-step problems, and the whole measurement of one, ready for `vmap` over keys.

A problem is a random multi-layer perceptron, a batch of student inputs and a teacher direction that knows nothing of
either: the gradient of a cross-entropy on other inputs with random labels, of a weight decay, or a plain random
direction. The direction is scaled to unit norm, so `eps` is the distance the teacher walks.

    study(key) -> Row        one problem: A, inner products, slope, guaranteed, marched and observed radius
    study_many(keys, ...)    the same, jitted and vmapped: `[problems]` in front of every field
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from theory.activations import ACTIVATIONS, Activation
from theory.certificate import Observation, observe
from theory.losses import EnclosedLoss
from theory.mlp import init_mlp, mlp
from theory.one_step import teacher_direction
from theory.radius import first_negative, guaranteed_radius, inner_product_curve, marched_radius, mlp_ray_bound
from theory.trees import Tree, tree_norm, tree_scale

DIRECTIONS = ("teacher", "decay", "random")
INPUTS = ("uniform", "normal", "binary")
RADIUS_SAMPLES = 16
OBSERVED_OCTAVES = (-8.0, 10.0)  # up to where the guaranteed radius is searched, too
OBSERVED_POINTS = 73


@dataclass(frozen=True)
class ProblemShape:
    """The static choices of a random problem.

    Attributes:
        widths: layer sizes, input first.
        activation: a name from `theory.activations.ACTIVATIONS`.
        batch: number of student inputs.
        inputs: their distribution: uniform on [-1, 1], standard normal, or +-1.
        direction: what the teacher follows: the gradient of an unrelated loss, weight decay, or a random direction.
    """

    widths: tuple[int, ...] = (4, 6, 3)
    activation: str = "tanh"
    batch: int = 8
    inputs: str = "uniform"
    direction: str = "teacher"

    def __post_init__(self) -> None:
        """Check the names and sizes."""
        named = {"activation": ACTIVATIONS, "inputs": INPUTS, "direction": DIRECTIONS}
        for field, allowed in named.items():
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} must be one of {sorted(allowed)}, got {getattr(self, field)!r}")
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")

    @property
    def hidden(self) -> Activation:
        """The activation itself."""
        return ACTIVATIONS[self.activation]


class Problem(NamedTuple):
    """One random problem: the shared init, the teacher's unit direction, the student's inputs `[batch, n_in]`."""

    params: Tree
    direction: Tree
    inputs: Array


class Row(NamedTuple):
    """One problem's results.

    Fields:
        observation: what `theory.certificate.observe` saw on the eps grid.
        guaranteed: radius by one bound (B1, B2).
        marched: radius by a chain of bounds (B4).
        observed: first step of a fine grid with a negative inner product, or infinity.
        negative: how many of 16 inner products inside the marched radius were negative; 0 if the theory is right.
    """

    observation: Observation
    guaranteed: Array
    marched: Array
    observed: Array
    negative: Array


def random_inputs(kind: str, shape: tuple[int, int], *, key: Array) -> Array:
    """Draw student inputs `[batch, n_in]`.

    Raises:
        ValueError: an unknown distribution.
    """
    if kind == "uniform":
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    if kind == "normal":
        return jax.random.normal(key, shape)
    if kind == "binary":
        return jax.random.rademacher(key, shape, dtype=float)
    raise ValueError(f"inputs must be one of {INPUTS}, got {kind!r}")


def unrelated_loss(apply: Any, inputs: Array, labels: Array) -> Any:
    """Return `L_T(params)`: cross-entropy on other inputs `[b, n_in]` against one-hot labels `[b, n]`."""
    return lambda p: -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(apply(p, inputs)), axis=1))


def weight_decay(params: Tree) -> Array:
    """Return `L_T = sum theta^2 / 2`, a regulariser that sees no data at all."""
    return sum((jnp.sum(p**2) / 2 for p in jax.tree.leaves(params)), start=jnp.asarray(0.0))


def random_direction(params: Tree, *, key: Array) -> Tree:
    """Draw a Gaussian direction shaped like `params`."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, p.shape, p.dtype) for k, p in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def random_problem(shape: ProblemShape, *, key: Array) -> Problem:
    """Draw one problem; `shape` is static, so this vmaps over keys."""
    for_params, for_inputs, for_direction = jax.random.split(key, 3)
    params = init_mlp(shape.widths, key=for_params)
    inputs = random_inputs(shape.inputs, (shape.batch, shape.widths[0]), key=for_inputs)
    direction = _direction(shape, params, key=for_direction)
    return Problem(params, tree_scale(1 / tree_norm(direction), direction), inputs)


def _direction(shape: ProblemShape, params: Tree, *, key: Array) -> Tree:
    if shape.direction == "random":
        return random_direction(params, key=key)
    if shape.direction == "decay":
        return teacher_direction(weight_decay, params)
    for_inputs, for_labels = jax.random.split(key)
    inputs = 2 * jax.random.normal(for_inputs, (shape.batch, shape.widths[0]))
    labels = jax.random.randint(for_labels, (shape.batch,), 0, shape.widths[-1])
    one_hot = jax.nn.one_hot(labels, shape.widths[-1], dtype=inputs.dtype)
    return teacher_direction(unrelated_loss(mlp(shape.hidden), inputs, one_hot), params)


def measure(problem: Problem, hidden: Activation, loss: EnclosedLoss, eps: Array, *, cells: int = 48) -> Row:
    """Measure everything about one problem on a multi-layer perceptron; jit- and vmap-friendly.

    Args:
        problem: parameters, unit direction and inputs, of any origin.
        hidden: the hidden activation.
        loss: one of `theory.losses`.
        eps: ascending grid of teacher steps, `[k]`.
        cells: cells tried by the march; 0 skips it.
    """
    apply = mlp(hidden)
    observation = observe(apply, loss, *problem, eps)
    bound = mlp_ray_bound(hidden, loss, *problem)
    curve = inner_product_curve(apply, loss, *problem)
    guaranteed = guaranteed_radius(bound)
    marched = marched_radius(bound, guaranteed, cells=cells) if cells else guaranteed
    inside = jax.lax.map(curve, marched * jnp.linspace(1 / RADIUS_SAMPLES, 1, RADIUS_SAMPLES))
    fine = 2.0 ** jnp.linspace(*OBSERVED_OCTAVES, OBSERVED_POINTS)
    failed = first_negative(fine, jax.lax.map(curve, fine) + observation.noise)
    negative = jnp.sum(inside < -observation.noise)
    return Row(observation, guaranteed, marched, failed, negative)


def study(shape: ProblemShape, loss: EnclosedLoss, eps: Array, *, key: Array, cells: int = 48) -> Row:
    """Draw a problem of a static `shape` from `key` and `measure` it; jit- and vmap-friendly over `key`."""
    return measure(random_problem(shape, key=key), shape.hidden, loss, eps, cells=cells)


@partial(jax.jit, static_argnames=("shape", "cells"))
def study_many(keys: Array, shape: ProblemShape, loss: EnclosedLoss, eps: Array, cells: int = 48) -> Row:
    """Return `study` for every key `[problems]`, compiled once per shape (and per kind of loss)."""
    return jax.vmap(lambda key: study(shape, loss, eps, key=key, cells=cells))(keys)
