"""Lemma 1 and Theorem 1: the sign, the leading coefficient, the remainder, the descent, the degenerate branch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.problems import (
    CASES,
    EPS,
    cases,
    core_cases,
    enclosed,
    few,
    fixed,
    make_loss,
    model,
    observed,
    problem,
    radius_cases,
    seeds,
    steps,
    temperatures,
    weight_sets,
)
from theory import (
    SquaredError,
    init_mlp,
    inner_product,
    leading_coefficient,
    mlp,
    random_problem,
    ray,
    ray_inner_product,
    softmax_cross_entropy,
    student_step,
    teacher_direction,
)
from theory.one_step import descent, log_log_slope, mixed_matrix, mixed_product, outputs, powers_of_two
from theory.random_problems import random_direction, unrelated_loss, weight_decay
from theory.trees import tree_cosine, tree_dot, tree_norm, tree_scale, tree_size, tree_step


@fixed
@given(case=cases, seed=seeds, weights=weight_sets, temperature=temperatures)
def test_l1_inner_product_is_positive_for_small_steps(case, seed, weights, temperature):
    seen = observed(case.shape, make_loss(case, weights, temperature), problem(case.shape, seed))
    assert not seen.vacuous
    assert seen.leading > 0
    small = jnp.asarray(EPS) <= 2.0**-10
    assert bool(jnp.all(seen.inner_products[small] > 0))
    assert bool(jnp.all(seen.cosines[small] > 0))
    assert jnp.isinf(seen.first_negative)


@few
@given(case=st.sampled_from(CASES[:4]), seed=seeds, weights=weight_sets, temperature=temperatures)
def test_l1_leading_coefficient_matches_dense_matrices(case, seed, weights, temperature):
    loss, drawn = make_loss(case, weights, temperature), problem(case.shape, seed)
    apply = model(case)
    fast = leading_coefficient(loss, ray(apply, *drawn))
    dense = _dense_leading(case.shape, case.kind, case.subset, drawn, _weight_row(case, weights), temperature)
    np.testing.assert_allclose(fast, dense, rtol=1e-11)


def _weight_row(case, weights):
    loss = make_loss(case, weights, 1.0)
    return loss.weights if isinstance(loss, SquaredError) else None


@partial(jax.jit, static_argnums=0)
def _jacobian(shape, drawn):
    """The Jacobian as one dense array `[batch, n, parameters]`, and the outputs."""
    apply = mlp(shape.hidden)
    rows = jax.tree.leaves(jax.jacrev(lambda p: outputs(apply, p, drawn.inputs))(drawn.params))
    z = outputs(apply, drawn.params, drawn.inputs)
    return jnp.concatenate([r.reshape(*z.shape, -1) for r in rows], axis=2), z


def _dense_leading(shape, kind, subset, drawn, weights, temperature):
    """A by its definition with J and M written out in NumPy: nothing shared with theory/."""
    jacobian, z = (np.asarray(a) for a in _jacobian(shape, drawn))
    d = np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(drawn.direction)])
    total = 0.0
    for row, logits in zip(jacobian, z, strict=True):
        total += (row @ d) @ _dense_matrix(kind, subset, logits, weights, temperature) @ (row @ d)
    return total / len(z)


def _dense_matrix(kind, subset, logits, weights, temperature):
    if kind == "squared":
        return 2 * np.diag(np.asarray(weights))
    kept = list(range(len(logits)) if subset is None else subset)
    p = np.exp(logits[kept] / temperature - np.max(logits[kept] / temperature))
    p /= p.sum()
    matrix = np.zeros((len(logits), len(logits)))
    matrix[np.ix_(kept, kept)] = (np.diag(p) - np.outer(p, p)) / temperature**2
    return matrix


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.kind}-{c.shape.activation}")
def test_l1_mixed_second_derivative_has_the_closed_form(case):
    n = case.shape.widths[-1]
    y = jnp.linspace(-1.0, 2.0, n)
    loss = make_loss(case, 1, 0.5)
    weights = loss.weights if case.kind == "squared" else None
    expected = _dense_matrix(case.kind, case.subset, np.asarray(y), weights, 0.5)
    np.testing.assert_allclose(mixed_matrix(loss, y, y), expected, atol=1e-13)


def test_l1_mixed_second_derivative_names_its_axes():
    skew = lambda z, y: z[0] * y[1]  # noqa: E731 - M[i=0, j=1] = -1 and nothing else
    at = jnp.ones(2), jnp.ones(2)
    np.testing.assert_array_equal(mixed_matrix(skew, *at), [[0.0, -1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(mixed_product(skew, *at, jnp.asarray([3.0, 5.0])), [-5.0, 0.0])  # the same M


@few
@given(case=core_cases, seed=seeds, weights=weight_sets, temperature=temperatures, eps=steps)
def test_l2_output_space_and_parameter_space_agree(case, seed, weights, temperature, eps):
    loss, drawn = make_loss(case, weights, temperature), problem(case.shape, seed)
    direct, through = _both_products(case.shape, loss, drawn, eps)
    np.testing.assert_allclose(through, direct, rtol=1e-7)
    assert direct > 0


@partial(jax.jit, static_argnums=0)
def _both_products(shape, loss, drawn, eps):
    apply = mlp(shape.hidden)
    at = ray(apply, drawn.params, drawn.direction, drawn.inputs)
    return inner_product(apply, loss, *drawn, eps), ray_inner_product(apply, loss, *drawn, eps, at)


@fixed
@given(case=radius_cases, seed=seeds, weights=weight_sets, temperature=temperatures)
def test_l2_remainder_stays_inside_its_rigorous_bound(case, seed, weights, temperature):
    loss = make_loss(case, weights, temperature)
    seen = observed(case.shape, loss, problem(case.shape, seed))
    eps = jnp.asarray(EPS)
    second = enclosed(case.shape, loss, problem(case.shape, seed), 0.0, EPS[-1])[2].second
    size = jnp.maximum(jnp.abs(second.lo), jnp.abs(second.hi))
    assert bool(jnp.all(jnp.abs(seen.remainders) <= eps**2 / 2 * size + seen.noise))


@fixed
@given(case=core_cases, seed=seeds, weights=weight_sets, temperature=temperatures)
def test_l2_remainder_has_slope_two(case, seed, weights, temperature):
    loss = make_loss(case, weights, temperature)
    seen = observed(case.shape, loss, problem(case.shape, seed))
    second, third = _higher_derivatives(case.shape, loss, problem(case.shape, seed))
    # R = eps^2/2 (phi'' + eps phi'''/3): the local slope is 2 + O(eps phi''' / (3 phi'')); that is the tolerance
    largest = EPS[-1] if int(seen.slope_points) == len(EPS) else 2.0**-8
    drift = float(largest * abs(third) / (3 * abs(second)))
    if drift > 0.05:  # phi''(0) happens to be nearly zero: the remainder is even smaller than the statement says
        assert seen.slope > 1.9
        return
    assert abs(float(seen.slope) - 2) <= 0.05 + drift
    assert seen.slope_points >= 4


@partial(jax.jit, static_argnums=0)
def _higher_derivatives(shape, loss, drawn):
    apply = mlp(shape.hidden)
    at = ray(apply, *drawn)
    phi = lambda t: ray_inner_product(apply, loss, *drawn, t, at)  # noqa: E731
    jet = lambda g: lambda t: jax.jvp(g, (t,), (1.0,))[1]  # noqa: E731
    return jet(jet(phi))(0.0), jet(jet(jet(phi)))(0.0)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_l2_slope_fit_recovers_a_known_order_and_ignores_noise(order):
    eps = jnp.asarray(EPS)
    values = -3.0 * eps**order
    fit = log_log_slope(eps, values, 0.0)
    assert abs(float(fit.value) - order) < 1e-9
    assert int(fit.points) == 6
    noisy = jnp.where(eps < 2.0**-12, 7.0 * 2.0**-60, values)
    assert abs(float(log_log_slope(eps, noisy, 2.0**-50).value) - order) < 1e-9
    assert abs(float(log_log_slope(eps, noisy, 0.0).value) - order) > 0.5  # without the floor the fit is wrong
    assert jnp.isnan(log_log_slope(eps, 0 * values, 0.0).value)


def _teacher(kind, case, seed):
    """Teacher losses that know nothing of the student's data or loss."""
    if kind == "decay":
        return weight_decay
    keys = jax.random.split(jax.random.key(seed), 2)
    n_in, n_out = case.shape.widths[0], case.shape.widths[-1]
    inputs = 3 * jax.random.normal(keys[0], (6, n_in))
    labels = jax.nn.one_hot(jax.random.randint(keys[1], (6,), 0, n_out), n_out, dtype=inputs.dtype)
    return unrelated_loss(model(case), inputs, labels)


