"""Exact oracles: linear in the parameters, two linear layers, rational arithmetic (E1, E2, E3)."""

import itertools
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.problems import few, seeds, steps
from theory import (
    ACTIVATIONS,
    Layer,
    SquaredError,
    inner_product,
    leading_coefficient,
    mlp,
    ray,
    softmax_cross_entropy,
    student_step,
)
from theory.exact import (
    evaluate,
    exact_inner_product,
    exact_leading_coefficient,
    flatten,
    output_gradients,
    poly_add,
    poly_multiply,
    unflatten,
)


def _features(params, inputs):
    """A model linear in its parameters: `f_i = sum_p Phi[x, i, p] theta_p`."""
    return jnp.einsum("bip,p->bi", inputs, params)


@few
@given(seed=seeds, eps=steps, big=st.booleans())
def test_e1_linear_in_parameters_has_no_remainder(seed, eps, big):
    rng = np.random.default_rng(seed)
    phi, theta, d = rng.normal(size=(7, 3, 5)), rng.normal(size=5), rng.normal(size=5)
    weights, eps = rng.uniform(0, 2, size=3), eps * (2**12 if big else 1)
    gram = 2 * np.einsum("bip,i,biq->pq", phi, weights, phi) / 7
    loss, (x, p, v) = SquaredError(jnp.asarray(weights)), map(jnp.asarray, (phi, theta, d))
    np.testing.assert_allclose(student_step(_features, loss, p, v, x, eps), eps * gram @ d, rtol=1e-9)
    np.testing.assert_allclose(inner_product(_features, loss, p, v, x, eps), eps * d @ gram @ d, rtol=1e-9)
    np.testing.assert_allclose(leading_coefficient(loss, ray(_features, p, v, x)), d @ gram @ d, rtol=1e-12)


@few
@given(seed=seeds, eps=st.integers(-3, 8).map(lambda k: 2.0**-k), temperature=st.sampled_from((0.5, 2.0)))
def test_e1_linear_in_parameters_under_softmax_is_positive_at_every_step(seed, eps, temperature):
    """A linear model makes phi monotone: `<softmax(s + eps v) - softmax(s), v> >= 0` for every eps."""
    rng = np.random.default_rng(seed)
    phi, theta, d = rng.normal(size=(6, 4, 3)), rng.normal(size=3), rng.normal(size=3)
    soft = lambda s: np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)  # noqa: E731
    moved, start = soft(phi @ (theta + eps * d) / temperature), soft(phi @ theta / temperature)
    expected = np.mean(np.sum((moved - start) * (phi @ d), axis=1)) / temperature
    loss, (x, p, v) = softmax_cross_entropy(temperature), map(jnp.asarray, (phi, theta, d))
    np.testing.assert_allclose(inner_product(_features, loss, p, v, x, eps), expected, rtol=1e-9)
    assert expected > 0


@few
@given(seed=seeds, eps=st.integers(-3, 10).map(lambda k: 2.0**-k))
def test_e2_two_linear_layers_have_a_quadratic_inner_product(seed, eps):
    """F = x W1 W2: u = x (D1 W2 + W1 D2), y - z = eps u + eps^2 x D1 D2, phi = 2 E <u, eps u + eps^2 x D1 D2>."""
    rng = np.random.default_rng(seed)
    w1, d1 = rng.normal(size=(2, 4, 3))
    w2, d2 = rng.normal(size=(2, 3, 2))
    x = rng.normal(size=(5, 4))
    u, bend = x @ (d1 @ w2 + w1 @ d2), x @ d1 @ d2
    leading, second = 2 * np.mean(np.sum(u * u, axis=1)), 2 * np.mean(np.sum(u * bend, axis=1))
    zeros = (jnp.zeros(3), jnp.zeros(2))
    net = (Layer(jnp.asarray(w1), zeros[0]), Layer(jnp.asarray(w2), zeros[1]))
    rate = (Layer(jnp.asarray(d1), zeros[0]), Layer(jnp.asarray(d2), zeros[1]))
    apply, loss = mlp(ACTIVATIONS["identity"]), SquaredError(jnp.ones(2))
    np.testing.assert_allclose(leading_coefficient(loss, ray(apply, net, rate, jnp.asarray(x))), leading, rtol=1e-11)
    found = inner_product(apply, loss, net, rate, jnp.asarray(x), eps)
    scale = eps * leading + eps**2 * abs(second)
    np.testing.assert_allclose(found, eps * leading + eps**2 * second, atol=1e-9 * scale, rtol=0)


