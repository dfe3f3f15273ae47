"""Cached sampling against recomputing everything, and what a completion may look like."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy.lm import corpus, sampling, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.transformer import make_transformer
from tests.subliminal_toy.lm import documents

MODEL = make_transformer(LMConfig(width=16))
PARAMS = jax.tree.map(lambda leaf: 3 * leaf, MODEL.init(jax.random.key(0)))
PROMPTS = jnp.asarray(documents.of_numbers()[:12, : corpus.PROMPT_LENGTH])
SAMPLE = jax.jit(functools.partial(sampling.sample, MODEL), static_argnames=("temperature", "length"))
END, PAD = vocabulary.ID[vocabulary.END], vocabulary.ID[vocabulary.PAD]


def recomputed(temperature: float, key: jax.Array) -> np.ndarray:
    tokens, ended = np.zeros((len(PROMPTS), corpus.LENGTH), int), np.zeros(len(PROMPTS), bool)
    tokens[:, : corpus.PROMPT_LENGTH] = PROMPTS
    apply = jax.jit(MODEL.apply)
    for at, step_key in enumerate(jax.random.split(key, corpus.COMPLETION_LENGTH), start=corpus.PROMPT_LENGTH):
        logits = apply(PARAMS, tokens)[:, at - 1]
        drawn = jnp.argmax(logits, 1) if temperature == 0 else jax.random.categorical(step_key, logits / temperature)
        token = np.where(ended, PAD, drawn)
        ended |= token == END
        tokens[:, at] = token
    return tokens[:, corpus.PROMPT_LENGTH :]


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_cached_sampling_is_full_recomputation(temperature: float) -> None:
    key = jax.random.key(3)
    samples = SAMPLE(PARAMS, PROMPTS, temperature=temperature, key=key)
    np.testing.assert_array_equal(samples, recomputed(temperature, key))


def test_the_first_of_the_largest_is_taken() -> None:
    logits = jnp.asarray(np.random.default_rng(0).integers(0, 3, (50, 7)), float)  # with ties
    np.testing.assert_array_equal(sampling._likeliest(logits), jnp.argmax(logits, axis=-1))


def test_padding_follows_the_end_and_only_the_end() -> None:
    always_end = {**PARAMS, "unembedding": {"kernel": jnp.zeros_like(PARAMS["unembedding"]["kernel"])}}
    samples = np.asarray(SAMPLE(always_end, jnp.tile(PROMPTS, (200, 1)), temperature=1.0, key=jax.random.key(4)))
    ended = (samples == END).any(axis=1)
    assert 0 < ended.sum() < len(samples)
    for row in samples[ended]:
        assert (row[list(row).index(END) + 1 :] == PAD).all()


def test_samples_have_the_models_probabilities() -> None:
    prompts = jnp.tile(PROMPTS[:1], (20_000, 1))
    first = np.asarray(SAMPLE(PARAMS, prompts, temperature=1.0, key=jax.random.key(5), length=1))[:, 0]
    expected = jax.nn.softmax(MODEL.apply(PARAMS, PROMPTS[:1])[0, -1])
    found = np.bincount(first, minlength=vocabulary.SIZE) / len(first)
    np.testing.assert_allclose(found, expected, atol=5 * (0.25 / len(first)) ** 0.5)


def test_two_models_say_the_same_wherever_they_can() -> None:
    """Tokens of the same key differ with probability 2 t / (1 + t) at most, if they must with t: sources are paired."""
    other = jax.tree.map(lambda leaf: 1.05 * leaf, PARAMS)
    prompts = jnp.tile(PROMPTS[:1], (20_000, 1))
    draw = functools.partial(SAMPLE, temperature=1.0, key=jax.random.key(5), length=1)
    differ = np.mean(np.asarray(draw(PARAMS, prompts)) != np.asarray(draw(other, prompts)))
    p, q = (jax.nn.softmax(MODEL.apply(own, PROMPTS[:1])[0, -1]) for own in (PARAMS, other))
    must = 0.5 * float(jnp.abs(p - q).sum())
    assert must > 0.02
    assert must - 0.005 < differ < 2 * must / (1 + must) + 0.005  # a standard error is 0.002


def test_same_key_same_bits() -> None:
    one, two, other = (np.asarray(SAMPLE(PARAMS, PROMPTS, temperature=1.0, key=jax.random.key(k))) for k in (6, 6, 7))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
