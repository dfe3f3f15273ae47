"""Sampling completions, token by token, with a key-value cache."""

import jax
import jax.numpy as jnp

from subliminal_toy.lm import vocabulary
from subliminal_toy.lm.corpus import COMPLETION_LENGTH
from subliminal_toy.lm.transformer import Params, Transformer

_PAD, _END = vocabulary.ID[vocabulary.PAD], vocabulary.ID[vocabulary.END]


def sample(
    model: Transformer, params: Params, prompts: jax.Array, *, temperature: jax.Array | float, key: jax.Array,
    length: int = COMPLETION_LENGTH,
) -> jax.Array:  # fmt: skip
    """Complete prompts.

    Args:
        model: the transformer.
        params: its parameters.
        prompts: [n, T] tokens without padding.
        temperature: of the softmax over the whole vocabulary; 0 takes the likeliest token.
        key: two models that complete the same prompts with the same key share all random numbers.
        length: tokens of a completion; T + length is at most corpus.LENGTH.

    Returns:
        [n, length] tokens; after `<end>` there is padding. A completion without `<end>` did not end in time.
    """

    def pick(logits: jax.Array, key: jax.Array) -> jax.Array:
        greedy = jnp.asarray(temperature) == 0
        # A Gumbel number for each word, not a uniform one for all: two models then say the same wherever they can.
        drawn = jax.random.categorical(key, logits / jnp.where(greedy, 1.0, temperature))
        return jnp.where(greedy, jnp.argmax(logits, axis=-1), drawn)

    def step(carry: tuple, inputs: tuple[jax.Array, jax.Array]) -> tuple[tuple, jax.Array]:
        logits, cache, ended = carry
        i, step_key = inputs
        token = jnp.where(ended, _PAD, pick(logits, step_key))
        logits, cache = model.step(params, token[:, None], cache, prompts.shape[1] + i)
        return (logits, cache, ended | (token == _END)), token

    logits, cache = model.step(params, prompts, model.empty_cache(len(prompts)), 0)
    start = (logits, cache, jnp.zeros(len(prompts), bool))
    _, tokens = jax.lax.scan(step, start, (jnp.arange(length), jax.random.split(key, length)))
    return tokens.T
