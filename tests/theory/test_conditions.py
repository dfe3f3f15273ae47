"""The three sufficient conditions on the imitation loss, and losses that break them (R2, R3, C3)."""

from fractions import Fraction
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
from theory.conditions import check_loss_at
from theory.one_step import mixed_matrix


@settings(few, max_examples=3)
@given(case=st.sampled_from((CASES[0], CASES[2], CASES[3])), weights=weight_sets, temperature=temperatures)
def test_r2_the_four_losses_meet_all_conditions(case, weights, temperature):
    report = check_imitation_loss(make_loss(case, weights, temperature), case.shape.widths[-1])
    assert report.holds, str(report)
    assert report.failed == ()


SATURATED = (  # losses that the theorem covers
    softmax_cross_entropy(),
    softmax_cross_entropy(indices=(3, 4)),
    kl_divergence(temperature=0.3, indices=(0, 1)),
)


@pytest.mark.parametrize("loss", SATURATED, ids=str)
def test_r2_saturated_outputs_are_no_violation(loss, optimized):
    """The teacher's outputs at the end of the grid are in the thousands, and gradients there e^-400.

    Round-off, which must not be judged, is other than 0 in programs that are optimized.
    """
    for key in range(4):
        z, y = (jax.random.normal(k, (32, 5)) for k in jax.random.split(jax.random.key(key)))
        far = jnp.concatenate([z, 2000 * z]), jnp.concatenate([2000 * y, 1400 * y])
        report = check_loss_at(loss, *far)
        assert report.failed == (), str(report)


def test_r2_gradients_that_are_round_off_are_no_violation():
    """A student that says what its teacher says has a gradient of 1e-17 in any direction."""
    z, y = (jax.random.normal(k, (32, 5)) for k in jax.random.split(jax.random.key(0)))
    report = check_loss_at(softmax_cross_entropy(), jnp.concatenate([z, 3 * z]), jnp.concatenate([y, 3 * z]))
    assert report.failed == (), str(report)


def test_r2_a_loss_that_is_always_zero_breaks_no_condition():
    """One logit under softmax says nothing, whatever it is: its gradient is 0 and not 0 / 0."""
    z, y = (jax.random.normal(k, (32, 5)) for k in jax.random.split(jax.random.key(0)))
    report = check_loss_at(softmax_cross_entropy(indices=(3,)), z, y)
    assert report.failed == (), str(report)


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


def _jensen_shannon(z, y):
    logs = [jax.nn.log_softmax(v) for v in (z, y)]
    middle = jnp.logaddexp(*logs) - jnp.log(2.0)
    return sum(jnp.sum(jnp.exp(log) * (log - middle)) for log in logs)


def _brier(z, y):
    return jnp.sum((jax.nn.softmax(z) - jax.nn.softmax(y)) ** 2)


def _cosine(z, y):
    return 1 - z @ y / jnp.sqrt((z @ z) * (y @ y))


def _huber(z, y):
    e = jnp.abs(z - y)
    return jnp.sum(jnp.where(e < 0.3, e**2 / 2, 0.3 * e - 0.045))


def _convex(z, y):
    """`Psi(a, b) = 4 a^6 + 4 b^4 + b^2 (2 - a + 4 a^2)` of `y - z`: (i) and (ii) hold everywhere, (iii') does not."""
    a, b = y[0] - z[0], y[1] - z[1]
    return 4 * a**6 + 4 * b**4 + b**2 * (2 - a + 4 * a**2)


BROKEN = (
    (_negated, {"minimum", "positive"}),
    (_mirrored, {"minimum", "positive"}),
    (_rotating, {"minimum", "positive"}),
    (_quartic, {"null_space"}),
    (_bent, {"positive", "null_space"}),
    (_tilted, {"minimum", "null_space"}),
    (_valley, {"positive"}),
    (_convex, {"null_space"}),
    (_jensen_shannon, set()),  # with more than two logits it is not positive off the diagonal
    (_brier, set()),
    (_cosine, {"positive"}),
    (_huber, set()),
)


@pytest.mark.parametrize(("loss", "broken"), BROKEN, ids=lambda v: getattr(v, "__name__", ""))
def test_r2_checker_names_what_fails_and_shows_a_witness(loss, broken):
    report = check_imitation_loss(loss, 2)
    assert set(report.failed) == broken
    for condition in report.conditions:
        assert (condition.witness == {}) == condition.holds
        assert condition.name in str(report)
    assert report.to_dict()["failed"] == list(report.failed)
    assert report.holds == (not broken & {"minimum", "null_space"})
    assert ("T2" in report.lost) == (not report.holds)
    assert ("L1" in report.lost) == ("minimum" in broken)


@pytest.mark.parametrize(("temperature", "scale"), [(1.0, 5.0), (0.2, 1.0), (1.0, 1e5)])
def test_r2_saturated_softmax_is_not_called_a_failure(temperature, scale):
    report = check_imitation_loss(softmax_cross_entropy(temperature), 10, scale=scale)
    assert report.failed == (), str(report)


def test_r2_one_slightly_negative_direction_among_many_is_found():
    """A nudge in a random direction does not see it, the Hessian does."""
    dented = lambda z, y: jnp.sum((z - y)[1:] ** 2) - 0.01 * (z - y)[0] ** 2  # noqa: E731
    assert "minimum" in check_imitation_loss(dented, 8, samples=8).failed


