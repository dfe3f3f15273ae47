"""What `certify` and its bounds must not say: claims about another model, another loss, too few bits, no signal."""

import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import (
    ACTIVATIONS,
    MLPTeacher,
    RayBound,
    SquaredError,
    certify,
    estimated_ray_bound,
    inner_product_curve,
    kl_divergence,
    mlp,
    mlp_ray_bound,
    recovered_fraction,
    softmax_cross_entropy,
    squared_error,
)
from theory.descent import certified_product
from theory.mlp import Layer

TANH = ACTIVATIONS["tanh"]
EPS = tuple(2.0**-k for k in range(12, 6, -1))


def _drawn(k, *shape):
    return jnp.asarray(np.random.default_rng(k).normal(size=shape))


def _net(widths=(3, 6, 4)):
    sizes = enumerate(itertools.pairwise(widths))
    return tuple(Layer(_drawn(2 * i, n, m) / n**0.5, _drawn(2 * i + 1, m)) for i, (n, m) in sizes)


def _trait(p):
    return jnp.sum(mlp(TANH)(p, _drawn(9, 5, 3)) ** 2)


def _certify(**changed):
    given = {"apply": mlp(TANH), "loss": squared_error(), "params": _net(), "inputs": _drawn(8, 5, 3)}
    given |= {"eps": EPS, "alphas": (0.5, 1.0)} | changed
    if "direction" not in given:
        given.setdefault("teacher_loss", _trait)
    return certify(*[given.pop(name) for name in ("apply", "loss", "params", "inputs")], **given)


def _stopped(z, y):
    return -jnp.sum(jax.lax.stop_gradient(jax.nn.softmax(y)) * jax.nn.log_softmax(z))


REFUSED = (
    ({"loss": _stopped}, ValueError, "does not see the teacher's outputs move"),
    ({"loss": "kl"}, TypeError, r"loss takes two vectors \[n\].*got 'kl'"),
    ({"loss": lambda z, y: jnp.mean(jnp.sum((z - y) ** 2, axis=1))}, TypeError, r"loss takes two vectors \[n\]"),
    ({"loss": lambda z, y: (z - y) ** 2}, TypeError, r"returns a scalar: got float64\(4,\)"),
    ({"apply": lambda p, x: {"out": mlp(TANH)(p, x)}}, TypeError, r'apply = lambda p, x: f\(p, x\)\["out"\]'),
    ({"apply": lambda p, x: jnp.argmax(mlp(TANH)(p, x), axis=1, keepdims=True)}, TypeError, "no argmax"),
    ({"params": jax.tree.map(np.asarray, _net())}, TypeError, "numpy array at .*jnp.asarray"),
    ({"params": {"a": jnp.ones((3, 4)), "b": np.zeros(2)}}, TypeError, r"numpy array at \['b'\]"),
    ({"teacher_loss": lambda p: jnp.mean(mlp(TANH)(p, _drawn(9, 5, 3)) > 0)}, ValueError, "the direction is zero"),
    ({"teacher_loss": lambda p: mlp(TANH)(p, _drawn(9, 5, 3))}, TypeError, "must return a floating-point scalar"),
)  # fmt: skip


