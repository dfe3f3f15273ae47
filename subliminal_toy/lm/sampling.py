"""Sample completions, token by token, with a key-value cache."""

import jax
import jax.numpy as jnp

from subliminal_toy.lm import vocabulary
from subliminal_toy.lm.corpus import COMPLETION_LENGTH
from subliminal_toy.lm.transformer import Params, Transformer

_PAD, _END = vocabulary.ID[vocabulary.PAD], vocabulary.ID[vocabulary.END]


def sample(
    model: Transformer,
    params: Params,
    prompts: jax.Array,
    *,
    temperature: jax.Array | float,
    key: jax.Array,
    length: int = COMPLETION_LENGTH,
) -> jax.Array:
    """Complete prompts.

    Args:
        model: the transformer.
        params: its parameters.
        prompts: [n, T] tokens without padding.
        temperature: of the softmax over the whole vocabulary; 0 takes the likeliest token.
        key: random key; models that complete the same prompts with the same key share all random numbers.
        length: tokens of a completion; T + length is at most corpus.LENGTH.

    Returns:
        [n, length] tokens, padded after `<end>`; a completion without `<end>` was cut off.
    """

    def pick(logits: jax.Array, key: jax.Array) -> jax.Array:
        # Gumbel noise, one number per logit, couples models that share the key: they mostly sample the same token.
        noise = jax.random.gumbel(key, logits.shape, logits.dtype)
        greedy = jnp.asarray(temperature) == 0
        return _likeliest(jnp.where(greedy, logits, logits / jnp.where(greedy, 1.0, temperature) + noise))

    def step(carry: tuple, inputs: tuple[jax.Array, jax.Array]) -> tuple[tuple, jax.Array]:
        token, cache, ended = carry
        i, step_key = inputs
        logits, cache = model.step(params, token, cache, prompts.shape[1] + i)
        ended |= token == _END
        token = jnp.where(ended, _PAD, pick(logits, step_key))
        return (token, cache, ended), token

    keys = jax.random.split(key, length)
    logits, cache = model.read(params, prompts)
    first = pick(logits, keys[0])
    start = (first, cache, jnp.zeros(len(prompts), bool))
    _, others = jax.lax.scan(step, start, (jnp.arange(length - 1), keys[1:]))
    return jnp.concatenate([first[None], others]).T


def _likeliest(logits: jax.Array) -> jax.Array:
    """Return the first argmax of logits [n, V]; unlike `jnp.argmax`, this is vectorized on XLA's CPU backend."""
    logits = jax.lax.optimization_barrier(logits)  # else XLA fuses the computation of the logits, unvectorized
    tokens = jnp.arange(logits.shape[-1])
    return jnp.where(logits == logits.max(axis=-1, keepdims=True), tokens, tokens[-1]).min(axis=-1)
