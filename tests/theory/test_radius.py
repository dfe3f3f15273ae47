"""Guaranteed radii and the enclosures under them; where large steps and kinks end the guarantee (B1-B4, C4, C5)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.problems import (
    CASES,
    RADIUS_CASES,
    enclosed,
    few,
    fixed,
    make_loss,
    problem,
    radii,
    radius_cases,
    seeds,
    temperatures,
    weight_sets,
)
from theory import (
    ACTIVATIONS,
    Layer,
    ProblemShape,
    RayBound,
    SquaredError,
    estimated_ray_bound,
    guaranteed_radius,
    inner_product,
    inner_product_curve,
    leading_coefficient,
    marched_radius,
    mlp,
    mlp_ray_bound,
    ray,
)
from theory import intervals as iv
from theory.intervals import Interval
from theory.radius import as_pytree, first_negative


@fixed
@given(case=radius_cases, seed=seeds, weights=weight_sets, temperature=temperatures)
def test_b1_no_negative_inner_product_within_the_guaranteed_radius(case, seed, weights, temperature):
    single, marched, products = radii(case.shape, make_loss(case, weights, temperature), problem(case.shape, seed))
    assert single > 2.0**-10  # not vacuous
    assert single <= marched  # B4 extends B1
    assert bool(jnp.all(products >= 0))


@pytest.mark.parametrize("curvature", [0.5, 3.0])
def test_b1_radius_is_two_a_over_m_for_a_parabola(curvature):
    """Phi = A t - m t^2 / 2 is negative beyond exactly 2 A / m: the bound is attained, so no constant can be better."""
    parabola = lambda start, stop: RayBound(  # noqa: E731
        Interval(jnp.asarray(0.0), jnp.asarray(0.0)),
        Interval(jnp.asarray(1.0), jnp.asarray(1.0)),
        Interval(1 - curvature * jnp.asarray(stop), 1 - curvature * jnp.asarray(start)),
        Interval(jnp.asarray(-curvature), jnp.asarray(-curvature)),
    )
    radius = guaranteed_radius(parabola)
    np.testing.assert_allclose(radius, 2 / curvature, rtol=1e-5)
    assert radius <= 2 / curvature


def test_b1_radius_is_zero_when_nothing_is_proved_and_the_largest_when_all_is():
    known = lambda *ends: lambda _start, _stop: RayBound(*(Interval(*map(jnp.asarray, end)) for end in ends))  # noqa: E731
    zero = (0.0, 0.0)
    assert guaranteed_radius(known(zero, zero, (jnp.nan, jnp.nan), (-jnp.inf, jnp.inf))) == 0
    np.testing.assert_allclose(guaranteed_radius(known(zero, zero, (0.0, 1.0), (0.0, 1.0))), 2.0**10, rtol=1e-4)
    assert guaranteed_radius(known(zero, (-1.0, 1.0), (-1.0, 1.0), (0.0, 1.0))) == 0
    convex = known(zero, (1.0, 1.0), (1.0, 2.0), (0.0, 1.0))
    with pytest.raises(ValueError, match=r"2.0 and 1.0"):
        guaranteed_radius(convex, smallest=2.0, largest=1.0)


RELU = ProblemShape((4, 6, 3), "relu", 8)


@few
@given(seed=seeds)
def test_b2_relu_is_covered_across_kinks(seed):
    drawn, loss = problem(RELU, seed), SquaredError(jnp.ones(3))
    single, marched, products = radii(RELU, loss, drawn)
    assert single > 2.0**-10
    assert single <= marched
    assert bool(jnp.all(products >= 0))
    crossed = _kinks_crossed(drawn, single)
    curvature = enclosed(RELU, loss, drawn, 0.0, float(single))[2].second.lo
    assert crossed > 0  # the radius really reaches past kinks, where no second derivative exists
    assert not np.isfinite(curvature)


def _kinks_crossed(drawn, radius):
    """How many first-layer units change sign between the ray's ends."""
    first, rate = drawn.params[0], drawn.direction[0]
    before = drawn.inputs @ first.weight + first.bias[None, :]
    after = before + radius * (drawn.inputs @ rate.weight + rate.bias[None, :])
    return jnp.sum((before > 0) != (after > 0))


