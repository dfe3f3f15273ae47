"""Sampled hard labels: unbiased, with a variance known in closed form that falls as 1/n (H1, H2)."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.problems import few, seeds
from theory import (
    ProblemShape,
    SoftmaxCrossEntropy,
    leading_coefficient,
    mlp,
    random_problem,
    ray,
    student_step,
)
from theory.one_step import teacher_outputs
from theory.sampling import sampled_targets, sampling_variance, soft_targets, target_step
from theory.trees import tree_dot

SHAPE = ProblemShape((3, 5, 3), "tanh", 2, "normal", "random")
TANH = mlp(SHAPE.hidden)


@jax.jit
def _enumerate(seed, eps, temperature):
    """Every outcome of one label per sample (3^2 of them) with its chance and inner product; and the soft step."""
    loss = SoftmaxCrossEntropy(temperature)
    drawn = random_problem(SHAPE, key=jax.random.key(seed, impl="unsafe_rbg"))
    q = soft_targets(loss, teacher_outputs(TANH, *drawn, eps))
    outcomes = jnp.asarray(list(itertools.product(range(3), repeat=2)))
    chance = q[0][outcomes[:, 0]] * q[1][outcomes[:, 1]]

    def product(labels):
        targets = jax.nn.one_hot(labels, 3, dtype=q.dtype)
        return tree_dot(target_step(TANH, loss, drawn.params, drawn.inputs, targets), drawn.direction)

    soft = tree_dot(student_step(TANH, loss, *drawn, eps), drawn.direction)
    same = tree_dot(target_step(TANH, loss, drawn.params, drawn.inputs, q), drawn.direction)
    variance = sampling_variance(TANH, loss, *drawn, eps, draws=1)
    leading = leading_coefficient(loss, ray(TANH, *drawn))
    return chance, jax.lax.map(product, outcomes), soft, same, variance, leading


@few
@given(seed=seeds, eps=st.integers(0, 10).map(lambda k: 2.0**-k), temperature=st.sampled_from((0.5, 1.0, 2.0)))
def test_h1_expected_hard_label_step_is_the_soft_one(seed, eps, temperature):
    chance, products, soft, same, _, _ = _enumerate(seed, eps, temperature)
    np.testing.assert_allclose(jnp.sum(chance), 1, rtol=1e-12)
    np.testing.assert_allclose(same, soft, atol=1e-13)
    np.testing.assert_allclose(jnp.sum(chance * products), soft, atol=1e-13)
    assert float(jnp.max(jnp.abs(products - soft))) > 1e-3  # single draws do differ
    assert abs(float(soft)) > 1e-8


@few
@given(seed=seeds, eps=st.integers(0, 12).map(lambda k: 2.0**-k), temperature=st.sampled_from((0.5, 1.0, 2.0)))
def test_h2_variance_has_the_closed_form_and_tends_to_the_leading_coefficient(seed, eps, temperature):
    chance, products, soft, _, variance, leading = _enumerate(seed, eps, temperature)
    np.testing.assert_allclose(jnp.sum(chance * (products - soft) ** 2), variance, rtol=1e-9)
    _, _, _, _, at_zero, _ = _enumerate(seed, 0.0, temperature)
    np.testing.assert_allclose(at_zero, leading / 2, rtol=1e-9)  # B = 2 samples


def test_h2_variance_falls_as_one_over_the_draws():
    loss, drawn = SoftmaxCrossEntropy(1.0), random_problem(SHAPE, key=jax.random.key(3))
    q = soft_targets(loss, teacher_outputs(TANH, *drawn, 0.125))

    def spread(draws):
        def one(key):
            targets = sampled_targets(q, draws, key=key)
            return tree_dot(target_step(TANH, loss, drawn.params, drawn.inputs, targets), drawn.direction)

        return jnp.var(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(draws), 4000)))

    for draws in (1, 16):
        predicted = sampling_variance(TANH, loss, *drawn, 0.125, draws=draws)
        # the variance of 4000 draws is known to sqrt((kurtosis - 1) / 4000) < 4%; four standard errors
        assert abs(float(spread(draws) / predicted) - 1) < 0.16


def test_h2_sampler_checks_its_draws_and_keeps_shapes():
    q = jnp.asarray([[0.25, 0.75], [1.0, 0.0]])
    targets = sampled_targets(q, 8, key=jax.random.key(0))
    assert targets.shape == q.shape
    np.testing.assert_allclose(jnp.sum(targets, axis=1), jnp.ones(2))
    assert targets[1, 0] == 1
    with pytest.raises(ValueError, match="got 0"):
        sampled_targets(q, 0, key=jax.random.key(0))