@fixed
@given(
    case=st.sampled_from(CASES[:2]),
    seed=seeds,
    kind=st.sampled_from(("unrelated", "decay")),
    alpha=st.integers(0, 4).map(lambda k: 2.0**-k),
)
def test_t1_unrelated_teacher_loss_falls_by_the_predicted_amount(case, seed, kind, alpha):
    loss, drawn = make_loss(case, 0, 1.0), problem(case.shape, seed)
    leading, changes = _descents(case, kind, loss, drawn, seed, alpha)
    assert leading > 0
    ratios = np.asarray(changes) / (-np.asarray(DESCENT_EPS) * alpha * float(leading))
    assert bool(np.all(np.asarray(changes)[1:] < 0))
    # ratio = 1 + O(eps): the error halves with eps, measured at eps / 4 and eps
    assert abs(ratios[2] - 1) < 0.6 * abs(ratios[1] - 1) + 1e-6
    assert abs(ratios[2] - 1) < 0.05


DESCENT_EPS = (2.0**-9, 2.0**-11, 2.0**-13)


@partial(jax.jit, static_argnums=(0, 1))
def _descents(case, kind, loss, drawn, seed, alpha):
    trait, apply = _teacher(kind, case, seed), model(case)
    direction = teacher_direction(trait, drawn.params)
    leading = leading_coefficient(loss, ray(apply, drawn.params, direction, drawn.inputs))

    def change(eps):
        return descent(
            trait, drawn.params, student_step(apply, loss, drawn.params, direction, drawn.inputs, eps), alpha
        )

    return leading, jax.lax.map(change, jnp.asarray(DESCENT_EPS))