@few
@given(
    case=st.sampled_from((*RADIUS_CASES, CASES[0]._replace(shape=RELU))),
    seed=seeds,
    k=st.integers(-1, 8),
    late=st.booleans(),
)
def test_b3_enclosures_hold_every_point_of_the_ray(case, seed, k, late):
    loss, width = make_loss(case, 1, 1.0), 2.0**-k
    start = 0.75 if late else 0.0
    jet, exact, bound, curve = enclosed(case.shape, loss, problem(case.shape, seed), start, start + width)
    smooth = case.shape.activation != "relu"
    for part, values in list(zip(jet, exact, strict=True))[: 3 if smooth else 1]:
        slack = 1e-11 * (1 + np.abs(values))
        assert np.all(values >= np.asarray(part.lo) - slack)
        assert np.all(values <= np.asarray(part.hi) + slack)
    for part, values in list(zip(bound[:4], curve, strict=True))[: 4 if smooth else 3]:
        assert np.all(np.asarray(values) >= np.asarray(part.lo) - 1e-12)
        assert np.all(np.asarray(values) <= np.asarray(part.hi) + 1e-12)


@pytest.mark.parametrize("case", RADIUS_CASES, ids=lambda c: f"{c.kind}-{c.shape.activation}")
def test_b3_enclosures_shrink_to_the_exact_derivatives(case):
    """At width 2^-30 the curvature is known to about eight digits: the bound is tight, not merely valid."""
    loss = make_loss(case, 1, 1.0)
    _, _, bound, slopes = enclosed(case.shape, loss, problem(case.shape, 7), 0.0, 2.0**-30)
    for part, values in list(zip(bound[:4], slopes, strict=True))[2:]:
        assert part.hi - part.lo < 1e-5
        np.testing.assert_allclose(part.lo, values[0], atol=1e-5)


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n != "relu"])
def test_b3_activation_derivatives_and_ranges(name):
    x = jnp.linspace(-4.0, 4.0, 161)
    ends = np.sort(np.random.default_rng(0).uniform(-4, 4, (2, 200)), axis=0)
    inside = ends[0][:, None] + (ends[1] - ends[0])[:, None] * np.linspace(0.0, 1.0, 2001)[None, :]
    derivatives, by_autodiff, ranges, values = _measured(name, *map(jnp.asarray, (x, ends, inside)))
    np.testing.assert_allclose(derivatives, by_autodiff, atol=1e-12)
    gap = 4 * 0.0005**2 * (ends[1] - ends[0]) ** 2 + 1e-12  # what 2001 points can miss: curvature times step squared
    for found, curve in zip(ranges, np.asarray(values), strict=True):
        lowest, highest = curve.min(axis=1), curve.max(axis=1)
        assert np.all(found.lo <= lowest + 1e-12)
        assert np.all(found.hi >= highest - 1e-12)
        assert np.all(found.lo >= lowest - gap)  # the exact range, not a wider one
        assert np.all(found.hi <= highest + gap)


@partial(jax.jit, static_argnums=0)
def _measured(name, x, ends, inside):
    """G' and g'' as stated and by autodiff; the ranges over [ends] and the values inside, for all three orders."""
    g = ACTIVATIONS[name]
    stated = [g.derivatives[order](x) for order in (1, 2)]
    found = [jax.vmap(jax.grad(g.derivatives[order]))(x) for order in (0, 1)]
    return stated, found, [g.range(k, Interval(*ends)) for k in range(3)], [g.derivatives[k](inside) for k in range(3)]


