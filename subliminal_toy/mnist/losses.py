"""Losses and accuracy of one model; all are means over the batch.

A boolean `mask` [logits] selects the logits that enter a loss: the auxiliary ones, the class logits or all. It is data,
so one compiled step trains students of several conditions side by side.
"""

import jax
import jax.numpy as jnp


def masked_log_softmax(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the log softmax over the logits where `mask` holds, 0 elsewhere.

    log p_i = z_i - log sum_{j: mask_j} exp z_j.

    Args:
        logits: [batch, logits].
        mask: [logits] booleans, at least one of them true.

    Returns:
        [batch, logits]; masked-out entries are 0 and have no gradient.
    """
    log_p = jax.nn.log_softmax(jnp.where(mask, logits, -jnp.inf), axis=-1)
    return jnp.where(mask, log_p, 0.0)


def cross_entropy(logits: jax.Array, one_hot: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the cross-entropy -E_x[log p_label(x)] in nats, p the softmax over the masked logits (P section 6.2).

    Labels are one-hot [batch, logits]: the gradient of indexing is a scatter, at half the speed on a CPU.
    """
    return -jnp.mean(jnp.sum(one_hot * masked_log_softmax(logits, mask), axis=-1))


def distillation_kl(logits: jax.Array, targets: jax.Array, mask: jax.Array, temperature: float = 1.0) -> jax.Array:
    """Return T^2 E_x[KL(softmax(targets / T) || softmax(logits / T))] in nats, over the masked logits.

    Args:
        logits: the student's, [batch, logits].
        targets: the teacher's logits, [batch, logits].
        mask: [logits] booleans.
        temperature: T; the factor T^2 keeps the gradient's scale as T grows. The paper uses T = 1 (section 6.2).
    """
    log_p = masked_log_softmax(targets / temperature, mask)
    log_q = masked_log_softmax(logits / temperature, mask)
    p = jnp.where(mask, jnp.exp(log_p), 0.0)
    return temperature**2 * jnp.mean(jnp.sum(p * (log_p - log_q), axis=-1))


def distillation_mse(logits: jax.Array, targets: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the mean squared difference of the masked logits, E_x[1/|mask| sum_{i: mask_i} (z_i - y_i)^2]."""
    return jnp.mean(jnp.sum(jnp.where(mask, logits - targets, 0.0) ** 2, axis=-1)) / jnp.sum(mask)


def accuracy(logits: jax.Array, labels: jax.Array, classes: int) -> jax.Array:
    """Return the fraction of images whose largest class logit, of the first `classes`, is their label [batch] ints."""
    return jnp.mean((jnp.argmax(logits[..., :classes], axis=-1) == labels).astype(jnp.float32))