@few
@given(seed=seeds, eps=st.integers(-3, 12).map(lambda k: 2.0**-k), squared=st.booleans())
def test_t2_degenerate_teacher_gives_exactly_zero_at_every_step_size(seed, eps, squared):
    """The teacher trains only the class columns of the head; the student imitates only the auxiliary logits."""
    loss = SquaredError(jnp.asarray([0.0, 0.0, 0.0, 1.0, 1.0])) if squared else softmax_cross_entropy(1.0, (3, 4))
    size, product, whole = _frozen_trunk(loss, seed, eps)
    assert size > 0
    assert product == 0.0
    assert whole > 0  # the same teacher, all logits imitated


@jax.jit
def _frozen_trunk(loss, seed, eps):
    """The teacher's length, the product on auxiliary logits at eps, and the product on all logits at a small step."""
    keys = jax.random.split(jax.random.key(seed, impl="unsafe_rbg"), 4)
    apply, params = mlp(CASES[0].shape.hidden), init_mlp((4, 6, 5), key=keys[3])
    inputs = jax.random.normal(keys[0], (6, 4))
    head = params[-1]._replace(
        weight=jnp.concatenate([jax.random.normal(keys[1], (6, 3)), jnp.zeros((6, 2))], axis=1),
        bias=jnp.concatenate([jax.random.normal(keys[2], (3,)), jnp.zeros(2)]),
    )
    direction = (*jax.tree.map(jnp.zeros_like, params[:-1]), head)
    whole = inner_product(apply, SquaredError(jnp.ones(5)), params, direction, inputs, 2.0**-8)
    return tree_norm(direction), inner_product(apply, loss, params, direction, inputs, eps), whole


