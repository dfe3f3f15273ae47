"""K student steps: what extends exactly, and what happens beyond (K1, K2, K3)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.problems import CASES, few, make_loss, model, problem, seeds
from theory import SquaredError, gauss_newton_product, leading_inner_product, student_displacement
from theory.multi_step import largest_eigenvalue, leading_displacement, spectral_factor
from theory.one_step import log_log_slope
from theory.trees import tree_dot, tree_norm, tree_step

RUNS = ((CASES[0], 2), (CASES[1], 3))  # each compiles once, for K1 and K2
runs = st.sampled_from(RUNS)


@partial(jax.jit, static_argnums=(0, 3))
def _run(case, loss, drawn, steps, alpha, split):
    """Products over eps and gaps to the first-order law at two eps, and that law; `split` changes the half-batch."""
    apply, batch = model(case), (drawn.inputs.shape[0] + 1) // 2
    rolled = [jnp.where(split, jnp.roll(drawn.inputs, k, axis=0), drawn.inputs) for k in range(steps)]
    halves = jnp.stack([x[:batch] for x in rolled])
    key = jax.random.key(0, impl="unsafe_rbg")
    sharpness = jax.lax.map(lambda h: largest_eigenvalue(apply, loss, drawn.params, h, key=key), halves)
    rate = 2 * alpha / jnp.max(sharpness)
    limit = leading_displacement(apply, loss, drawn.params, drawn.direction, list(halves), alpha=rate)

    def gap(eps):
        moved = student_displacement(apply, loss, drawn.params, drawn.direction, list(halves), eps, alpha=rate)
        return tree_dot(moved, drawn.direction) / eps, tree_norm(tree_step(moved, -eps, limit))

    return *jax.lax.map(gap, jnp.asarray([2.0**-12, 2.0**-14])), limit


@few
@given(run=runs, seed=seeds, share=st.sampled_from((0.1, 0.5, 0.9)))
def test_k1_k_steps_follow_the_spectral_formula_to_first_order(run, seed, share):
    case, steps = run
    loss, drawn = make_loss(case, 0, 1.0), problem(case.shape, seed)
    products, gaps, limit = _run(case, loss, drawn, steps, share, False)
    leading = float(tree_dot(limit, drawn.direction))
    assert leading > 0
    assert products[1] > 0
    # theta_K - theta = eps * limit + O(eps^2): the gap falls 16-fold when eps falls 4-fold
    assert 14 < float(gaps[0] / gaps[1]) < 18


@few
@given(seed=seeds, steps=st.integers(1, 6), share=st.sampled_from((0.05, 0.5, 0.95)))
def test_k1_quadratic_case_is_exact_and_needs_alpha_below_two_over_lambda(seed, steps, share):
    """Linear model, squared error: the formula holds at every eps, and its sign is that of 1 - (1 - alpha lambda)^K."""
    rng = np.random.default_rng(seed)
    phi, theta, d = rng.normal(size=(5, 2, 4)), rng.normal(size=4), rng.normal(size=4)
    gram = 2 * np.einsum("bip,biq->pq", phi, phi) / 5
    values, vectors = np.linalg.eigh(gram)
    alpha = 2 * share / values[-1]
    expected = 0.5 * vectors @ np.diag(1 - (1 - alpha * values) ** steps) @ vectors.T @ d
    apply = lambda p, x: jnp.einsum("bip,p->bi", x, p)  # noqa: E731
    args = (apply, SquaredError(jnp.ones(2)), jnp.asarray(theta), jnp.asarray(d), [jnp.asarray(phi)] * steps)
    moved = student_displacement(*args, 0.5, alpha=alpha)
    np.testing.assert_allclose(moved, expected, atol=1e-11)
    np.testing.assert_allclose(leading_inner_product(*args, alpha=alpha), 2 * d @ expected, atol=1e-10)
    assert d @ expected > 0
    top = jnp.asarray(values[-1])
    np.testing.assert_allclose(
        largest_eigenvalue(*args[:3], jnp.asarray(phi), key=jax.random.key(1), iterations=200), top, rtol=0.02
    )


def test_k1_odd_counts_keep_the_sign_at_any_learning_rate_and_even_ones_lose_it():
    eigenvalue = jnp.asarray(1.0)
    for steps in (1, 3, 5):
        assert all(spectral_factor(a, eigenvalue, steps) > 0 for a in (0.1, 1.9, 2.1, 10.0))
    for steps in (2, 4):
        assert all(spectral_factor(a, eigenvalue, steps) > 0 for a in (0.1, 1.9))
        assert all(spectral_factor(a, eigenvalue, steps) < 0 for a in (2.1, 10.0))
        assert spectral_factor(2.0, eigenvalue, steps) == 0
    with pytest.raises(ValueError, match="got 0"):
        spectral_factor(1.0, eigenvalue, 0)


@few
@given(run=runs, seed=seeds, share=st.sampled_from((0.3, 0.95)))
def test_k2_different_minibatches_keep_the_sign(run, seed, share):
    case, steps = run
    loss, drawn = make_loss(case, 0, 1.0), problem(case.shape, seed)
    products, gaps, limit = _run(case, loss, drawn, steps, share, True)
    leading = float(tree_dot(limit, drawn.direction))
    assert leading > 0
    assert leading >= float(tree_norm(limit)) ** 2 / 2 - 1e-12  # K2's quantitative form
    assert products[1] > 0
    assert 14 < float(gaps[0] / gaps[1]) < 18


def test_k2_products_of_different_batches_are_not_symmetric():
    """What K2 loses against K1: the map d -> displacement is no longer symmetric, so its spectrum says nothing."""
    case = CASES[0]
    drawn, apply, loss = problem(case.shape, 0), model(case), make_loss(case, 0, 1.0)
    batches = [drawn.inputs[:4], drawn.inputs[4:]]
    other = jax.tree.map(lambda p: jnp.cos(3 * p), drawn.params)
    one = leading_displacement(apply, loss, drawn.params, drawn.direction, batches, alpha=0.1)
    two = leading_displacement(apply, loss, drawn.params, other, batches, alpha=0.1)
    assert abs(float(tree_dot(one, other) - tree_dot(two, drawn.direction))) > 1e-3
    same = [drawn.inputs[:4]] * 2
    one = leading_displacement(apply, loss, drawn.params, drawn.direction, same, alpha=0.1)
    two = leading_displacement(apply, loss, drawn.params, other, same, alpha=0.1)
    np.testing.assert_allclose(tree_dot(one, other), tree_dot(two, drawn.direction), rtol=1e-10)


def test_k3_two_steps_turn_negative_just_above_the_limit():
    """Beyond alpha lambda = 2 the sign fails already for one parameter and two steps: 1 - (1 - 2.2)^2 < 0."""
    apply = lambda p, x: p * x[:, None]  # noqa: E731
    args = (apply, SquaredError(jnp.ones(1)), jnp.asarray(0.3), jnp.asarray(1.0), [jnp.ones(1)] * 2)
    np.testing.assert_allclose(student_displacement(*args, 1.0, alpha=1.1), 1 - 1.2**2, rtol=1e-12)
    np.testing.assert_allclose(leading_inner_product(*args, alpha=1.1), 1 - 1.2**2, rtol=1e-12)


def test_k3_odd_counts_fail_too_once_batches_differ():
    """Rates alpha lambda of 0.2, 3.2, 3.2: 1 - 0.8 * 2.2^2 < 0; three steps on one batch are safe at any rate."""
    apply = lambda p, x: p * x[:, None]  # noqa: E731
    gentle, harsh = jnp.full(1, 0.5), jnp.full(1, 2.0)
    args = (apply, SquaredError(jnp.ones(1)), jnp.asarray(0.3), jnp.asarray(1.0))
    found = student_displacement(*args, [gentle, harsh, harsh], 1.0, alpha=0.4)
    np.testing.assert_allclose(found, 1 - 0.8 * 2.2**2, rtol=1e-12)
    assert found < 0
    assert student_displacement(*args, [harsh] * 3, 1.0, alpha=0.4) > 0


def test_k3_the_first_order_law_degrades_with_eps_not_with_the_sign_at_once():
    case = CASES[0]
    drawn, apply, loss = problem(case.shape, 2), model(case), make_loss(case, 0, 1.0)
    batches = [drawn.inputs] * 8
    eps = [2.0**-k for k in (14, 12, 10, 8)]
    leading = leading_inner_product(apply, loss, *drawn[:2], batches, alpha=0.1)
    run = jax.jit(
        lambda e: tree_dot(student_displacement(apply, loss, *drawn[:2], batches, e, alpha=0.1), drawn.direction)
    )
    found = jnp.stack([run(e) for e in eps])
    errors = found - jnp.asarray(eps) * leading
    assert abs(float(log_log_slope(jnp.asarray(eps), errors, 1e-15).value) - 2) < 0.1
    assert bool(jnp.all(found > 0))


def test_k1_gauss_newton_product_is_symmetric_and_gives_the_leading_coefficient():
    case = CASES[1]
    drawn, apply, loss = problem(case.shape, 4), model(case), make_loss(case, 0, 1.0)
    other = jax.tree.map(lambda p: jnp.sin(5 * p), drawn.params)
    push = jax.jit(lambda v: gauss_newton_product(apply, loss, drawn.params, drawn.inputs, v))
    np.testing.assert_allclose(
        tree_dot(push(drawn.direction), other), tree_dot(push(other), drawn.direction), rtol=1e-10
    )
