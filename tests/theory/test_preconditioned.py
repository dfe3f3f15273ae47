"""Adam and sign steps: an explicit counter-example, how often it happens, and what a shared metric saves (P1, P2)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.problems import CASES, few, make_loss, model, problem, seeds
from theory import SquaredError, gauss_newton_product, inner_product, random_problem, student_step, teacher_direction
from theory.one_step import descent
from theory.preconditioned import (
    COUNTER_EXAMPLE_DIRECTION,
    COUNTER_EXAMPLE_FEATURES,
    first_adam_step,
    linear_readout,
    metric_inner_product,
    precondition,
    sign_step,
)
from theory.random_problems import random_direction
from theory.trees import tree_dot


@few
@given(k=st.integers(-2, 12))
def test_p1_sign_and_adam_steps_point_away_from_the_teacher(k):
    x, d = jnp.asarray([COUNTER_EXAMPLE_FEATURES]), jnp.asarray(COUNTER_EXAMPLE_DIRECTION)
    loss, theta, eps = SquaredError(jnp.ones(1)), jnp.asarray([0.25, 0.5, -0.125]), 2.0**-k
    step = student_step(linear_readout, loss, theta, d, x, eps)
    np.testing.assert_allclose(step, eps * jnp.asarray([6.0, 2.0, 2.0]), rtol=1e-9)
    assert inner_product(linear_readout, loss, theta, d, x, eps) > 0
    assert tree_dot(sign_step(step), d) == -1
    np.testing.assert_allclose(tree_dot(first_adam_step(step), d), -1, atol=1e-3)
    trait = lambda p: -jnp.sum(p * d)  # noqa: E731 - the teacher loss whose gradient step, Adam step and direction are all d
    np.testing.assert_array_equal(sign_step(teacher_direction(trait, theta)), d)
    assert descent(trait, theta, step, 1.0) < 0  # plain gradient: learns the trait
    assert descent(trait, theta, sign_step(step), 0.1) > 0  # sign step: unlearns it


def test_p1_a_fixed_positive_diagonal_suffices_for_a_negative_sign():
    v, d = jnp.asarray(COUNTER_EXAMPLE_FEATURES), jnp.asarray(COUNTER_EXAMPLE_DIRECTION)
    scale = jnp.asarray([1 / 3, 1.0, 1.0])
    step = 2 * v * jnp.sum(v * d)
    assert tree_dot(step, d) == 2
    np.testing.assert_allclose(tree_dot(precondition(scale, step), d), -2, rtol=1e-12)


def test_p1_random_problems_violate_the_sign_sometimes_with_sign_steps_never_without():
    """Random directions on random MLPs with one student input: plain steps never, sign steps in a few per cent."""
    shape = CASES[0].shape.__class__((4, 6, 3), "tanh", 1)
    loss = SquaredError(jnp.ones(3))

    @jax.jit
    def products(key):
        drawn = random_problem(shape, key=key)
        d = random_direction(drawn.params, key=jax.random.fold_in(key, 9))
        step = student_step(model(CASES[0]), loss, drawn.params, d, drawn.inputs, 2.0**-12)
        return tree_dot(step, d), tree_dot(sign_step(step), d)

    plain, signed = jax.lax.map(products, jax.random.split(jax.random.key(0), 600))
    assert bool(jnp.all(plain > 0))
    assert 0.005 < float(jnp.mean(signed < 0)) < 0.4


@few
@given(case=st.sampled_from(CASES[:2]), seed=seeds)
def test_p2_a_shared_fixed_preconditioner_keeps_the_sign_in_its_own_metric(case, seed):
    """Teacher moves by P d, student by P dS: to first order the product is (P d)' G (P d) in the metric of P^-1."""
    in_metric, leading, change = _shared_metric(case, make_loss(case, 0, 1.0), problem(case.shape, seed), seed)
    assert leading > 0
    np.testing.assert_allclose(in_metric, 2.0**-14 * leading, rtol=0.02)  # + O(eps^2)
    np.testing.assert_allclose(change, -(2.0**-14) * leading, rtol=0.02)  # the teacher's loss falls by as much


@partial(jax.jit, static_argnums=0)
def _shared_metric(case, loss, drawn, seed):
    noise = random_direction(drawn.params, key=jax.random.key(seed, impl="unsafe_rbg"))
    scale = jax.tree.map(lambda g: jnp.exp(g / 2), noise)
    moved = precondition(scale, drawn.direction)
    step = precondition(scale, student_step(model(case), loss, drawn.params, moved, drawn.inputs, 2.0**-14))
    trait = lambda p: -tree_dot(p, drawn.direction)  # noqa: E731 - its gradient is -d
    pushed = gauss_newton_product(model(case), loss, drawn.params, drawn.inputs, moved)
    return metric_inner_product(scale, step, moved), tree_dot(moved, pushed), descent(trait, drawn.params, step, 1.0)