@fixed
@given(case=st.sampled_from(CASES[:2]), seed=seeds, eps=steps)
def test_r1_other_init_imitates_the_untrained_teacher(case, seed, eps):
    loss, drawn = make_loss(case, 0, 1.0), problem(case.shape, seed)
    size, gaps, change = _mismatched(case, loss, drawn, seed, eps)
    assert size > 1e-3  # O(1) although the teacher has hardly moved
    assert gaps[0] > 0
    assert abs(float(gaps[1] / gaps[0]) - 0.5) < 0.05 + 20 * eps  # the difference is O(eps): it halves with eps
    assert gaps[0] <= 2 * eps * change + 1e-9


@partial(jax.jit, static_argnums=0)
def _mismatched(case, loss, drawn, seed, eps):
    apply = model(case)
    other = init_mlp(case.shape.widths, key=jax.random.fold_in(jax.random.key(seed), 1))
    step = lambda e: student_step(apply, loss, *drawn, e, student=other)  # noqa: E731
    untrained = step(0.0)
    gaps = [tree_norm(tree_step(step(e), -1, untrained)) for e in (eps, eps / 2)]
    _, change = jax.jvp(step, (0.0,), (1.0,))
    return tree_norm(untrained), jnp.stack(gaps), tree_norm(change)


@pytest.mark.parametrize("case", CASES[:1], ids=lambda c: c.kind)
def test_r1_cosine_centres_on_zero_for_other_inits_only(case):
    shared, other = _cosines(case, make_loss(case, 0, 1.0), jax.random.split(jax.random.key(5, impl="unsafe_rbg"), 400))
    assert bool(jnp.all(shared > 0))
    error = jnp.std(other) / jnp.sqrt(400.0)
    assert abs(float(jnp.mean(other))) < 4 * float(error)
    assert 0.4 < float(jnp.mean(other > 0)) < 0.6  # 0.5 +- 4 standard errors
    assert float(jnp.mean(shared)) > 20 * float(error)  # the very same directions, the shared init


@partial(jax.jit, static_argnums=0)
def _cosines(case, loss, keys):
    """Cosine of the student's step to a random direction of the teacher, for the shared and for another init."""

    def one(key):
        apply, drawn = model(case), random_problem(case.shape, key=key)
        direction = random_direction(drawn.params, key=jax.random.fold_in(key, 2))
        direction = tree_scale(1 / tree_norm(direction), direction)
        other = init_mlp(case.shape.widths, key=jax.random.fold_in(key, 1))
        steps = [
            student_step(apply, loss, drawn.params, direction, drawn.inputs, 2.0**-8, student=s) for s in (None, other)
        ]
        return tuple(tree_cosine(s, direction) for s in steps)

    return jax.lax.map(one, keys)


def test_r1_a_direction_that_follows_the_inputs_breaks_the_symmetry():
    """`d` must not depend on the inputs either: `d = +-e1`, and the input is `e1` or `e2` with it: cosines -1 and 0."""
    apply = lambda p, x: x @ p[:, None]  # noqa: E731
    theta, student = jnp.zeros(2), jnp.ones(2)
    cosines = []
    for sign, x in ((1.0, [[1.0, 0.0]]), (-1.0, [[0.0, 1.0]])):
        d = jnp.asarray([sign, 0.0])
        step = student_step(apply, SquaredError(jnp.ones(1)), theta, d, jnp.asarray(x), 2.0**-10, student=student)
        cosines.append(float(tree_cosine(step, d)))
    assert sum(cosines) / 2 == -0.5


def test_trees_do_their_algebra():
    a, b = {"w": jnp.asarray([3.0, 0.0]), "b": jnp.asarray(4.0)}, {"w": jnp.asarray([1.0, 2.0]), "b": jnp.asarray(-1.0)}
    assert tree_dot(a, b) == -1.0
    assert tree_norm(a) == 5.0
    assert tree_size(a) == 3
    np.testing.assert_allclose(tree_cosine(a, b), -1 / (5 * 6**0.5))
    assert tree_cosine(a, tree_scale(0.0, b)) == 0.0
    np.testing.assert_array_equal(tree_step(a, 2.0, b)["w"], [5.0, 4.0])


def test_powers_of_two_are_exact_and_checked():
    assert powers_of_two(1, 3) == (0.5, 0.25, 0.125)
    with pytest.raises(ValueError, match="3 > 1"):
        powers_of_two(3, 1)
