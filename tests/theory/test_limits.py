"""Where nothing is carried at all, and where too long a student step undoes the descent (C1, C2, C6)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.problems import few, seeds
from theory import (
    ACTIVATIONS,
    SquaredError,
    init_mlp,
    inner_product,
    kl_divergence,
    mlp,
    observe,
    softmax_cross_entropy,
    squared_error,
    student_step,
    teacher_direction,
)
from theory.one_step import descent
from theory.random_problems import unrelated_loss

CLASSES = 3


def _split_problem(widths, activation, seed):
    """A teacher trained on class logits only, a student that imitates auxiliary logits only, on other inputs."""
    keys = jax.random.split(jax.random.key(seed, impl="unsafe_rbg"), 4)
    apply = mlp(ACTIVATIONS[activation])
    params = init_mlp(widths, key=keys[0])
    inputs, other = (jax.random.normal(k, (6, widths[0])) for k in keys[1:3])
    labels = jax.nn.one_hot(jax.random.randint(keys[3], (6,), 0, CLASSES), CLASSES, dtype=inputs.dtype)
    trait = unrelated_loss(lambda p, x: apply(p, x)[:, :CLASSES], other, labels)
    return apply, params, trait, inputs


@partial(jax.jit, static_argnums=(0, 1))
def _measure(widths, activation, loss, seed, eps):
    """Everything below looks at: the product, A, both steps, the change of the teacher's loss, the certificate."""
    apply, params, trait, inputs = _split_problem(widths, activation, seed)
    direction = teacher_direction(trait, params)
    step = student_step(apply, loss, params, direction, inputs, eps)
    seen = observe(apply, loss, params, direction, inputs, jnp.asarray([2.0**-12, 2.0**-10]))
    product = inner_product(apply, loss, params, direction, inputs, eps)
    return product, direction, step, descent(trait, params, step, 1.0), seen


AUXILIARY_ONLY = softmax_cross_entropy(1.0, (3, 4))


@few
@given(seed=seeds, eps=st.integers(-4, 10).map(lambda k: 2.0**-k))
def test_c1_one_linear_layer_carries_nothing(seed, eps):
    product, direction, step, change, seen = _measure((4, 5), "identity", AUXILIARY_ONLY, seed, eps)
    assert product == 0.0
    assert not np.any(np.asarray(step[0].weight)[:, :CLASSES])  # class columns get exactly no gradient
    assert abs(float(change)) < 1e-15  # the same parameters, compiled twice
    assert seen.vacuous
    assert float(jnp.sum(direction[0].weight ** 2)) > 0  # the teacher did learn


@few
@given(seed=seeds)
def test_c1_two_linear_layers_do_carry(seed):
    product, _, _, change, seen = _measure((4, 6, 5), "identity", AUXILIARY_ONLY, seed, 2.0**-10)
    assert seen.leading > 0
    assert not seen.vacuous
    assert product > 0
    assert change < 0


@few
@given(seed=seeds, eps=st.integers(-4, 10).map(lambda k: 2.0**-k))
def test_c2_one_auxiliary_logit_carries_nothing_under_softmax_but_does_under_squared_error(seed, eps):
    single = kl_divergence(1.0, (3,))
    product, _, _, _, seen = _measure((4, 6, CLASSES + 1), "tanh", single, seed, eps)
    assert product == 0.0
    assert seen.vacuous
    _, _, _, _, seen = _measure((4, 6, CLASSES + 1), "tanh", squared_error([0.0, 0.0, 0.0, 1.0]), seed, eps)
    assert not seen.vacuous
    assert bool(jnp.all(seen.inner_products > 0))


def test_c2_softmax_ignores_what_all_logits_share():
    """A teacher that adds the same amount to every logit is invisible: A is zero, and the report says vacuous."""
    apply, params, _, inputs = _split_problem((4, 6, CLASSES), "tanh", 0)
    shift = jax.tree.map(jnp.zeros_like, params)
    shift = (*shift[:-1], shift[-1]._replace(bias=jnp.ones(CLASSES)))
    see = jax.jit(lambda *at: observe(apply, softmax_cross_entropy(), *at, jnp.asarray([2.0**-8, 1.0])))
    seen = see(params, shift, inputs)
    assert seen.vacuous
    np.testing.assert_allclose(seen.inner_products, jnp.zeros(2), atol=1e-15)


@few
@given(seed=seeds, eps=st.integers(0, 8).map(lambda k: 2.0**-k))
def test_c6_too_long_a_student_step_undoes_the_descent_at_the_predicted_length(seed, eps):
    """Linear model, L_T = theta' H theta / 2: the change is -eps a A + (eps a)^2 (Gd)' H (Gd) / 2 exactly."""
    rng = np.random.default_rng(seed)
    phi, theta, root = rng.normal(size=(6, 2, 4)), rng.normal(size=4), rng.normal(size=(4, 4))
    hessian = root @ root.T
    gram = 2 * np.einsum("bip,biq->pq", phi, phi) / 6
    d = -hessian @ theta
    step = gram @ d
    turning = 2 * (d @ step) / (step @ hessian @ step) / eps  # alpha at which descent becomes ascent
    apply = lambda p, x: jnp.einsum("bip,p->bi", x, p)  # noqa: E731
    trait = lambda p: p @ jnp.asarray(hessian) @ p / 2  # noqa: E731
    params = jnp.asarray(theta)
    taken = student_step(apply, SquaredError(jnp.ones(2)), params, jnp.asarray(d), jnp.asarray(phi), eps)
    assert descent(trait, params, taken, 0.99 * turning) < 0
    assert descent(trait, params, taken, 1.01 * turning) > 0
