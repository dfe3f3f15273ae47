"""What many steps can recover of a teacher, and the linearised student (S1, S7)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.problems import CASES, few, make_loss, model, problem, seeds
from theory import (
    SquaredError,
    gauss_newton_product,
    inner_product,
    leading_coefficient,
    linearised,
    ray,
    recovered_fraction,
    softmax_cross_entropy,
    student_displacement,
)
from theory.coverage import batched_product, rank_bound
from theory.multi_step import leading_displacement
from theory.trees import tree_dot, tree_norm, tree_step


def _linear(p, x):
    return jnp.einsum("bip,p->bi", x, p)


UNIT = SquaredError(jnp.ones(2))


@few
@given(seed=seeds, batches=st.integers(1, 3))
def test_s1_conjugate_gradients_find_the_projection_of_dense_algebra(seed, batches):
    """Matrix-free and batch by batch, against the pseudo-inverse; the K-step student tends to the same point."""
    rng = np.random.default_rng(seed)
    phi, d = rng.normal(size=(batches, 2, 2, 14)), rng.normal(size=14)
    rows = phi.reshape(-1, 14)
    gram = 2 * rows.T @ rows / (2 * batches)
    np.testing.assert_allclose(
        batched_product(_linear, UNIT, jnp.zeros(14), jnp.asarray(phi), jnp.asarray(d)), gram @ d, rtol=1e-10
    )
    projected = np.linalg.pinv(rows) @ rows @ d
    found = recovered_fraction(_linear, UNIT, jnp.zeros(14), jnp.asarray(phi), jnp.asarray(d), iterations=20)
    np.testing.assert_allclose(found.projection, projected, atol=1e-5)
    np.testing.assert_allclose(found.fraction, projected @ projected / (d @ d), atol=1e-5)
    assert found.residual < 1e-5
    assert found.fraction == found.fractions[-1] > found.fractions[0]
    assert np.linalg.matrix_rank(rows) == rank_bound(2 * batches, 2, softmax=False)
    powers = np.linalg.matrix_power(np.eye(14) - gram / np.linalg.eigvalsh(gram)[-1], 1 << 16)
    np.testing.assert_allclose(d - powers @ d, projected, atol=1e-6)


def test_s1_softmax_sees_one_dimension_less_per_input():
    rng = np.random.default_rng(0)
    x, p, loss = jnp.asarray(rng.normal(size=(2, 3, 9))), jnp.zeros(9), softmax_cross_entropy()
    gram = jnp.stack([gauss_newton_product(_linear, loss, p, x, v) for v in jnp.eye(9)])
    assert np.linalg.matrix_rank(np.asarray(gram), tol=1e-12) == rank_bound(2, 3, softmax=True) == 4
    one = jax.tree.map(lambda a: a[None], x)
    assert recovered_fraction(_linear, loss, p, one, gram @ jnp.ones(9), iterations=8).fraction > 1 - 1e-9
    with pytest.raises(ValueError, match="got 0"):
        recovered_fraction(_linear, loss, p, one, jnp.ones(9), iterations=0)


def _bent(p, x):
    return x * jnp.stack([p[0], p[0] * (1 + p[1])])[None, :]


@jax.jit
def _descend(eps, target, steps):
    """Gradient descent on `_bent`, alpha = 0.2, towards `eps target`."""
    y = _bent(eps * target, jnp.ones((1, 1)))
    loss = lambda p: jnp.sum((_bent(p, jnp.ones((1, 1))) - y) ** 2)  # noqa: E731
    return jax.lax.fori_loop(0, steps, lambda _, p: p - 0.2 * jax.grad(loss)(p), jnp.zeros(2)) / eps


def test_s1_without_full_rank_the_limits_do_not_commute():
    """F = (a, a (1 + b)): rank 1 of 2 at theta. Few steps recover P d = (1, 0); many, all of d = (1, 1)."""
    d, x = jnp.ones(2), jnp.ones((1, 1, 1))
    found = recovered_fraction(_bent, UNIT, jnp.zeros(2), x, d)
    np.testing.assert_allclose(found.projection, [1.0, 0.0], atol=1e-12)
    assert found.fraction == 0.5
    np.testing.assert_allclose(_descend(2.0**-4, d, 20), [1.0, 0.0], atol=0.1)
    np.testing.assert_allclose(_descend(2.0**-4, d, 40000), [1.0, 1.0], atol=0.01)


@partial(jax.jit, static_argnums=0)
def _uniform_gap(case, drawn, eps, steps):
    """The distance of a long student to `eps (I - (I - alpha G)^K) d` on one input, in units of eps."""
    loss, apply, x = make_loss(case, 0, 1.0), model(case), drawn.inputs[:1]
    y = apply(tree_step(drawn.params, eps, drawn.direction), x)
    objective = jax.grad(lambda p: jnp.mean(jax.vmap(loss)(apply(p, x), y)))

    def step(_, state):
        student, left = state
        pushed = gauss_newton_product(apply, loss, drawn.params, x, left)
        return tree_step(student, -0.02, objective(student)), tree_step(left, -0.02, pushed)

    student, left = jax.lax.fori_loop(0, steps, step, (drawn.params, drawn.direction))
    recovered = tree_step(drawn.direction, -1, left)
    return tree_norm(tree_step(tree_step(student, -1, drawn.params), -eps, recovered)) / eps


def test_s1_full_rank_makes_the_first_order_law_uniform_in_the_steps():
    drawn = problem(CASES[0].shape, 1)
    gaps = np.asarray([[_uniform_gap(CASES[0], drawn, e, k) for e in (2.0**-6, 2.0**-8)] for k in (8, 64, 512, 4096)])
    assert np.all(gaps[:, 0] / gaps[:, 1] > 3.5)  # O(eps) relative, at every number of steps
    assert gaps[-1, 0] < 1.05 * gaps[-2, 0]  # and the constant has stopped growing


@few
@given(seed=seeds, steps=st.integers(1, 5), eps=st.sampled_from((0.5, 8.0)))
def test_s7_the_linearised_student_is_exact_at_every_distance(seed, steps, eps):
    """K1 without a remainder under squared error; under softmax every step count approaches the teacher, at any eps."""
    drawn = problem(CASES[0].shape, seed)
    moved, law, reached, product = _lazy(drawn, eps, steps)
    np.testing.assert_allclose(tree_norm(tree_step(moved, -eps, law)), 0, atol=1e-9 * eps)
    assert tree_dot(reached, drawn.direction) * eps >= tree_dot(reached, reached) / 2 > 0
    assert product > 0


@partial(jax.jit, static_argnums=2)
def _lazy(drawn, eps, steps):
    apply = linearised(model(CASES[0]), drawn.params)
    batches = [drawn.inputs] * steps
    squared, soft = SquaredError(jnp.ones(3)), softmax_cross_entropy()
    moved = student_displacement(apply, squared, *drawn[:2], batches, eps, alpha=0.05)
    law = leading_displacement(apply, squared, *drawn[:2], batches, alpha=0.05)
    reached = student_displacement(apply, soft, *drawn[:2], batches, eps, alpha=0.05)
    return moved, law, reached, inner_product(apply, soft, *drawn, eps)


def test_s7_linearised_model_agrees_to_first_order_at_the_init():
    drawn, apply = problem(CASES[1].shape, 3), model(CASES[1])
    linear, loss = linearised(apply, drawn.params), softmax_cross_entropy()
    np.testing.assert_allclose(linear(drawn.params, drawn.inputs), apply(drawn.params, drawn.inputs), rtol=1e-12)
    np.testing.assert_allclose(
        leading_coefficient(loss, ray(linear, *drawn)), leading_coefficient(loss, ray(apply, *drawn)), rtol=1e-10
    )
