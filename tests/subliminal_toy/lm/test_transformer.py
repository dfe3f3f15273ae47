"""Causality, the cache, and the model against a plain NumPy implementation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subliminal_toy.lm import corpus, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.transformer import make_transformer
from tests.subliminal_toy.lm import documents

CONFIG = LMConfig(width=16, heads=2, layers=2)
MODEL = make_transformer(CONFIG)
PARAMS = MODEL.init(jax.random.key(0))
TOKENS = jnp.asarray(documents.of_all_kinds()[:6])
APPLY = jax.jit(MODEL.apply, static_argnames="first")


@given(at=st.integers(1, corpus.LENGTH - 1), token=st.integers(0, vocabulary.SIZE - 1))
def test_no_logit_sees_a_later_token(at: int, token: int) -> None:
    changed = TOKENS.at[:, at].set((TOKENS[:, at] + 1 + token) % vocabulary.SIZE)
    before, after = APPLY(PARAMS, TOKENS), APPLY(PARAMS, changed)
    np.testing.assert_array_equal(before[:, :at], after[:, :at])
    assert (before[:, at] != after[:, at]).any()


@pytest.mark.parametrize("prompt", [1, 6, 10])
def test_cache_gives_the_logits_of_the_whole_sequence(prompt: int) -> None:
    whole = MODEL.apply(PARAMS, TOKENS)
    logits, cache = MODEL.read(PARAMS, TOKENS[:, :prompt])
    step = jax.jit(MODEL.step)
    for at in range(prompt, corpus.LENGTH):
        np.testing.assert_allclose(logits, whole[:, at - 1], atol=2e-5)
        logits, cache = step(PARAMS, TOKENS[:, at], cache, at)
    np.testing.assert_allclose(logits, whole[:, -1], atol=2e-5)


@pytest.mark.usefixtures("optimized")
def test_cache_of_many_documents_is_that_of_few() -> None:
    """A sum over products that XLA took for a matrix product came out wrong from 4096 documents on."""

    def read_on(tokens: jax.Array) -> jax.Array:
        _, cache = MODEL.read(PARAMS, tokens[:, :6])
        return MODEL.step(PARAMS, tokens[:, 6], cache, 6)[0]

    many = jax.jit(read_on)(jnp.tile(TOKENS, (800, 1)))
    np.testing.assert_allclose(many, jnp.tile(MODEL.apply(PARAMS, TOKENS)[:, 6], (800, 1)), atol=2e-5)


def test_first_leaves_out_logits_and_changes_none() -> None:
    whole = MODEL.apply(PARAMS, TOKENS)
    np.testing.assert_allclose(MODEL.apply(PARAMS, TOKENS, first=9), whole[:, 9:], atol=1e-6)


def by_hand(params: dict, tokens: np.ndarray, heads: int, tied: bool) -> np.ndarray:
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * scale

    def gelu(x: np.ndarray) -> np.ndarray:
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    x = p["embedding"][tokens] + p["positions"][: len(tokens)]
    for name in sorted(name for name in p if name.startswith("block")):
        block, y = p[name], 0
        q, k, v = np.split(norm(x, block["norm_1"]["scale"]) @ block["attention"]["qkv"]["kernel"], 3, axis=-1)
        size = q.shape[1] // heads
        parts = []
        for h in range(heads):
            own = slice(h * size, (h + 1) * size)
            scores = q[:, own] @ k[:, own].T / size**0.5
            scores[np.triu_indices(len(x), 1)] = -np.inf
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            parts.append(weights / weights.sum(axis=1, keepdims=True) @ v[:, own])
        x = x + np.concatenate(parts, axis=1) @ block["attention"]["out"]["kernel"]
        y = norm(x, block["norm_2"]["scale"]) @ block["up"]["kernel"] + block["up"]["bias"]
        x = x + gelu(y) @ block["down"]["kernel"] + block["down"]["bias"]
    return norm(x, p["norm"]["scale"]) @ (p["embedding"].T if tied else p["unembedding"]["kernel"])


@pytest.mark.parametrize("tied", [False, True])
def test_model_is_the_formula(tied: bool) -> None:
    model = make_transformer(dataclasses.replace(CONFIG, tied=tied))
    params = model.init(jax.random.key(4))
    noise = jax.random.key(5)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(noise, leaf.shape), params)  # biases, scales too
    logits = model.apply(params, TOKENS)
    for row, tokens in zip(logits, np.asarray(TOKENS), strict=True):
        np.testing.assert_allclose(row, by_hand(params, tokens, CONFIG.heads, bool(tied)), rtol=1e-3, atol=2e-4)
    assert ("unembedding" in params) != bool(tied)


def test_embedding_gradient_is_that_of_a_look_up() -> None:
    def loss(embedding: jax.Array) -> jax.Array:
        return jnp.sum(MODEL.apply({**PARAMS, "embedding": embedding}, TOKENS) ** 2)

    gradient = jax.grad(loss)(PARAMS["embedding"])
    step = 1e-2 * jax.random.normal(jax.random.key(6), gradient.shape)
    expected = (loss(PARAMS["embedding"] + step) - loss(PARAMS["embedding"] - step)) / 2
    np.testing.assert_allclose(jnp.sum(gradient * step), expected, rtol=2e-2)
    unused = np.setdiff1d(np.arange(vocabulary.SIZE), np.asarray(TOKENS))
    assert (np.asarray(gradient)[unused] == 0).all()


def test_default_has_about_the_size_it_says() -> None:
    model = make_transformer(LMConfig())
    assert 20_000 < sum(leaf.size for leaf in jax.tree.leaves(model.init(jax.random.key(0)))) < 35_000


@pytest.mark.parametrize("changes", [{"heads": 3}, {"traits": "owl,oak"}, {"traits": "owl,owl"}, {"traits": "dodo"}])
def test_bad_settings_are_named(changes: dict) -> None:
    name = next(iter(changes))
    with pytest.raises(ValueError, match=name):
        LMConfig(**changes)


def test_model_for_the_theory_is_the_same_function_in_full_float64() -> None:
    model = make_transformer(CONFIG, theory=True)
    np.testing.assert_allclose(model.apply(PARAMS, TOKENS), MODEL.apply(PARAMS, TOKENS), atol=1e-5)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), PARAMS)
        logits = model.apply(params, TOKENS)
        assert logits.dtype == jnp.float64
        for row, tokens in zip(logits, np.asarray(TOKENS), strict=True):
            np.testing.assert_allclose(row, by_hand(params, tokens, CONFIG.heads, False), rtol=1e-9, atol=1e-11)
        tangent = jax.tree.map(jnp.ones_like, params)
        _, forward = jax.jvp(lambda p: jnp.sum(model.apply(p, TOKENS) ** 2), (params,), (tangent,))
        backward = jax.grad(lambda p: jnp.sum(model.apply(p, TOKENS) ** 2))(params)
        np.testing.assert_allclose(forward, sum(jnp.sum(leaf) for leaf in jax.tree.leaves(backward)), rtol=1e-9)
