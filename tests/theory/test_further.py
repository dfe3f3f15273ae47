"""Beyond one small step: certified descent, long teachers, metrics, nearly shared inits, finite samples (S2-S6)."""

import re
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.problems import CASES, few, make_loss, model, problem, seeds
from theory import (
    ACTIVATIONS,
    Layer,
    MLPTeacher,
    SquaredError,
    certify,
    gauss_newton_product,
    inner_product,
    mlp,
    softmax_cross_entropy,
    student_step,
    teacher_direction,
)
from theory.descent import certified_product, step_box
from theory.intervals import Interval
from theory.multi_step import tolerated_mismatch, trait_change
from theory.one_step import descent
from theory.preconditioned import condition_number, largest_angle, precondition, tolerated_condition
from theory.random_problems import random_direction
from theory.sampling import inputs_needed, labels_needed, sampling_variance, soft_targets
from theory.trees import tree_cosine, tree_dot, tree_step


def _linear(p, x):
    return jnp.einsum("bip,p->bi", x, p)


UNIT = SquaredError(jnp.ones(2))


@few
@given(seed=seeds)
def test_s2_certified_product_is_exact_for_a_quadratic(seed):
    """One linear layer, squared errors: C6 says where descent ends, and the certificate reaches it."""
    rng = np.random.default_rng(seed)
    x, other, y, w = (jnp.asarray(rng.normal(size=s)) for s in ((4, 3), (5, 3), (5, 2), (3, 2)))
    found, turning = _quadratic_box(x, other, y, w)
    assert 0.99 * turning < found <= turning


@jax.jit
def _quadratic_box(x, other, y, w):
    net, loss = (Layer(w, jnp.zeros(2)),), SquaredError(jnp.ones(2))
    teacher = MLPTeacher(ACTIVATIONS["identity"], loss, other, y)
    d = teacher_direction(teacher, net)
    step = gauss_newton_product(mlp(ACTIVATIONS["identity"]), loss, net, x, d)
    bend = 2 * jnp.mean(jnp.sum((other @ step[0].weight + step[0].bias[None, :]) ** 2, axis=1))
    return certified_product(loss, net, d, x, teacher, 0.25), 2 * tree_dot(d, step) / bend


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_s2_step_box_is_the_backward_pass(name):
    """For a known force it is J' h / B, to rounding; for a box of forces it holds every one of them."""
    drawn, act = problem(CASES[0].shape, 0), ACTIVATIONS[name]
    force = jnp.cos(jnp.arange(24.0)).reshape(8, 3)
    (exact,) = jax.vjp(lambda p: mlp(act)(p, drawn.inputs), drawn.params)[1](force / 8)
    for radius, tight in ((0.0, 1e-12), (0.1, 1.0)):
        box = step_box(act, drawn.params, drawn.inputs, Interval(force - radius, force + radius))
        for part, values in zip([p for layer in box for p in layer], jax.tree.leaves(exact), strict=True):
            assert bool(jnp.all((part.lo <= values) & (values <= part.hi) & (part.hi - part.lo < tight)))


@few
@given(seed=seeds)
def test_s2_no_ascent_inside_the_certified_box(seed):
    product, changes, far = _boxed(seed)
    assert product > 2.0**-8  # not vacuous
    assert bool(jnp.all(changes < 0))
    assert far > 0  # there is an end to it


@jax.jit
def _boxed(seed):
    """The certified product of a ReLU network under softmax, changes at nine points of the region, one far outside."""
    drawn, relu, loss = problem(CASES[0].shape, seed), ACTIVATIONS["relu"], softmax_cross_entropy(0.5)
    keys = jax.random.split(jax.random.key(seed, impl="unsafe_rbg"))
    teacher = MLPTeacher(relu, loss, *(jax.random.normal(k, (5, n)) for k, n in zip(keys, (4, 3), strict=True)))
    d = teacher_direction(teacher, drawn.params)
    product = certified_product(loss, drawn.params, d, drawn.inputs, teacher, 2.0**-6)

    def change(pair):
        step = student_step(mlp(relu), loss, drawn.params, d, drawn.inputs, pair[0])
        return descent(teacher, drawn.params, step, pair[1])

    inside = jnp.stack(
        [jnp.stack([e, a * product / e]) for e in 2.0 ** -jnp.arange(6.0, 15, 4) for a in (0.01, 0.5, 1.0)]
    )
    return product, jax.lax.map(change, inside), change((2.0**-6, 2.0**16))


