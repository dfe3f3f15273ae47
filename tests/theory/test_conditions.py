"""The three sufficient conditions on the imitation loss, and losses that break them (R2, R3, C3)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.problems import CASES, few, make_loss, model, problem, seeds, temperatures, weight_sets
from theory import (
    check_imitation_loss,
    inner_product,
    kl_divergence,
    leading_coefficient,
    mlp,
    ray,
    softmax_cross_entropy,
    squared_error,
)
from theory.one_step import mixed_matrix


@settings(few, max_examples=5)
@given(case=st.sampled_from((CASES[0], CASES[2], CASES[3])), weights=weight_sets, temperature=temperatures)
def test_r2_the_four_losses_meet_all_conditions(case, weights, temperature):
    report = check_imitation_loss(make_loss(case, weights, temperature), case.shape.widths[-1])
    assert report.holds, str(report)
    assert report.failed == ()


def _negated(z, y):
    return -jnp.sum((z - y) ** 2)


def _mirrored(z, y):
    return jnp.sum((z + y) ** 2)


def _rotating(z, y):
    return z[0] * y[1] - z[1] * y[0] + jnp.sum((z - y) ** 2)


def _quartic(z, y):
    return jnp.sum((z - y) ** 4)


def _bent(z, y):
    """`e1^4 + 2 e1^2 e2 + 1.5 e2^2` with `e = z - y`: a strict minimum at z = y, but the null space of M bends."""
    e = z - y
    return e[0] ** 4 + 2 * e[0] ** 2 * e[1] + 1.5 * e[1] ** 2


def _tilted(z, y):
    """`M = diag(1, 0)` everywhere, but the gradient has a part along the null vector: the minimum is not at z = y."""
    return (z[0] - y[0]) ** 2 / 2 + z[1] * jnp.sin(y[1]) * 0 + z[1]


def _valley(z, y):
    """`(psi(z) - psi(y))^2` with a curved `psi`: a minimum at z = y whose flat direction turns with y."""
    psi = lambda v: v[0] + v[1] ** 2  # noqa: E731
    return (psi(z) - psi(y)) ** 2


BROKEN = (
    (_negated, {"minimum", "positive"}),
    (_mirrored, {"minimum", "positive"}),
    (_rotating, {"minimum", "positive"}),
    (_quartic, {"null_space"}),
    (_bent, {"positive", "null_space"}),
    (_tilted, {"minimum", "null_space"}),
    (_valley, {"positive", "null_space"}),
)


@pytest.mark.parametrize(("loss", "broken"), BROKEN, ids=lambda v: getattr(v, "__name__", ""))
def test_r2_checker_names_what_fails_and_shows_a_witness(loss, broken):
    report = check_imitation_loss(loss, 2)
    assert set(report.failed) == broken
    for condition in report.conditions:
        assert (condition.witness == {}) == condition.holds
        assert condition.name in str(report)
    assert report.to_dict()["failed"] == list(report.failed)


def test_r2_witness_really_violates_its_condition():
    condition = check_imitation_loss(_mirrored, 2).conditions[1]
    z, y, v = (jnp.asarray(condition.witness[name]) for name in ("z", "y", "v"))
    matrix = mixed_matrix(_mirrored, z, y)
    np.testing.assert_allclose(v @ matrix @ v, condition.witness["vMv"], rtol=1e-12)
    assert v @ matrix @ v < 0


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_r2_verdict_ignores_the_scale_of_the_loss(factor):
    assert check_imitation_loss(lambda z, y: factor * jnp.sum((z - y) ** 2), 3).holds
    assert not check_imitation_loss(lambda z, y: factor * _bent(z, y), 2).holds


def test_r2_checker_refuses_nonsense():
    with pytest.raises(ValueError, match="got 0, 64"):
        check_imitation_loss(_quartic, 0)
    with jax.enable_x64(False), pytest.raises(TypeError, match="float32"):
        check_imitation_loss(_quartic, 2)


@few
@given(case=st.sampled_from(CASES[:2]), seed=seeds)
def test_r2_a_loss_of_ones_own_obeys_the_lemma(case, seed):
    leading, product = _under_bregman(case.shape, problem(case.shape, seed), 2.0**-12)
    assert leading > 0
    assert abs(float(product / (2.0**-12 * leading)) - 1) < 0.05


def test_r2_a_loss_of_ones_own_is_recognised():
    assert check_imitation_loss(_bregman, 3).holds


def _bregman(z, y):
    """A Bregman divergence, none of the four: `F(z) - <grad F(y), z>` with `F = sum log cosh + z^2/4`."""
    potential = lambda v: jnp.sum(jnp.logaddexp(v, -v) + v**2 / 4)  # noqa: E731
    return potential(z) - jnp.sum(jax.grad(potential)(y) * z)


@partial(jax.jit, static_argnums=0)
def _under_bregman(shape, drawn, eps):
    apply = mlp(shape.hidden)
    return leading_coefficient(_bregman, ray(apply, *drawn)), inner_product(apply, _bregman, *drawn, eps)


@pytest.mark.parametrize(
    "loss", [squared_error([0.0, 1.0, 2.0]), softmax_cross_entropy(0.7), kl_divergence(2.0, (0, 2))]
)
@pytest.mark.parametrize("seed", [0])
def test_r3_mixed_derivative_is_the_hessian_at_the_minimum(loss, seed):
    y = jax.random.normal(jax.random.key(seed), (3,))
    hessian = jax.hessian(loss)(y, y)
    np.testing.assert_allclose(mixed_matrix(loss, y, y), hessian, atol=1e-12)
    np.testing.assert_allclose(jax.grad(loss)(y, y), jnp.zeros(3), atol=1e-14)
    assert jnp.linalg.eigvalsh(hessian)[0] > -1e-14
    assert jnp.linalg.eigvalsh(hessian)[-1] > 0.01


def test_r3_quartic_shows_it_needs_only_the_minimum():
    """Condition (i) alone makes M at z = y the Hessian: symmetric PSD there, though not elsewhere."""
    y = jnp.asarray([0.3, -0.8])
    np.testing.assert_allclose(mixed_matrix(_bent, y, y), jnp.diag(jnp.asarray([0.0, 3.0])), atol=1e-14)


@few
@given(k=st.integers(2, 14))
def test_c3_bent_null_space_turns_the_inner_product_negative(k):
    """f(theta) = (theta, 2 theta^2) at 0, d = 1: phi = eps^3 (4 - 8), with A = 0 and a loss minimal at z = y."""
    eps = 2.0**-k
    leading, product = _bent_product(eps)
    assert leading == 0
    np.testing.assert_allclose(product, -4 * eps**3, rtol=1e-12)


@jax.jit
def _bent_product(eps):
    apply = lambda p, x: jnp.stack([p * x, 2 * (p * x) ** 2], axis=1)  # noqa: E731
    at = (jnp.zeros(()), jnp.ones(()), jnp.ones(1))
    return leading_coefficient(_bent, ray(apply, *at)), inner_product(apply, _bent, *at, eps)


@pytest.mark.parametrize("loss", [_negated, _mirrored], ids=["negated", "mirrored"])
@pytest.mark.parametrize("case", CASES[1:2], ids=lambda c: c.shape.activation)
def test_c3_losses_without_a_minimum_give_negative_inner_products(case, loss):
    drawn, apply = problem(case.shape, 3), model(case)
    measure = lambda d: (leading_coefficient(loss, ray(apply, *d)), inner_product(apply, loss, *d, 2.0**-10))  # noqa: E731
    leading, product = jax.jit(measure)(drawn)
    assert leading < 0
    if loss is _negated:  # the mirrored loss has a gradient at eps = 0, whatever its sign
        assert product < 0
