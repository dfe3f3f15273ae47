"""Which tokens differ between teachers: divergence tokens (after Schrodi et al. 2025, arXiv 2509.23886).

A token of a completion is a divergence token if, given what stands before it, teachers of different traits and the base
(a teacher without a trait) do not all find the same next token likeliest. In greedy completions, where the row's own
teacher says what it finds likeliest, this is Schrodi et al.'s definition, with the base among the teachers: some other
one would have said something else. In sampled ones it is wider, as it holds whichever token was sampled. The more
teachers, the more such tokens. Students may be trained on these alone, on all but these, or on as many tokens drawn at
random, as many of each kind: numbers, separators, brackets, ends, and all others.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy.lm import corpus, vocabulary
from subliminal_toy.lm.transformer import Params, Transformer

_KINDS = (vocabulary.NUMBERS, vocabulary.SEPARATORS, vocabulary.BRACKETS, (vocabulary.END,))
COUNTED = ("all", "divergence", "others", "random as divergence", "random as others")


def divergence_tokens(model: Transformer, teachers: Params, tokens: jax.Array) -> jax.Array:
    """Where models [models, ...] disagree on the likeliest token of rows [n, T]; [n, T] bool, prompts False."""
    first = corpus.PROMPT_LENGTH

    def likeliest(params: Params) -> jax.Array:
        return jnp.argmax(model.apply(params, tokens[:, :-1], first=first - 1), axis=-1)

    chosen = jax.lax.map(likeliest, teachers)
    return jnp.pad(jnp.any(chosen != chosen[0], axis=0), ((0, 0), (first, 0)))


def token_kinds(tokens: np.ndarray) -> np.ndarray:
    """The kind of each token of any array: 1 number, 2 separator, 3 bracket, 4 end, 0 other."""
    kinds = np.zeros(vocabulary.SIZE, int)
    for i, words in enumerate(_KINDS, start=1):
        kinds[vocabulary.ids(words)] = i
    return kinds[tokens]


def counted_tokens(
    tokens: np.ndarray, diverging: np.ndarray, completion: np.ndarray, rng: np.random.Generator
) -> Mapping[str, np.ndarray]:
    """For each of COUNTED which tokens have a say, [n, T] bool.

    Args:
        tokens: the rows [n, T].
        diverging: from `divergence_tokens`.
        completion: where the rows have a token of the completion; only these ever count.
        rng: draws the random ones, as many of each kind as those that they stand for; rows that agree have the same.
    """
    here, kinds = diverging & completion, token_kinds(tokens)
    drawn, order = np.zeros_like(completion), rng.random(tokens.shape)
    for kind in range(len(_KINDS) + 1):
        places = np.flatnonzero(completion & (kinds == kind))
        first = np.argsort(order.ravel()[places])[: np.sum(here & (kinds == kind))]
        drawn.ravel()[places[first]] = True
    masks = (completion, here, completion & ~here, drawn, completion & ~drawn)
    return dict(zip(COUNTED, masks, strict=True))