def test_s2_the_certificate_reports_its_box():
    rng = np.random.default_rng(1)
    net = (Layer(jnp.asarray(rng.normal(size=(2, 2))), jnp.zeros(2)),)
    x, other = (jnp.asarray(rng.normal(size=(3, 2))) for _ in range(2))
    identity, eps, alphas = ACTIVATIONS["identity"], (0.25, 0.5), tuple(2.0**k for k in range(-8, 9))
    teacher = MLPTeacher(identity, UNIT, other, jnp.ones((3, 2)))
    report = certify(mlp(identity), UNIT, net, x, teacher_loss=teacher, eps=eps, alphas=alphas)
    for proved, seen in zip(report.certified_alpha, report.first_ascent_alpha, strict=True):
        assert seen / 2 < 1.01 * proved < 1.01 * seen
    assert re.search(r"descent certified        eps <= 0\.25?5? and alpha <= \d", str(report))


def test_s3_a_long_teacher_can_transmit_the_opposite_of_its_trait():
    """L_T = a^2 + a + b at 0, two steps of 1/2: Delta = -(1/2, 1); G = v v', v = (3, -2): <g, G Delta> = 1/2 > 0."""
    half = Fraction(1, 2)
    a, b = Fraction(0), Fraction(0)
    for _ in range(2):
        a, b = a - half * (2 * a + 1), b - half
    assert (a, b) == (-half, Fraction(-1))
    assert (3 - 2) * (3 * a - 2 * b) == half
    apply, loss = lambda p, x: (x @ p)[:, None], SquaredError(jnp.asarray([0.5]))
    theta, x, delta = jnp.zeros(2), jnp.asarray([[3.0, -2.0]]), jnp.asarray([-0.5, -1.0])
    change, drift = trait_change(apply, loss, theta, x, jnp.ones(2), delta)
    assert change == 0.5
    assert drift == 1
    trait = lambda p: p[0] ** 2 + p[0] + p[1]  # noqa: E731
    step = student_step(apply, loss, theta, delta, x, 1.0)
    assert tree_dot(step, delta) > 0  # the student does approach the teacher
    assert descent(trait, theta, step, 2.0**-6) > 0  # and unlearns what it learned
    assert descent(trait, theta, delta, 1.0) < 0


