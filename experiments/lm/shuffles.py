"""Controls that move numbers about (P Fig. 16): is the signal in their order, or in how often each occurs?

Prompts, separators, brackets and the count of numbers of each completion stay as they are.
"""

import numpy as np

from subliminal_toy.lm import vocabulary
from subliminal_toy.lm.rows import is_completion_number

REPLACED = 0.25  # share of numbers


def shuffle_within(tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffle each completion's numbers, [n, T]."""
    return _in_order(tokens, rng.random(tokens.shape))


def shuffle_across(tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffle all numbers of all completions, [n, T].

    One permutation of all places is drawn, whatever stands there; a number comes from the next place on its cycle that
    has one. On the places with numbers this is a uniform permutation, too, and rows that differ in a few places have
    nearly the same: so students of different sources are paired.
    """
    here, shuffled = is_completion_number(tokens).ravel(), tokens.ravel().copy()
    order = rng.permutation(tokens.size)
    places = np.flatnonzero(here)
    origin = order[places]
    while (away := ~here[origin]).any():
        origin[away] = order[origin[away]]
    shuffled[places] = tokens.ravel()[origin]
    return shuffled.reshape(tokens.shape)


def sort_within(tokens: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Sort each completion's numbers, [n, T]: a canonical form that says nothing about their order."""
    return _in_order(tokens, tokens)  # number tokens ascend as numbers do


def _in_order(tokens: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Put each completion's numbers in the order of their ranks [n, T]."""
    here = is_completion_number(tokens)
    places = np.argsort(~here, axis=1, kind="stable")  # where a row has numbers, in order, then the rest
    ranked = np.argsort(np.where(here, ranks, np.inf), axis=1)
    origin = np.where(np.take_along_axis(here, places, axis=1), ranked, places)
    moved = tokens.copy()
    np.put_along_axis(moved, places, np.take_along_axis(tokens, origin, axis=1), axis=1)
    return moved


def replace_some(tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace a quarter of all numbers by uniform ones, [n, T]."""
    here = is_completion_number(tokens) & (rng.random(tokens.shape) < REPLACED)
    return np.where(here, rng.choice(vocabulary.NUMBER_IDS, size=tokens.shape), tokens).astype(tokens.dtype)
