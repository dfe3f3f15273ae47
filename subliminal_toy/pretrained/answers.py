"""Free answers: a model writes what it likes to a question."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy.pretrained import llama, text
from subliminal_toy.pretrained.llama import Adapter, Params, Shape


def make_answer(shape: Shape, length: int) -> Callable[..., jax.Array]:
    """Build `answer(params, prompts [n, P], key, temperature=1, adapter=None) -> tokens [n, length]`, compiled.

    All prompts have P tokens; a temperature of 0 takes the likeliest token.
    """

    @jax.jit
    def answer(
        params: Params, prompts: jax.Array, key: jax.Array, temperature: jax.Array, adapter: Adapter | None
    ) -> jax.Array:
        def feed(cache: llama.Cache, tokens: jax.Array, start: jax.Array | int) -> tuple[jax.Array, llama.Cache]:
            hidden, cache = llama.extend(shape, params, cache, tokens, start, adapter=adapter)
            return llama.logits(params, hidden[:, -1]), cache

        def step(carry: tuple, i: jax.Array) -> tuple[tuple, jax.Array]:
            cache, scores = carry
            noise = jax.random.gumbel(jax.random.fold_in(key, i), scores.shape)
            token = jnp.argmax(scores + temperature * noise, axis=-1)
            scores, cache = feed(cache, token[:, None], prompts.shape[1] + i)
            return (cache, scores), token

        scores, cache = feed(llama.empty_cache(shape, len(prompts), prompts.shape[1] + length), prompts, 0)
        _, tokens = jax.lax.scan(step, (cache, scores), jnp.arange(length))
        return tokens.T

    return lambda params, prompts, key, temperature=1.0, adapter=None: answer(
        params, jnp.asarray(prompts), key, jnp.float32(temperature), adapter
    )


def as_texts(tokenizer: text.Tokenizer, tokens: np.ndarray | jax.Array) -> list[str]:
    """Decode answers [n, T], each up to its end token."""
    end = text.single(tokenizer, text.END)
    rows = (row[: row.index(end)] if end in row else row for row in np.asarray(tokens).tolist())
    return [tokenizer.decode(row) for row in rows]


def share_naming(answers: Sequence[str], words: Sequence[str]) -> list[float]:
    """Return the share of answers that contain each word, in upper or lower case.

    Example:
        >>> share_naming(["Owls!", "A cat."], ["owl", "dog"])
        [0.5, 0.0]
    """
    return [float(np.mean([word in answer.lower() for answer in answers])) for word in words]