@pytest.mark.parametrize(("changed", "error", "words"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_certificate_says_in_one_line_what_is_wrong(changed, error, words):
    with pytest.raises(error, match=words) as caught:
        _certify(**changed)
    assert "\n" not in str(caught.value)


def test_certificate_names_the_leaf_that_is_no_parameter():
    """BatchNorm's statistics are float32 always, and an NNX state holds keys."""
    params = {"params": jnp.ones((3, 4)), "batch_stats": jnp.zeros(4, jnp.float32)}
    with pytest.raises(TypeError, match=r"float32 at \['batch_stats'\]: give variables\[\"params\"\] alone"):
        _certify(params=params, apply=lambda p, x: x @ p["params"])


def test_s2_another_network_than_the_teachers_is_refused():
    teacher = MLPTeacher(TANH, squared_error(), _drawn(9, 5, 3), jnp.ones((5, 4)))
    with pytest.raises(ValueError, match="apply is not the network of teacher_loss: their outputs differ"):
        _certify(apply=lambda q, x: 100 * mlp(TANH)(q, x), teacher_loss=teacher)


def test_s2_another_derivative_than_the_teachers_is_refused():
    """The outputs agree at one input, the derivatives do not."""
    zero = (Layer(jnp.zeros((1, 1)), jnp.zeros(1)), Layer(jnp.ones((1, 1)), jnp.zeros(1)))
    sin, other = ACTIVATIONS["sin"], lambda p, x: mlp(ACTIVATIONS["sin"])(p, 2 * x)
    teacher = MLPTeacher(sin, squared_error(), jnp.ones((1, 1)), jnp.ones((1, 1)))
    with pytest.raises(ValueError, match="derivatives J d differ"):
        _certify(apply=other, params=zero, inputs=jnp.ones((1, 1)), teacher_loss=teacher)


def test_s2_no_ascent_is_seen_inside_the_box_and_one_would_be_loud():
    teacher = MLPTeacher(TANH, squared_error(), _drawn(9, 5, 3), jnp.ones((5, 4)))
    report = _certify(teacher_loss=teacher, alphas=(2.0**-8, 0.5, 2.0**6))
    assert report.ascents_within_box == 0
    assert max(report.certified_alpha) > 2.0**-8
    text = str(report)
    assert "at its earliest, at eps = " in text
    assert "ASCENTS" not in text
    wrong = report.__class__(**{**vars(report), "ascents_within_box": 3, "negative_within_radius": 2})
    assert "ASCENTS WITHIN THE BOX   3" in str(wrong)
    assert "NEGATIVE WITHIN RADIUS   2: the bound is not of this model" in str(wrong)


def test_s2_counts_ascents_inside_the_region_alone():
    from theory.certificate import _ascents_within

    changes = ((-1.0, 1.0), (1.0, 1.0))  # [eps, alpha]
    count = lambda certified: _ascents_within(certified, (0.1, 0.2), (1.0, 2.0), changes, 0.5)  # noqa: E731
    assert count((2.0, 0.0)) == 1
    assert count((1.0, 0.0)) == 0
    assert count((0.0, 2.0)) == 3
    assert count(()) == 0


@pytest.mark.parametrize("scale", [1.0, 1e5])
def test_l2_the_order_is_that_of_the_limit_whatever_the_size_of_the_direction(scale):
    """On the grid given the remainder of a large direction is nowhere near its limit."""
    direction = jax.tree.map(lambda leaf: scale * leaf, jax.grad(_trait)(_net()))
    report = _certify(direction=direction, eps=(1.0, 2.0, 4.0, 8.0), loss=kl_divergence())
    assert abs(report.remainder_slope - 2) < 0.01
    assert report.lost == ()


def test_b3_float32_inputs_move_no_cell():
    """The product is 2 e - 2 e^2; in float32 the cell was [0.1f, 0.2f], with 0.18 outside of its enclosure."""
    one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
    net = (Layer(zero, jnp.ones(1)), Layer(zero, jnp.zeros(1)))
    rate = (Layer(zero, -jnp.ones(1)), Layer(one, jnp.zeros(1)))
    bound = mlp_ray_bound(ACTIVATIONS["identity"], squared_error(), net, rate, zero.astype(jnp.float32))
    value = bound(0.1, 0.2).value
    truth = 2 * Fraction(0.1) - 2 * Fraction(0.1) ** 2
    assert Fraction(float(value.lo)) <= truth <= Fraction(float(value.hi))
    assert value.hi - value.lo < 1e-12


def test_b3_float32_parameters_are_refused():
    net = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), _net())
    with pytest.raises(TypeError, match="must be float64, got float32"):
        mlp_ray_bound(TANH, squared_error(), net, net, _drawn(8, 5, 3))