def test_b3_relu_derivative_is_known_except_across_the_kink():
    g, x = ACTIVATIONS["relu"], Interval(jnp.asarray([-2.0, 1.0, -1.0]), jnp.asarray([-1.0, 2.0, 1.0]))
    first, second = g.range(1, x), g.range(2, x)
    np.testing.assert_array_equal(first, [[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    np.testing.assert_array_equal(second, [[0.0, 0.0, -jnp.inf], [0.0, 0.0, jnp.inf]])


@few
@given(seed=seeds)
def test_b3_interval_operations_enclose(seed):
    rng = np.random.default_rng(seed)
    a, b = (Interval(*(jnp.asarray(e) for e in np.sort(rng.normal(size=(2, 3, 3)), axis=0))) for _ in range(2))
    for _ in range(20):
        x, y = (np.asarray(i.lo) + rng.choice([0, 1, rng.uniform()], (3, 3)) * np.asarray(i.hi - i.lo) for i in (a, b))
        pairs = (
            (iv.add(a, b), x + y),
            (iv.subtract(a, b), x - y),
            (iv.multiply(a, b), x * y),
            (iv.square(a), x * x),
            (iv.matmul(a, b), x @ y),
            (iv.total(a, axis=1), x.sum(axis=1)),
            (iv.drift(a, 0.5 * jnp.ones(()), b), x + 0.5 * rng.uniform() * y),
        )
        for found, value in pairs:
            assert np.all(np.asarray(found.lo) <= value + 1e-12)
            assert np.all(np.asarray(found.hi) >= value - 1e-12)
    assert bool(jnp.all(iv.square(a).lo >= 0))
    np.testing.assert_array_equal(iv.midpoint(iv.point(a.lo)), a.lo)
    met = iv.intersect(a, Interval(jnp.full((3, 3), jnp.nan), a.hi - 0.5))
    np.testing.assert_array_equal(met.lo, a.lo)
    np.testing.assert_array_equal(met.hi, a.hi - 0.5)


def _sine():
    """F = sin(theta), d = 1, at 0 under squared error: phi(t) = 2 sin t, negative just beyond pi."""
    net = (Layer(jnp.zeros((1, 1)), jnp.zeros(1)), Layer(jnp.ones((1, 1)), jnp.zeros(1)))
    rate = (Layer(jnp.ones((1, 1)), jnp.zeros(1)), Layer(jnp.zeros((1, 1)), jnp.zeros(1)))
    return net, rate, jnp.ones((1, 1))


def test_b4_march_reaches_the_true_end():
    """One Taylor bound proves 1.5 to 2.0; the chain of cells gets within a thousandth of the sign change at pi."""
    drawn, loss, sin = _sine(), SquaredError(jnp.ones(1)), ACTIVATIONS["sin"]
    bound = mlp_ray_bound(sin, loss, *drawn)
    single = guaranteed_radius(bound)
    assert 1.5 < single < 2.01
    assert jnp.pi - 1e-3 < marched_radius(bound, single, cells=100) <= jnp.pi
    assert marched_radius(bound, 0.0) == 0


def test_b1_bounds_and_curves_carry_their_arrays_as_pytree_leaves():
    """Else the network would be compiled in as a constant: minutes of constant folding for a real model."""
    drawn, loss, sin = _sine(), SquaredError(jnp.ones(1)), ACTIVATIONS["sin"]
    bound, curve = mlp_ray_bound(sin, loss, *drawn), inner_product_curve(mlp(sin), loss, *drawn)
    assert len(jax.tree.leaves(as_pytree(bound))) == len(jax.tree.leaves(drawn)) + 6
    assert len(jax.tree.leaves(estimated_ray_bound(curve))) == len(jax.tree.leaves(drawn)) + 3
    assert jax.tree.leaves(as_pytree(lambda t: t)) == []


def test_b4_marched_radius_stops_at_the_largest():
    loss, sin = SquaredError(jnp.ones(1)), ACTIVATIONS["sin"]
    assert marched_radius(mlp_ray_bound(sin, loss, *_sine()), 1.0, largest=1.5) == 1.5


def test_b4_estimated_bound_is_close_but_only_a_sample():
    drawn, loss, sin = _sine(), SquaredError(jnp.ones(1)), ACTIVATIONS["sin"]
    over = jax.jit(lambda bound: bound(0.0, 1.0))
    guess = over(estimated_ray_bound(inner_product_curve(mlp(sin), loss, *drawn)))
    proof = over(mlp_ray_bound(sin, loss, *drawn))
    np.testing.assert_allclose(guess.first.lo, 2 * np.cos(1.0), rtol=1e-12)
    np.testing.assert_allclose(guess.second.lo, -2 * np.sin(1.0), rtol=1e-12)
    assert proof.second.lo <= guess.second.lo
    with pytest.raises(ValueError, match="got 1"):
        estimated_ray_bound(lambda t: t, samples=1)
    with pytest.raises(TypeError, match="enclose"):
        mlp_ray_bound(sin, lambda z, y: jnp.sum(z - y), *drawn)


@pytest.mark.parametrize(("eps", "sign"), [(3.0, 1), (3.3, -1), (6.0, -1), (6.4, 1)])
def test_c4_large_steps_lose_the_sign(eps, sign):
    found = inner_product(mlp(ACTIVATIONS["sin"]), SquaredError(jnp.ones(1)), *_sine(), eps)
    np.testing.assert_allclose(found, 2 * np.sin(eps), rtol=1e-12)
    assert np.sign(float(found)) == sign


def test_c4_first_negative_is_the_first():
    steps = jnp.asarray([1.0, 2.0, 3.0, 4.0])
    assert first_negative(steps, jnp.asarray([1.0, 0.0, -1.0, 1.0])) == 3
    assert jnp.isinf(first_negative(steps, jnp.ones(4)))


@few
@given(k=st.integers(2, 20))
def test_c5_a_kink_ends_the_guarantee_however_large_the_leading_coefficient(k):
    """F = theta - 3 relu(theta - kink) at 0: A = 2 always, yet phi(eps) = 2 (3 kink - 2 eps) < 0 beyond 1.5 kinks."""
    kink = 2.0**-k
    apply = lambda p, x: (p - 3 * jax.nn.relu(p - kink)) * x[:, None]  # noqa: E731
    at = (jnp.asarray(0.0), jnp.asarray(1.0), jnp.ones(1))
    loss = SquaredError(jnp.ones(1))
    assert leading_coefficient(loss, ray(apply, *at)) == 2
    np.testing.assert_allclose(inner_product(apply, loss, *at, kink), 2 * kink)  # on the smooth stretch: eps A exactly
    np.testing.assert_allclose(inner_product(apply, loss, *at, 2 * kink), -2 * kink)


def test_c5_the_rigorous_radius_sees_the_kink_coming():
    """The same function as a two-unit network: the guarantee ends between 1 and 1.5 kinks, the march at 1.5."""
    kink, relu = 2.0**-5, ACTIVATIONS["relu"]
    net = (
        Layer(jnp.zeros((1, 2)), jnp.asarray([1.0, -kink])),
        Layer(jnp.asarray([[1.0], [-3.0]]), jnp.zeros(1)),
    )
    rate = (Layer(jnp.zeros((1, 2)), jnp.ones(2)), Layer(jnp.zeros((2, 1)), jnp.zeros(1)))
    loss, x = SquaredError(jnp.ones(1)), jnp.ones((1, 1))
    bound = mlp_ray_bound(relu, loss, net, rate, x)
    single = guaranteed_radius(bound)
    assert 0.99 * kink <= single <= 1.5 * kink
    assert 1.4 * kink < marched_radius(bound, single, cells=100) <= 1.5 * kink
