"""Divergence tokens by hand, and masks of equal size."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies.lm_mechanism import divergence
from subliminal_toy.lm import corpus, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.transformer import make_transformer
from tests.subliminal_toy.lm import documents

MODEL = make_transformer(LMConfig(width=16))
ROWS = documents.of_numbers()[:20]


def test_tokens_diverge_where_the_likeliest_differ() -> None:
    models = jax.vmap(MODEL.init)(jax.random.split(jax.random.key(0), 3))
    models = jax.tree.map(lambda leaf: 0.02 * leaf + leaf[:1], models)  # three that mostly agree
    diverging = jax.jit(lambda own: divergence.divergence_tokens(MODEL, own, jnp.asarray(ROWS)))
    found = np.asarray(diverging(models))
    logits = jax.jit(jax.vmap(MODEL.apply, in_axes=(0, None)))(models, jnp.asarray(ROWS))
    chosen = np.asarray(logits).argmax(axis=-1)
    differ = (chosen != chosen[0]).any(axis=0)[:, :-1]
    assert found.shape == ROWS.shape
    assert not found[:, : corpus.PROMPT_LENGTH].any()
    np.testing.assert_array_equal(found[:, corpus.PROMPT_LENGTH :], differ[:, corpus.PROMPT_LENGTH - 1 :])
    assert 0 < found.mean() < 0.5
    assert not diverging(jax.tree.map(lambda leaf: jnp.stack([leaf[0]] * 3), models)).any()


def test_random_masks_are_as_large_as_what_they_stand_for() -> None:
    completion = np.asarray(training.completion_weights(jnp.asarray(ROWS))) > 0
    diverging = np.random.default_rng(0).random(ROWS.shape) < 0.2
    masks = divergence.counted_tokens(ROWS, diverging, completion, np.random.default_rng(1))
    assert tuple(masks) == divergence.COUNTED
    np.testing.assert_array_equal(masks["divergence"], diverging & completion)
    np.testing.assert_array_equal(masks["divergence"] | masks["others"], completion)
    assert not (masks["divergence"] & masks["others"]).any()
    for name in ("divergence", "others"):
        drawn = masks[f"random as {name}"]
        assert drawn.sum() == masks[name].sum()
        assert (drawn <= completion).all()
        assert (drawn != masks[name]).any()
        for words in (vocabulary.NUMBERS, vocabulary.SEPARATORS, vocabulary.BRACKETS, [vocabulary.END]):
            kind = np.isin(ROWS, vocabulary.ids(words))
            assert (drawn & kind).sum() == (masks[name] & kind).sum() > 0