def test_b1_nothing_is_proved_where_softmaxes_are_saturated():
    """A gap of 460 between logits: |phi| is below 2^-600, and its sign changes at pi."""
    one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
    net = (Layer(zero, jnp.zeros(1)), Layer(jnp.asarray([[0.0, 1.0]]), jnp.asarray([0.0, -23.0])))
    rate = (Layer(one, jnp.zeros(1)), Layer(jnp.zeros((1, 2)), jnp.zeros(2)))
    loss, sin = softmax_cross_entropy(0.05), ACTIVATIONS["sin"]
    bound = mlp_ray_bound(sin, loss, net, rate, one)
    report = certify(mlp(sin), loss, net, one, direction=rate, bound=bound, eps=(0.5, 1.0, 2.0, 4.0))
    assert 0 < report.leading_coefficient < 2.0**-500
    assert report.guaranteed_radius == 0
    assert "nothing: A is below 2^-500" in str(report)


def test_b1_an_estimate_stays_one_behind_a_function():
    net, x = _net(), _drawn(8, 5, 3)
    direction = jax.tree.map(lambda leaf: -leaf, jax.grad(_trait)(net))
    sampled = estimated_ray_bound(inner_product_curve(mlp(TANH), squared_error(), net, direction, x), samples=3)
    report = _certify(direction=direction, bound=lambda start, stop: sampled(start, stop))
    assert report.estimated
    assert "estimated (no proof)" in str(report)


def test_b1_a_bound_of_another_curve_with_the_same_slope_is_refused():
    net, x = _net(), _drawn(8, 5, 3)
    rate = jax.tree.map(lambda leaf: -leaf, jax.grad(_trait)(net))
    bound = mlp_ray_bound(TANH, squared_error(), net, rate, x)
    bump = lambda p: sum(jnp.sum((a - b) ** 2) for a, b in zip(jax.tree.leaves(p), jax.tree.leaves(net), strict=True))  # noqa: E731
    bent = lambda p, inputs: mlp(TANH)(p, inputs) + bump(p)  # noqa: E731
    assert _certify(direction=rate, bound=bound).guaranteed_radius > 0
    with pytest.raises(ValueError, match=r"not of this ray: phi\(.*\) = .* is not in"):
        _certify(apply=bent, direction=rate, bound=bound)


def test_s2_an_autodiff_gradient_that_cancels_certifies_nothing():
    """Targets halfway between exact and computed outputs: the computed gradient's sign is of rounding alone."""
    rng, certified, seen = np.random.default_rng(0), 0, 0
    for _ in range(40):
        x, w, b = (float(v) for v in rng.normal(size=3))
        net = (Layer(jnp.asarray([[w]]), jnp.asarray([b])),)
        inputs = jnp.asarray([[x]])
        computed, exact = float(mlp(TANH)(net, inputs)[0, 0]), Fraction(x) * Fraction(w) + Fraction(b)
        target = float((Fraction(computed) + exact) / 2)
        if (computed - target) * float(exact - Fraction(target)) >= 0:
            continue
        seen += 1
        teacher = MLPTeacher(TANH, SquaredError(), inputs, jnp.asarray([[target]]))
        direction = jax.tree.map(lambda leaf: -leaf, jax.grad(teacher)(net))
        certified += float(certified_product(SquaredError(), net, direction, inputs, teacher, 0.5)) > 0
    assert seen >= 2
    assert certified == 0


def test_s1_a_fraction_goes_on_growing_after_a_small_residual():
    """G = diag(1, 1e-8), d = (1, 1): half of it after one product, all of it after two, and both residuals small."""
    inputs = jnp.diag(jnp.asarray([1.0, 1e-4])).reshape(1, 2, 2)
    found = recovered_fraction(lambda p, x: (x @ p)[:, None], SquaredError(0.5), jnp.zeros(2), inputs, jnp.ones(2))
    assert abs(float(found.fractions[0]) - 0.5) < 1e-6
    assert abs(float(found.fraction) - 1) < 1e-6


def test_a_bound_says_by_itself_whether_it_is_proved():
    assert RayBound(*[None] * 4).proved is True
