"""Which tokens differ between teachers: divergence tokens (after Schrodi et al. 2025, arXiv 2509.23886).

A token of a completion is a divergence token if, given what stands before it, teachers of different traits and the base
(a teacher without a trait) do not all find the same next token likeliest. In greedy completions, where the row's own
teacher says what it finds likeliest, this is Schrodi et al.'s definition, with the base among the teachers: some other
one would have said something else. In sampled ones it is wider, as it holds whichever token was sampled. The more
teachers, the more such tokens. Students may be trained on these alone, on all but these, or on as many tokens drawn at
random (from all of a completion: numbers, separators, brackets, ends).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy.lm import corpus
from subliminal_toy.lm.transformer import Params, Transformer

COUNTED = ("all", "divergence", "others", "random as divergence", "random as others")


def divergence_tokens(model: Transformer, teachers: Params, tokens: jax.Array) -> jax.Array:
    """Where models [models, ...] disagree on the likeliest token of rows [n, T]; [n, T] bool, prompts False."""
    first = corpus.PROMPT_LENGTH

    def likeliest(params: Params) -> jax.Array:
        return jnp.argmax(model.apply(params, tokens[:, :-1], first=first - 1), axis=-1)

    chosen = jax.lax.map(likeliest, teachers)
    return jnp.pad(jnp.any(chosen != chosen[0], axis=0), ((0, 0), (first, 0)))


def counted_tokens(diverging: np.ndarray, completion: np.ndarray, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
    """For each of COUNTED which tokens have a say, [n, T] bool.

    Args:
        diverging: from `divergence_tokens`.
        completion: where the rows have a token of the completion; only these ever count.
        rng: draws the random ones, as many in all as those that they stand for.
    """
    here = diverging & completion
    drawn = np.zeros_like(completion)
    places = np.flatnonzero(completion)
    drawn.ravel()[rng.permutation(places)[: here.sum()]] = True
    masks = (completion, here, completion & ~here, drawn, completion & ~drawn)
    return dict(zip(COUNTED, masks, strict=True))
