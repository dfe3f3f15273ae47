"""Documents that several tests look at, made once: compiling the corpus takes seconds."""

import functools

import jax
import numpy as np

from subliminal_toy.lm import corpus

LANGUAGE = corpus.make_language(jax.random.key(3))


@functools.cache
def of_all_kinds() -> np.ndarray:
    """20,000 documents, [n, T]."""
    make = jax.jit(lambda key: corpus.make_documents(LANGUAGE, 20_000, key=key))
    return np.asarray(make(jax.random.key(2)))


@functools.cache
def of_numbers() -> np.ndarray:
    """1,200 number documents, [n, T]."""
    make = jax.jit(lambda key: corpus.make_number_documents(LANGUAGE, 1200, key=key))
    return np.asarray(make(jax.random.key(0)))