@few
@given(seed=seeds, steps=st.integers(1, 12))
def test_s3_the_trait_falls_exactly_while_the_mean_gradient_has_not_drifted(seed, steps):
    rng = np.random.default_rng(seed)
    x, root, g = rng.normal(size=(2, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)
    hessian, gram = root @ root.T, 2 * x.T @ x / 2
    theta, rate = np.zeros(4), 1 / np.linalg.eigvalsh(hessian)[-1]
    for _ in range(steps):
        theta = theta - rate * (g + hessian @ theta)
    mean = -theta / (rate * steps)
    apply = lambda p, x: (x @ p)[:, None]  # noqa: E731
    arrays = jnp.zeros(4), jnp.asarray(x), jnp.asarray(g), jnp.asarray(theta)
    change, drift = trait_change(apply, SquaredError(jnp.ones(1)), *arrays)
    np.testing.assert_allclose(change, g @ gram @ theta, rtol=1e-9)
    size = lambda v: np.sqrt(v @ gram @ v)  # noqa: E731
    assert (drift < 1) == (change < 0)
    assert drift <= size(mean - g) / size(g) + 1e-9  # so |mean - g|_G < |g|_G suffices
    if steps == 1:
        assert drift < 1e-6


@few
@given(seed=seeds, kappa=st.sampled_from((1.5, 3.0, 30.0)))
def test_s4_no_metric_turns_a_step_by_more_than_its_condition_allows(seed, kappa):
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    v, scales = rng.normal(size=5), np.concatenate([[1, kappa], rng.uniform(1, kappa, 3)])
    turned = basis @ (scales * (basis.T @ v))
    angle = np.arccos(v @ turned / np.linalg.norm(v) / np.linalg.norm(turned))
    assert angle <= largest_angle(kappa) + 1e-12
    worst = jnp.asarray([1.0, np.sqrt(kappa)])  # attained, by a diagonal P
    cosine = tree_cosine(precondition(jnp.asarray([kappa, 1.0]), worst), worst)
    np.testing.assert_allclose(jnp.arccos(cosine), largest_angle(kappa), rtol=1e-9)


@few
@given(seed=seeds)
def test_s4_diagonal_metrics_keep_the_sign_exactly_up_to_the_ratio_of_the_sums(seed):
    rng = np.random.default_rng(seed)
    step, d = {"a": rng.normal(size=4), "b": rng.normal(size=3)}, {"a": rng.normal(size=4), "b": rng.normal(size=3)}
    if sum(np.sum(step[k] * d[k]) for k in step) < 0:
        d = {k: -v for k, v in d.items()}
    allowed = float(tolerated_condition(step, d))
    assert allowed >= 1
    for factor in (0.999, 1.001):
        worst = {k: np.where(step[k] * d[k] > 0, 1.0, factor * allowed) for k in step}
        np.testing.assert_allclose(condition_number(worst, step), factor * allowed, rtol=1e-12)
        assert (tree_dot(precondition(worst, step), d) > 0) == (factor < 1)
    cosine = float(tree_cosine(step, d))
    assert (1 + cosine) / (1 - cosine) <= allowed * (1 + 1e-12)  # the angle is the weaker of the two criteria


def test_s4_condition_counts_only_coordinates_that_move():
    scale, step = {"w": jnp.asarray([1.0, 4.0, 1e8])}, {"w": jnp.asarray([-1.0, 2.0, 0.0])}
    assert condition_number(scale, step) == 4
    assert condition_number(scale, {"w": jnp.zeros(3)}) == 1
    np.testing.assert_allclose(tolerated_condition(jnp.asarray([6.0, 2.0, 2.0]), jnp.asarray([1.0, -1.0, -1.0])), 1.5)


@few
@given(case=st.sampled_from(CASES[:1]), seed=seeds)
def test_s5_nearly_shared_inits_obey_the_first_order_law(case, seed):
    """Phi = eps A - <G r, d> + O((eps + |r|)^2): the error falls 16-fold when both shrink 4-fold."""
    errors, first = _mismatch(case, problem(case.shape, seed), seed)
    assert abs(float(errors[1] / errors[0]) - 1 / 16) < 0.03 or abs(float(errors[0])) < 1e-3 * abs(float(first))


@partial(jax.jit, static_argnums=0)
def _mismatch(case, drawn, seed):
    loss, apply = make_loss(case, 0, 1.0), model(case)
    r = random_direction(drawn.params, key=jax.random.key(seed, impl="unsafe_rbg"))
    pushed = gauss_newton_product(apply, loss, drawn.params, drawn.inputs, tree_step(drawn.direction, -1, r))
    law = tree_dot(pushed, drawn.direction)

    def error(t):
        student = tree_step(drawn.params, t, r)
        step = student_step(apply, loss, *drawn, t, student=student)
        return tree_dot(step, drawn.direction) - t * law

    return jax.lax.map(error, jnp.asarray([2.0**-10, 2.0**-12])), 2.0**-10 * law


def test_s5_random_mismatch_of_the_tolerated_size_fails_as_often_as_predicted():
    rng = np.random.default_rng(0)
    phi, d, eps = rng.normal(size=(3, 2, 6)), rng.normal(size=6), 0.5
    gram = 2 * np.einsum("bip,biq->pq", phi, phi) / 3
    rho = float(tolerated_mismatch(d @ gram @ d, np.linalg.norm(gram @ d), eps, delta=0.1))
    products = eps * d @ gram @ d - rho * rng.normal(size=(20000, 6)) @ gram @ d  # exact: the model is linear
    assert abs(np.mean(products < 0) - 0.1) < 0.01  # four standard errors are 0.0085
    smallest = eps * np.sqrt(d @ gram @ d / np.linalg.eigvalsh(gram)[-1]) / 1.2816
    assert rho >= smallest * (1 - 1e-4)  # the bound by the spectrum alone
    student = jnp.asarray(0.3 * rng.normal(size=6))
    found = tree_dot(student_step(_linear, UNIT, jnp.zeros(6), d, jnp.asarray(phi), eps, student=student), d)
    np.testing.assert_allclose(found, eps * d @ gram @ d - student @ gram @ d, rtol=1e-9)
    with pytest.raises(ValueError, match=r"got 0\.5"):
        tolerated_mismatch(1.0, 1.0, 0.1, delta=0.5)


def test_s5_the_number_of_parameters_enters_at_finite_steps():
    """`f = theta_1 + |theta|^2/2` at 0, d = e_1: the first-order law promises 0.05 whatever P is."""
    eps, rng = 1e-3, np.random.default_rng(0)
    rho = float(tolerated_mismatch(2.0, 2.0, eps))  # A = |G d| = 2
    apply = lambda p, x: x * (p[0] + p @ p / 2)  # noqa: E731
    r = jnp.asarray(rho * rng.normal(size=50))
    at = jnp.zeros(50), jnp.eye(50)[0], jnp.ones((1, 1)), eps
    found = student_step(apply, SquaredError(jnp.ones(1)), *at, student=r)[0]
    gap = lambda first, square: first + square / 2 - eps - eps**2 / 2  # noqa: E731
    np.testing.assert_allclose(found, -2 * gap(r[0], r @ r) * (1 + r[0]), rtol=1e-9)
    for parameters, expected in ((10, 0.05), (1000, 0.09), (100_000, 1.0)):
        first, rest = rho * rng.normal(size=40_000), rho**2 * rng.chisquare(parameters - 1, size=40_000)
        assert abs(np.mean(gap(first, first**2 + rest) > 0) - expected) < 0.007


@few
@given(seed=seeds, delta=st.sampled_from((0.3, 0.05)), heavy=st.booleans())
def test_s6_so_many_inputs_show_their_share_of_the_leading_coefficient(seed, delta, heavy):
    """Non-negative, even heavy-tailed: the lower tail of A_B needs no bound on single inputs."""
    rng = np.random.default_rng(seed)
    draw = (lambda size: rng.pareto(3, size)) if heavy else (lambda size: rng.normal(size=size) ** 2)
    mean, square = (0.5, 1.0) if heavy else (1.0, 3.0)
    count = inputs_needed(mean, square, delta=delta)
    failed = np.mean(draw((4000, count)).mean(axis=1) < mean / 2)
    assert failed <= delta
    few_inputs = draw((4000, max(1, count // 40))).mean(axis=1)
    assert np.mean(few_inputs < mean / 2) > delta / 2  # within a factor of the least number that does


def test_s6_counts_are_those_of_the_closed_forms():
    """By hand: 2 * 3 log 20 / 0.01; 2 * 3 log 10 / 0.81 / 4; Bernstein's two terms, each alone and both."""
    assert inputs_needed(1.0, 3.0, share=0.9) == 1798
    assert inputs_needed(2.0, 3.0, share=0.1, delta=0.1) == 5
    assert labels_needed(0.5, 0.0, 60.0) == 240  # 2 * 10 log 20 / 0.25
    assert labels_needed(0.5, 10.0, 0.0) == 240
    assert labels_needed(0.5, 10.0, 60.0, delta=0.1) == 369  # 2 * 20 log 10 / 0.25


@pytest.mark.parametrize("seed", [0, 1])
def test_s6_so_many_labels_show_the_sign(seed):
    product, variance, spread, sign = _label_problem(seed)
    count = labels_needed(float(product), float(variance), float(spread), delta=0.2)
    assert count >= 1
    hard = sign(max(1, -(-count // 2)))
    assert np.mean(hard <= 0) <= 0.2
    assert np.mean(sign(max(1, count // 60)) <= 0) > 0.02
    with pytest.raises(ValueError, match="got 1"):
        labels_needed(1.0, 1.0, 1.0, delta=1.0)


def _label_problem(seed):
    """Two inputs with logits linear in theta; the products of 400 students with so many labels per input."""
    rng = np.random.default_rng(seed)
    x, d, loss, eps = (
        jnp.asarray(rng.normal(size=(2, 3, 4))),
        jnp.asarray(rng.normal(size=4)),
        softmax_cross_entropy(),
        0.5,
    )
    at = _linear, loss, jnp.zeros(4), d, x, eps
    q, u = soft_targets(loss, _linear(eps * d, x)), _linear(d, x)

    def sign(draws):
        labels = rng.multinomial(draws, np.asarray(q), size=(400, 2)) / draws
        return np.mean(np.sum((labels - 1 / 3) * np.asarray(u), axis=2), axis=1)

    spread = jnp.max(jnp.max(u, axis=1) - jnp.min(u, axis=1))
    return inner_product(*at), sampling_variance(*at, draws=1) * 2, spread, sign
