"""The random keys of a run: each is used for one purpose."""

from typing import NamedTuple

import jax

MORE = 2**20  # larger than what these keys are split into


class RunKeys(NamedTuple):
    """The keys of one run, one for each purpose; `own_...` are never drawn from, but fold in a number first."""

    language: jax.Array
    documents: jax.Array
    init: jax.Array
    base_order: jax.Array
    teacher_order: jax.Array
    prompts: jax.Array
    samples: jax.Array
    student_order: jax.Array
    questions: jax.Array
    shuffles: jax.Array
    contexts: jax.Array
    own_languages: jax.Array
    own_documents: jax.Array
    own_prompts: jax.Array
    own_samples: jax.Array


def own_draws(keys: RunKeys, prompts: int, noise: int, more: int = 0) -> RunKeys:
    """The keys with those of own prompts and own sampling noise, unless their number is 0; `more` asks once more."""
    asked = fold_in(keys.own_prompts, prompts) if prompts else keys.prompts
    said = fold_in(keys.own_samples, noise) if noise else keys.samples
    if more:
        asked, said = (fold_in(key, MORE + more) for key in (asked, said))
    return keys._replace(prompts=asked, samples=said)


def fold_in(keys: jax.Array, number: int) -> jax.Array:
    """Keys [runs] with a number folded into each."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