def test_r2_a_loss_that_is_bad_only_at_large_outputs_is_found_there():
    clipped = lambda z, y: jnp.sum((z - jnp.clip(y, -100.0, 100.0)) ** 2)  # noqa: E731
    assert check_imitation_loss(clipped, 3).holds
    assert check_imitation_loss(clipped, 3, scale=1e3).failed == ("minimum",)


@pytest.mark.parametrize("loss", [_jensen_shannon, _brier, _cosine, _valley], ids=lambda v: v.__name__)
def test_t2_the_sharp_condition_gives_exactly_zero(loss):
    """A = 0 along what M(z, z) kills, and phi is zero at every eps, on a curve that only starts along it."""
    z = jnp.asarray([0.3, -0.8])
    if loss is _cosine:
        v, curve = z, lambda t: (1 + t) * z  # lengths are invisible
    elif loss is _valley:
        v, curve = jnp.asarray([1.6, 1.0]), lambda t: z + t * jnp.asarray([1.6, 1.0]) - t**2 * jnp.asarray([1.0, 0.0])
    else:
        v, curve = jnp.ones(2), lambda t: z + t  # softmax sees no common shift
    np.testing.assert_allclose(mixed_matrix(loss, z, z) @ v, jnp.zeros(2), atol=1e-12)
    for t in (0.01, 0.5, 3.0):
        assert abs(float(jax.grad(loss)(z, curve(t)) @ v)) < 1e-12


@pytest.mark.parametrize("loss", [_quartic, _bent, _convex], ids=lambda v: v.__name__)
def test_t2_without_the_sharp_condition_some_network_turns_negative(loss):
    """`f = z + t v + t^2 (y - z - v)` has `A = 0` and `phi(1) = -<dL/dz(z, y), v>`: the condition is necessary."""
    condition = check_imitation_loss(loss, 2).conditions[2]
    z, y, v = (jnp.asarray(condition.witness[name]) for name in ("z", "y", "v"))
    v = v * jnp.sign(jax.grad(loss)(z, y) @ v)
    apply = lambda p, x: x * (z + p * v + p**2 * (y - z - v))[None, :]  # noqa: E731
    at = (jnp.zeros(()), jnp.ones(()), jnp.ones((1, 1)))
    assert abs(float(leading_coefficient(loss, ray(apply, *at)))) < 1e-9
    product = inner_product(apply, loss, *at, 1.0)
    np.testing.assert_allclose(product, -jax.grad(loss)(z, y) @ v, rtol=1e-9)
    assert product < 0


def test_t2_needs_the_minimum_besides_the_null_space():
    """`L = -z0 y0 + z1 y1` has an invertible M, so (iii') holds; A = 0 along (1, 1), and phi is negative there."""
    loss = lambda z, y: -z[0] * y[0] + z[1] * y[1]  # noqa: E731
    apply = lambda p, x: x * jnp.stack([p, p + 2 + p**2])[None, :]  # noqa: E731
    at = (jnp.zeros(()), jnp.ones(()), jnp.ones((1, 1)))
    report = check_imitation_loss(loss, 2)
    assert set(report.failed) == {"minimum", "positive"}
    assert leading_coefficient(loss, ray(apply, *at)) == 0
    assert inner_product(apply, loss, *at, 0.5) < 0


def test_c3_two_conditions_do_not_suffice():
    """The convex loss in exact fractions: its Hessian is positive off the origin, and phi = -4 eps^4 + 56 eps^5."""
    rng = np.random.default_rng(0)
    for a, b in rng.integers(-30, 31, (60, 2)):
        a, b = Fraction(int(a), 10), Fraction(int(b), 10)
        h11, h12, h22 = 120 * a**4 + 8 * b**2, b * (16 * a - 2), 48 * b**2 + 4 - 2 * a + 8 * a**2
        squares = 5760 * (a**2 - Fraction(1, 48)) ** 2 + 48 * (a + Fraction(1, 2)) ** 2 + Fraction(27, 2)
        assert h11 * h22 - h12**2 == b**2 * squares + 384 * b**4 + 120 * a**4 * (4 - 2 * a + 8 * a**2)
        assert (h11 > 0 and h22 > 0 and h11 * h22 > h12**2) or (a, b) == (0, 0) or (b == 0 and h11 * h22 > 0)
        found = jax.hessian(_convex)(jnp.zeros(2), jnp.asarray([float(a), float(b)]))
        np.testing.assert_allclose(found, [[float(h11), float(h12)], [float(h12), float(h22)]], rtol=1e-9, atol=1e-9)
    apply = lambda p, x: x * jnp.stack([p, 2 * p**2])[None, :]  # noqa: E731
    at = (jnp.zeros(()), jnp.ones(()), jnp.ones((1, 1)))
    assert leading_coefficient(_convex, ray(apply, *at)) == 0
    for eps in (2.0**-10, 2.0**-6, 1 / 14.5):
        product = inner_product(apply, _convex, *at, eps)
        np.testing.assert_allclose(product, -4 * eps**4 + 56 * eps**5, rtol=1e-9)
        assert product < 0


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
