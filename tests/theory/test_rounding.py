"""The enclosures against exact arithmetic: fractions, and python-flint's balls of arbitrary precision (B3, B4)."""

from fractions import Fraction

import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from tests.theory.problems import few, seeds
from theory import ACTIVATIONS, Layer, SoftmaxCrossEntropy, guaranteed_radius, marched_radius, mlp_ray_bound
from theory import intervals as iv
from theory.intervals import Interval
from theory.losses import _softmax_range

flint.ctx.prec = 300


def _softmax(logits):
    powers = [flint.arb(float(s)).exp() for s in logits]
    return [p / sum(powers) for p in powers]


@few
@given(seed=seeds)
def test_b3_softmax_range_holds_on_wide_boxes(seed):
    """'Sum of all minus own term' cancels here: it gave q_0 >= 1.0 on the first box, where the truth is 4.6e-4."""
    rng = np.random.default_rng(seed)
    lo = np.concatenate([[[-46.0, -60.0, -60.0]], rng.uniform(-60, 0, (7, 3))])
    hi = np.concatenate([[[0.0, -39.0, -39.0]], lo[1:] + rng.uniform(0, 60, (7, 3))])
    found = _softmax_range(Interval(jnp.asarray(lo), jnp.asarray(hi)))
    for row in range(8):
        for i in range(3):
            others = np.arange(3) != i
            least = _softmax(np.where(others, hi[row], lo[row]))[i]
            most = _softmax(np.where(others, lo[row], hi[row]))[i]
            assert flint.arb(float(found.lo[row, i])) <= least
            assert flint.arb(float(found.hi[row, i])) >= most
            assert float(found.lo[row, i]) >= 0.999 * float(least)  # and tight
            assert 1 - float(found.hi[row, i]) >= 0.999 * float(1 - most) - 1e-14


_exact = np.vectorize(Fraction, otypes=[object])


@few
@given(seed=seeds)
def test_b3_interval_operations_round_outwards(seed):
    """Fractions are exact, so there is no tolerance: the exact result of the very same floats lies inside."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 3, 3)) * 10.0 ** rng.integers(-8, 9, (2, 3, 3))
    exact_x, exact_y = _exact(x), _exact(y)
    a, b = iv.point(jnp.asarray(x)), iv.point(jnp.asarray(y))
    half = Fraction(0.1)
    wide, tall = np.concatenate([x, -x], axis=1), np.concatenate([y, y * (1 + 1e-13)])  # the product cancels
    pairs = (
        (iv.add(a, b), exact_x + exact_y),
        (iv.subtract(a, b), exact_x - exact_y),
        (iv.multiply(a, b), exact_x * exact_y),
        (iv.square(a), exact_x * exact_x),
        (iv.matmul(a, b), exact_x @ exact_y),
        (iv.matmul(*(iv.point(jnp.asarray(m)) for m in (wide, tall))), _exact(wide) @ _exact(tall)),
        (iv.total(a, axis=1), exact_x.sum(axis=1)),
        (iv.average(a), exact_x.sum() / 9),
        (iv.moved(a, b, iv.point(jnp.asarray(0.1))), exact_x + half * exact_y),
    )
    for found, exact in pairs:
        lo, hi = (_exact(np.asarray(end)) for end in found)
        assert np.all(lo <= exact)
        assert np.all(exact <= hi)


CURVES = {
    "tanh": (lambda x: x.tanh(), lambda x: 1 - x.tanh() ** 2, lambda x: -2 * x.tanh() * (1 - x.tanh() ** 2)),
    "sigmoid": (
        lambda x: 1 / (1 + (-x).exp()),
        lambda x: (-x).exp() / (1 + (-x).exp()) ** 2,
        lambda x: (-x).exp() / (1 + (-x).exp()) ** 2 * ((1 - x.exp()) / (1 + x.exp())),
    ),
    "sin": (lambda x: x.sin(), lambda x: x.cos(), lambda x: -x.sin()),
}


@pytest.mark.parametrize("name", CURVES)
def test_b3_activation_ranges_round_outwards(name):
    points = np.concatenate([np.linspace(-30, 30, 41), [1e-9, -1e-9, 3.1415926, 1e3]])
    for order, exact in enumerate(CURVES[name]):
        found = ACTIVATIONS[name].range(order, iv.point(jnp.asarray(points)))
        for x, lo, hi in zip(points, *map(np.asarray, found), strict=True):
            assert flint.arb(float(lo)) <= exact(flint.arb(float(x))) <= flint.arb(float(hi))
            assert hi - lo < 1e-13 * (1 + abs(lo))


def _steep(t):
    """The exact phi of the march below: two logits -+ 1e9 sin t, u = 1e9 (1, -1)."""
    q = 1 / (1 + (-2 * flint.arb(10) ** 9 * flint.arb(t).sin()).exp())
    return 2 * flint.arb(10) ** 9 * (q - flint.arb(0.5))


@pytest.mark.long
def test_b4_march_stops_where_logits_move_by_a_billion_per_unit():
    """The sign changes at pi, where phi falls from 1e9 to -1e9 within 1e-8: an enclosure that cancels marches past."""
    net = (Layer(jnp.zeros((1, 1)), jnp.zeros(1)), Layer(jnp.asarray([[1e9, -1e9]]), jnp.zeros(2)))
    rate = (Layer(jnp.ones((1, 1)), jnp.zeros(1)), Layer(jnp.zeros((1, 2)), jnp.zeros(2)))
    bound = mlp_ray_bound(ACTIVATIONS["sin"], SoftmaxCrossEntropy(1.0), net, rate, jnp.ones((1, 1)))
    march = jax.jit(lambda bound: marched_radius(bound, jnp.asarray(2.0**-40), cells=200, largest=16.0))
    reached = float(march(bound))
    assert 2.0**-40 < reached < np.pi
    assert all(_steep(reached * k / 64) >= 0 for k in range(65))
    here = jax.jit(lambda bound: bound(3.0, 3.25))(bound)
    assert flint.arb(float(here.value.lo)) <= _steep(3.0) <= flint.arb(float(here.value.hi))
    assert float(here.first.lo) < -1e17  # the fall is inside this cell and the enclosure knows it
    assert guaranteed_radius(bound) < np.pi
