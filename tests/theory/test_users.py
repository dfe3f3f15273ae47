"""What `certify` tells people with models of their own: what it refuses, what is lost, and the recipes (L1, R2, B3)."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import (
    ACTIVATIONS,
    certify,
    conditions,
    estimated_ray_bound,
    inner_product_curve,
    kl_divergence,
    mlp,
    mlp_ray_bound,
    softmax_cross_entropy,
    squared_error,
)

EPS = (2.0**-12, 2.0**-11, 2.0**-10, 2.0**-9, 2.0**-8, 2.0**-7, 1.0)
X = np.random.default_rng(0).normal(size=(3, 2))
PARAMS = np.asarray([[1.0, -0.5, 0.25], [0.5, 1.0, -1.0]])
TOWARDS = np.asarray([[0.3, 0.1, -0.2], [-0.1, 0.2, 0.4]])


def _linear(p, x):
    return x @ p


def _narrowed(values, kind=jnp.float32):
    """As layers with half the bits inside do: the outputs' own type does not show it."""
    return values.astype(kind).astype(float)


def _halved(values, _):
    return _narrowed(values, jnp.float16), None


def _report(apply=_linear, loss=None, params=PARAMS, direction=TOWARDS, inputs=X, eps=EPS, **options):
    arrays = jnp.asarray(params), jnp.asarray(inputs)
    towards = None if direction is None else jnp.asarray(direction)
    return certify(apply, loss or softmax_cross_entropy(), *arrays, direction=towards, eps=eps, **options)


REFUSED = (
    ({"apply": lambda p, x: (x @ p)[:, 0]}, ValueError, r"outputs \[batch, n\], got shape \(3,\)"),
    ({"apply": lambda p, x: (x @ p, x)}, TypeError, "one array of outputs, got a tuple"),
    ({"inputs": np.full((3, 2), np.nan)}, ValueError, "outputs hold NaN"),
    ({"direction": TOWARDS[:, :1]}, ValueError, "direction must be a tree like params"),
    ({"direction": TOWARDS.astype(np.float32)}, ValueError, "direction must be a tree like params"),
    ({"inputs": np.zeros((0, 2))}, ValueError, r"at least one sample, got shape \(0, 3\)"),
    ({"eps": (np.nan,)}, ValueError, "eps must be positive and ascending"),
    ({"eps": (0.5, np.inf)}, ValueError, "eps must be positive and ascending"),
    ({"eps": np.ones((2, 2))}, ValueError, "eps must be positive and ascending"),
    (
        {"loss": kl_divergence(indices=(1, 2, 3))},
        ValueError,
        r"indices \(1, 2, 3\) reach past the model's 3 outputs",
    ),
    ({"apply": lambda p, x: _narrowed(x @ p)}, TypeError, "apply computes in float32, too coarse"),
    ({"apply": jax.jit(lambda p, x: _narrowed(x @ p, jnp.bfloat16))}, TypeError, "apply computes in bfloat16"),
    ({"apply": lambda p, x: x @ jax.lax.scan(_halved, p, None, 2)[0]}, TypeError, "apply computes in float16"),
    ({"loss": lambda z, y: jnp.sum(_narrowed(z - y) ** 2)}, TypeError, "loss computes in float32"),
    (
        {"direction": None, "teacher_loss": lambda p: jnp.sum(_narrowed(p))},
        TypeError,
        "teacher_loss computes in float32",
    ),
    ({"direction": np.full((2, 3), np.inf)}, ValueError, "derivative J d hold NaN"),
    (
        {"apply": lambda p, x: jax.nn.log_softmax(x @ p), "loss": lambda z, y: -jnp.sum(jnp.exp(y) * z)},
        ValueError,
        "look like .log-.probabilities",
    ),
)


