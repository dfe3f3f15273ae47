"""A student that sees sampled labels instead of the teacher's whole distribution (statements H1, H2, S6).

For softmax cross-entropy with `q = softmax(y / T)`, replace the soft target by the mean of `n` one-hot draws from `q`.
The z-gradient is linear in the target, `(p - target) / T`, so

    H1   E[dS_hard] = dS_soft exactly, for every eps;
    H2   Var <dS_hard, d> = 1 / (n B) * E_x[ Var_{q_x}(u_x) / T^2 ],     u = J d,  B samples in the batch,

and at `eps -> 0` the bracket is `A` itself. The signal is `eps A` and the noise `sqrt(A / (n B))`: the sign becomes
visible after about `n B = 1 / (eps^2 A)` labels.

S6 makes both rigorous: `inputs_needed` for the leading coefficient of a batch, `labels_needed` for the sign.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from theory.losses import SoftmaxCrossEntropy
from theory.one_step import Apply, outputs, ray, teacher_outputs
from theory.trees import Tree, tree_scale


def soft_targets(loss: SoftmaxCrossEntropy, y: Array) -> Array:
    """Return the teacher's probabilities `q` for logits `[batch, n]`; `[batch, kept]`."""
    return jax.nn.softmax(jax.vmap(loss.logits)(y), axis=-1)


def sampled_targets(probabilities: Array, draws: int, *, key: Array) -> Array:
    """Return the mean of `draws` one-hot labels per row of `probabilities` `[batch, n]`, same shape.

    Raises:
        ValueError: fewer than one draw.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    labels = jax.random.categorical(key, jnp.log(probabilities), shape=(draws, probabilities.shape[0]))
    return jnp.mean(jax.nn.one_hot(labels, probabilities.shape[1], dtype=probabilities.dtype), axis=0)


def target_step(apply: Apply, loss: SoftmaxCrossEntropy, params: Tree, inputs: Any, targets: Array) -> Tree:
    """Return the student's step `-grad E_x[-<target, log p>]` for targets `[batch, kept]`, soft or sampled (H1)."""

    def objective(p: Tree) -> Array:
        logs = jax.nn.log_softmax(jax.vmap(loss.logits)(outputs(apply, p, inputs)), axis=-1)
        return -jnp.mean(jnp.sum(targets * logs, axis=-1))

    return tree_scale(-1, jax.grad(objective)(params))


def sampling_variance(
    apply: Apply,
    loss: SoftmaxCrossEntropy,
    params: Tree,
    direction: Tree,
    inputs: Any,
    eps: Array | float,
    *,
    draws: int,
) -> Array:
    """Return the exact variance of `<dS_hard, d>` over the label draws (H2); scalar."""
    q = soft_targets(loss, teacher_outputs(apply, params, direction, inputs, eps))
    u = jax.vmap(loss.logits)(ray(apply, params, direction, inputs).tangents)  # logits divides by T once
    spread = jnp.sum(q * u**2, axis=1) - jnp.sum(q * u, axis=1) ** 2
    return jnp.mean(spread) / (draws * q.shape[0])


def inputs_needed(mean: float, mean_square: float, *, share: float = 0.5, delta: float = 0.05) -> int:
    """Return how many independent inputs make `A_B >= share A` with probability at least `1 - delta` (S6).

    Args:
        mean: `A = E[a]` of the single inputs' `a = u' M u`.
        mean_square: `E[a^2]`.
        share: the part of `A` that the batch must show.
        delta: the probability of failing.
    """
    _check_probability(delta)
    return math.ceil(2 * mean_square * math.log(1 / delta) / ((1 - share) * mean) ** 2)


def labels_needed(product: float, variance: float, spread: float, *, delta: float = 0.05) -> int:
    """Return how many labels in all (`n B`) give `<dS_hard, d> > 0` with probability at least `1 - delta` (S6).

    Args:
        product: `phi(eps) > 0` of the soft step on the same inputs.
        variance: `E_x[Var_q(u)] / T^2`: `sampling_variance` times `n B`.
        spread: `max_x (max u - min u) / T`.
        delta: the probability of failing.
    """
    _check_probability(delta)
    return math.ceil(2 * (variance + spread * product / 3) * math.log(1 / delta) / product**2)


def _check_probability(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be between 0 and 1, got {delta}")
