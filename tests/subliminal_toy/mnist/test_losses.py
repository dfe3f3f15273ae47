"""Losses and the metric against NumPy in float64; masked-out logits carry neither value nor gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subliminal_toy.mnist import losses

MASKS = (
    [True] * 5,
    [False, False, True, True, True],
    [True, True, False, False, False],
    [False, True, False, True, False],
)
seeds = st.integers(0, 2**32 - 1)
masks = st.sampled_from(MASKS).map(np.array)


def log_softmax(z: np.ndarray) -> np.ndarray:
    z = z.astype(np.float64)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(scale=3, size=(2, 7, 5)).astype(np.float32))


@given(seeds, masks, st.sampled_from([0.5, 1.0, 4.0]))
def test_kl_is_numpys(seed: int, mask: np.ndarray, temperature: float) -> None:
    z, y = draw(seed)
    log_p, log_q = log_softmax(y[:, mask] / temperature), log_softmax(z[:, mask] / temperature)
    expected = temperature**2 * np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=-1))
    np.testing.assert_allclose(losses.distillation_kl(z, y, mask, temperature), expected, rtol=2e-5, atol=1e-6)


@given(seeds, masks)
def test_mse_is_numpys(seed: int, mask: np.ndarray) -> None:
    z, y = draw(seed)
    expected = np.mean((z[:, mask].astype(np.float64) - y[:, mask]) ** 2)
    np.testing.assert_allclose(losses.distillation_mse(z, y, mask), expected, rtol=1e-5)


@given(seeds, masks)
def test_cross_entropy_is_numpys(seed: int, mask: np.ndarray) -> None:
    z, _ = draw(seed)
    labels = np.random.default_rng(seed).choice(np.flatnonzero(mask), size=7)
    expected = -np.mean(log_softmax(z[:, mask])[np.arange(7), np.searchsorted(np.flatnonzero(mask), labels)])
    np.testing.assert_allclose(losses.cross_entropy(z, jnp.eye(5)[labels], mask), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("loss", [losses.distillation_kl, losses.distillation_mse, losses.cross_entropy])
def test_masked_out_logits_have_no_gradient_and_the_others_do(loss: object, mask: list[bool]) -> None:
    z, y = draw(3)
    targets = jnp.eye(5)[np.full(7, np.flatnonzero(mask)[0])] if loss is losses.cross_entropy else jnp.asarray(y)
    gradient = np.asarray(jax.grad(loss)(jnp.asarray(z), targets, jnp.asarray(mask)))
    assert np.isfinite(gradient).all()
    assert (gradient[:, ~np.array(mask)] == 0).all()
    assert (gradient[:, np.array(mask)] != 0).all()


def test_kl_of_a_perfect_student_is_zero_with_zero_gradient() -> None:
    z, _ = draw(1)
    mask = jnp.ones(5, bool)
    value, gradient = jax.value_and_grad(losses.distillation_kl)(jnp.asarray(z), jnp.asarray(z), mask)
    assert float(value) == 0
    np.testing.assert_allclose(gradient, 0, atol=1e-7)


def test_one_auxiliary_logit_under_softmax_says_nothing_but_under_mse_it_does() -> None:
    z, y = map(jnp.asarray, draw(2))
    mask = jnp.arange(5) == 4
    assert float(losses.distillation_kl(z, y, mask)) == 0
    assert float(losses.distillation_mse(z, y, mask)) > 0


def test_extreme_logits_stay_finite() -> None:
    z = jnp.array([[1e4, -1e4, 0.0]])
    value, gradient = jax.value_and_grad(losses.distillation_kl)(z, -z, jnp.ones(3, bool))
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()


def test_accuracy_looks_at_class_logits_only() -> None:
    logits = jnp.array([[0.0, 1.0, 9.0], [2.0, 1.0, 9.0], [0.0, 5.0, 9.0], [3.0, 5.0, 9.0]])
    assert float(losses.accuracy(logits, jnp.array([1, 0, 1, 0]), 2)) == 0.75