@pytest.mark.parametrize(("changed", "error", "words"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_certificate_refuses_what_it_would_misread(changed, error, words):
    with pytest.raises(error, match=words) as caught:
        _report(**changed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [softmax_cross_entropy, kl_divergence], ids=lambda v: v.__name__)
def test_b3_bounds_refuse_indices_past_the_outputs(kind):
    """JAX takes the last logit instead, and the bound would enclose another function."""
    net = ((jnp.asarray(PARAMS), jnp.zeros(3)),)
    for indices in ((0, 3), (3,)):
        bound = mlp_ray_bound(ACTIVATIONS["tanh"], kind(indices=indices), net, net, jnp.asarray(X))
        with pytest.raises(ValueError, match="reach past the model's 3 outputs"):
            bound(0.0, 0.5)


def test_positions_of_another_type_are_no_loss_of_precision():
    """What depends on no parameter may be float32: the sum is of float64."""
    assert _report(lambda p, x: x @ p + jnp.sin(jnp.arange(3, dtype=jnp.float32)).astype(float)[None, :]).samples == 3


@pytest.mark.parametrize("grid", [jnp.logspace(-4, 0, 3), np.logspace(-4, 0, 3), [0.0001, 0.01, 1]], ids=type)
def test_grids_may_be_arrays(grid):
    report = _report(eps=grid, direction=None, teacher_loss=lambda p: jnp.sum(p**2), alphas=2.0)
    np.testing.assert_allclose(report.eps, (1e-4, 1e-2, 1.0))
    assert report.alphas == (2.0,)
    assert all(type(e) is float for e in report.eps)


def test_certificate_refuses_leaves_that_are_no_arrays():
    for leaf, words in ((0.5, r"got 0.5 at \['w'\]"), (jnp.tanh, "arrays only, got .* at")):
        with pytest.raises(TypeError, match=words):
            certify(_linear, squared_error(), {"w": leaf}, jnp.asarray(X), direction={"w": jnp.ones(1)})


def test_certificate_checks_that_the_bound_belongs_to_the_direction():
    net = ((jnp.asarray(PARAMS), jnp.zeros(3)),)
    rate, short, long = (((jnp.asarray(d), jnp.zeros(3)),) for d in (TOWARDS, 0.99 * TOWARDS, 1.01 * TOWARDS))
    loss, tanh, x = squared_error(), ACTIVATIONS["tanh"], jnp.asarray(X)
    for other in (short, long):  # the slope is too small, and too large
        bound = mlp_ray_bound(tanh, loss, net, other, x)
        with pytest.raises(ValueError, match="not of this ray"):
            certify(mlp(tanh), loss, net, x, direction=rate, bound=bound, eps=EPS)
    report = certify(mlp(tanh), loss, net, x, direction=rate, bound=mlp_ray_bound(tanh, loss, net, rate, x), eps=EPS)
    assert report.guaranteed_radius > 1000
    assert "negative within radius   0" in str(report)


def test_certificate_judges_the_loss_at_the_outputs_that_occur():
    clipped = lambda z, y: jnp.sum((z - jnp.clip(y, -100.0, 100.0)) ** 2)  # noqa: E731
    assert _report(loss=clipped).assumptions_hold
    report = _report(loss=clipped, params=1e4 * PARAMS)
    assert "minimum" in report.conditions.failed
    assert "L1" in report.lost
    assert "statements lost          L1, L2, T1, T2" in str(report)


def test_certificate_judges_the_loss_at_the_outputs_of_a_teacher_that_went_far():
    """The student's outputs are small, and so are the teacher's at all steps but the last."""
    clipped = lambda z, y: jnp.sum((z - jnp.clip(y, -100.0, 100.0)) ** 2)  # noqa: E731
    assert _report(loss=clipped, direction=1e3 * TOWARDS, eps=EPS[:-1]).conditions.failed == ()
    assert "minimum" in _report(loss=clipped, direction=1e3 * TOWARDS).conditions.failed


def test_certificate_is_not_fooled_by_saturated_logits_nor_by_a_common_shift():
    """A = 0 in arithmetic while phi(1) is large; and a shift of all logits that round-off made negative."""
    report = _report(params=1e5 * PARAMS, direction=-1e5 * PARAMS, eps=(2.0**-9, 1.5))
    assert not report.vacuous
    assert report.inner_products[-1] > 1e4
    assert report.assumptions_hold
    report = _report(direction=np.ones((2, 1)) * np.ones((1, 3)))
    assert report.vacuous
    assert report.first_negative_eps is None
    assert "negative   never" in str(report)


def test_l1_a_unit_exactly_at_its_kink_breaks_it_and_the_report_says_so():
    """`theta - 3 relu(theta)` at 0: autodiff sees A = 2, but phi = -4 eps."""
    kinked = lambda p, x: x * (p - 3 * jax.nn.relu(p))[None, :]  # noqa: E731
    report = _report(kinked, squared_error(), np.zeros(1), np.ones(1), np.ones((1, 1)))
    assert report.leading_coefficient == 2
    np.testing.assert_allclose(report.inner_products, [-4 * e for e in EPS])
    assert not report.assumptions_hold
    assert {"L1", "T1"} <= set(report.lost)
    assert "FAIL: smooth" in str(report)


def test_r2_a_loss_that_is_only_twice_differentiable_has_a_remainder_of_lower_order():
    rough = lambda z, y: jnp.sum((z - y) ** 2 + jnp.abs(z - y) ** 2.5)  # noqa: E731
    report = _report(loss=rough)
    assert abs(report.remainder_slope - 1.5) < 0.02
    assert report.lost == ("L2",)


def test_r2_large_outputs_are_checked_through_products():
    n = 1024
    report = _report(lambda p, x: x @ p, params=np.ones((2, n)) / 9, direction=np.cos(np.arange(2.0 * n)).reshape(2, n))
    assert report.assumptions_hold
    assert report.conditions.failed == ()


def test_r2_directions_for_large_outputs_are_orthonormal():
    frame = conditions._frame(700)
    np.testing.assert_allclose(frame.T @ frame, np.eye(conditions.DENSE), atol=1e-12)
    assert np.abs(frame).max() < 0.1  # none of them is an axis


def test_estimated_radius_is_called_an_estimate():
    p, d = jnp.asarray(PARAMS), jnp.asarray(TOWARDS)
    curve = inner_product_curve(_linear, squared_error(), p, d, jnp.asarray(X))
    text = str(_report(loss=squared_error(), bound=estimated_ray_bound(curve, samples=3)))
    assert "estimated (no proof)     eps <= 1024" in text


PAGE = (Path(__file__).parents[2] / "theory/certify.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"```python\n(# (\w+ ?\w*):.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("code", "name"), RECIPES, ids=[name for _, name in RECIPES])
def test_recipes_run(code, name):
    """Flax Linen, Flax NNX, Equinox and a proved radius: each about ten lines, each a whole report in float64."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        space = {}
        exec(code, space)
    report = space["report"]
    assert report.assumptions_hold
    assert report.leading_coefficient > 0
    assert abs(report.remainder_slope - 2) < 0.2
    assert ("estimated (no proof)" in str(report)) == (name == "Flax Linen")
    if name == "Proved radius":
        assert str(report) in PAGE


def test_there_is_a_recipe_for_each_library():
    assert [name for _, name in RECIPES] == ["Flax Linen", "Flax NNX", "Equinox", "Proved radius"]
    assert all(len(code.strip().splitlines()) <= 15 for code, _ in RECIPES)