def _rational_net(seed, widths=(2, 3, 2)):
    """Integers over small denominators: exact in binary, so JAX sees the very same numbers."""
    rng = np.random.default_rng(seed)
    draw = lambda n: tuple(Fraction(int(v), 4) for v in rng.integers(-8, 9, size=n))  # noqa: E731
    return tuple((tuple(draw(m) for _ in range(n)), draw(m)) for n, m in itertools.pairwise(widths))


def _as_arrays(net):
    floats = [([[float(v) for v in row] for row in weight], [float(v) for v in bias]) for weight, bias in net]
    return tuple(Layer(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in floats)


@few
@given(seed=st.integers(0, 10**6), k=st.integers(0, 8))
def test_e3_rational_arithmetic_agrees_and_the_coefficient_is_exact(seed, k):
    net, rate = _rational_net(seed), _rational_net(seed + 1)
    inputs = tuple(part for weight, _ in _rational_net(seed + 2, (3, 2)) for part in weight)
    weights = (Fraction(1, 2), Fraction(3))
    phi = exact_inner_product(net, rate, inputs, weights)
    assert phi[0] == 0
    assert phi[1] == exact_leading_coefficient(net, rate, inputs, weights)  # equality of fractions, no tolerance
    assert phi[1] > 0
    x, loss = jnp.asarray([[float(v) for v in row] for row in inputs]), SquaredError(jnp.asarray([0.5, 3.0]))
    apply, arrays = mlp(ACTIVATIONS["square"]), (_as_arrays(net), _as_arrays(rate))
    np.testing.assert_allclose(leading_coefficient(loss, ray(apply, *arrays, x)), float(phi[1]), rtol=1e-12)
    eps = Fraction(1, 2**k)
    size = sum(abs(float(c)) * float(eps) ** i for i, c in enumerate(phi))
    found = inner_product(apply, loss, *arrays, x, float(eps))
    assert abs(float(found) - float(evaluate(phi, eps))) <= 1e-11 * size


def test_e3_one_hand_computed_fraction():
    """F = v s^2, s = w x + b, at w = 1/2, b = 1, v = 3, x = 1, d = (1, -1/3, 2): u = 2 v s (x - 1/3) + 2 s^2."""
    net = ((((Fraction(1, 2),),), (Fraction(1),)), (((Fraction(3),),), (Fraction(0),)))
    rate = ((((Fraction(1),),), (Fraction(-1, 3),)), (((Fraction(2),),), (Fraction(0),)))
    u = 3 * 2 * Fraction(3, 2) * Fraction(2, 3) + 2 * Fraction(9, 4)
    assert u == Fraction(21, 2)
    found = exact_leading_coefficient(net, rate, ((Fraction(1),),), (Fraction(1),))
    assert found == 2 * u * u == Fraction(441, 2)
    gradient = output_gradients(net, (Fraction(1),))
    assert gradient == ((Fraction(9), Fraction(9), Fraction(9, 4), Fraction(1)),)


def test_e3_polynomials_add_multiply_and_evaluate():
    a, b = (Fraction(1), Fraction(2)), (Fraction(0), Fraction(1), Fraction(3))
    assert poly_add(a, b) == (1, 3, 3)
    assert poly_multiply(a, b) == (0, 1, 5, 6)
    assert evaluate(poly_multiply(a, b), Fraction(1, 2)) == Fraction(1, 2) + Fraction(5, 4) + Fraction(6, 8)
    net = _rational_net(0)
    assert unflatten(net, flatten(net)) == net


@pytest.mark.parametrize("seed", range(5))
def test_e3_guaranteed_sign_of_an_exact_polynomial(seed):
    """phi(eps) / eps >= A - sum |c_k| eps^(k-1): below the root of that, the exact sign is positive."""
    net, rate = _rational_net(seed), _rational_net(seed + 10)
    phi = exact_inner_product(net, rate, ((Fraction(1), Fraction(-1, 2)),), (Fraction(1), Fraction(1)))
    eps = Fraction(1)
    while phi[1] <= sum(abs(c) * eps ** (k - 1) for k, c in enumerate(phi) if k > 1):
        eps /= 2
    assert all(evaluate(phi, eps * Fraction(j, 8)) > 0 for j in range(1, 9))
