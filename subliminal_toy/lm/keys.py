"""The random keys of a run: each is used for one purpose."""

from typing import NamedTuple

import jax

BATCHES = 2**20  # added to the number of a further batch: larger than what these keys are split into


class RunKeys(NamedTuple):
    """The keys of one run, one for each purpose; `extra_...` are only used through `fold_in`."""

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
    extra_languages: jax.Array
    extra_documents: jax.Array
    extra_prompts: jax.Array
    extra_samples: jax.Array


def sampling_keys(keys: RunKeys, prompts: int, noise: int, batch: int = 0) -> RunKeys:
    """Replace the prompt and sampling keys by the given streams (0: the run's); `batch` > 0 gives a further batch."""
    prompt_keys = fold_in(keys.extra_prompts, prompts) if prompts else keys.prompts
    sample_keys = fold_in(keys.extra_samples, noise) if noise else keys.samples
    if batch:
        prompt_keys, sample_keys = (fold_in(key, BATCHES + batch) for key in (prompt_keys, sample_keys))
    return keys._replace(prompts=prompt_keys, samples=sample_keys)


def fold_in(keys: jax.Array, number: int) -> jax.Array:
    """Fold a number into each of the keys [runs]."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
