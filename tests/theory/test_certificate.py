"""The one-call certificate: what it reports, what it refuses (L1, T1, B1), and that float64 stays in this folder."""

import json
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import (
    ACTIVATIONS,
    ProblemShape,
    SquaredError,
    certify,
    init_mlp,
    mlp,
    mlp_ray_bound,
    random_problems,
    softmax_cross_entropy,
    squared_error,
    study_many,
)
from theory.losses import kl_divergence
from theory.one_step import powers_of_two
from theory.random_problems import Problem, random_inputs, weight_decay

SIN = ACTIVATIONS["sin"]


def _sine():
    net = ((jnp.zeros((1, 1)), jnp.zeros(1)), (jnp.ones((1, 1)), jnp.zeros(1)))
    rate = ((jnp.ones((1, 1)), jnp.zeros(1)), (jnp.zeros((1, 1)), jnp.zeros(1)))
    return net, rate, jnp.ones((1, 1))


def test_certificate_of_the_sine_is_right_in_every_number():
    net, rate, x = _sine()
    loss = SquaredError(jnp.ones(1))
    bound = mlp_ray_bound(SIN, loss, net, rate, x)
    report = certify(
        mlp(SIN), loss, net, x, direction=rate, bound=bound, eps=(2.0**-9, 2.0**-8, 2.0**-7, 1.0, 3.0, 4.0, 7.0)
    )
    assert report.leading_coefficient == 2.0
    np.testing.assert_allclose(report.inner_products, 2 * np.sin(report.eps), rtol=1e-12)
    assert report.first_negative_eps == 4.0
    assert 1.5 < report.guaranteed_radius < np.pi
    assert f"guaranteed non-negative  eps <= {report.guaranteed_radius:.4g}" in str(report)
    assert (report.parameters, report.samples, report.negative_within_radius) == (4, 1, 0)
    assert not report.vacuous
    assert report.assumptions_hold
    assert report.alphas == report.descent == ()
    assert report.cosines[0] > 0 > report.cosines[5]


def test_certificate_maps_the_descent_and_prints_itself():
    params = init_mlp((3, 5, 2), key=jax.random.key(0))
    inputs = random_inputs("uniform", (6, 3), key=jax.random.key(1))
    tanh = ACTIVATIONS["tanh"]
    alphas = (0.5, 1.0, 2.0**20)
    report = certify(mlp(tanh), softmax_cross_entropy(), params, inputs, teacher_loss=weight_decay, alphas=alphas)
    assert report.leading_coefficient > 0
    assert abs(report.remainder_slope - 2) < 0.1
    small = report.eps.index(2.0**-12)
    predicted = [-report.eps[small] * a * report.leading_coefficient for a in report.alphas[:2]]
    np.testing.assert_allclose(report.descent[small][:2], predicted, rtol=0.02)
    assert report.first_ascent_alpha[small] == 2.0**20
    text = str(report)
    for words in ("leading coefficient A", "order 2.0", "hold", "alpha ="):
        assert words in text
    data = json.loads(json.dumps(report.to_dict()))
    assert data["leading_coefficient"] == report.leading_coefficient
    assert data["assumptions_hold"] is True


def test_certificate_says_when_it_is_vacuous_or_the_loss_is_not_covered():
    net, rate, x = _sine()
    still = jax.tree.map(jnp.zeros_like, rate)
    report = certify(mlp(SIN), lambda z, y: -jnp.sum((z - y) ** 2), net, x, direction=still, eps=(0.5, 1.0))
    assert report.vacuous
    assert report.remainder_slope is None
    assert report.first_negative_eps is None
    assert not report.assumptions_hold
    assert "vacuous" in str(report)
    assert "FAIL: minimum, positive" in str(report)
    report = certify(mlp(SIN), lambda z, y: -jnp.sum((z - y) ** 2), net, x, direction=rate, eps=(0.5, 1.0))
    assert report.first_negative_eps == 0.5


def test_certificate_refuses_what_it_cannot_do():
    net, rate, x = _sine()
    apply, loss = mlp(SIN), SquaredError(jnp.ones(1))
    with pytest.raises(ValueError, match="exactly one"):
        certify(apply, loss, net, x)
    with pytest.raises(ValueError, match=r"eps must be positive and ascending, got \(1.0, 0.5\)"):
        certify(apply, loss, net, x, direction=rate, eps=(1.0, 0.5))
    with pytest.raises(TypeError, match="float32"):
        certify(apply, loss, jax.tree.map(lambda p: p.astype(jnp.float32), net), x, direction=rate)


def test_losses_and_shapes_refuse_bad_arguments():
    with pytest.raises(ValueError, match=r"-1\.0"):
        squared_error([1.0, -1.0])
    with pytest.raises(ValueError, match="got 0"):
        softmax_cross_entropy(0.0)
    with pytest.raises(ValueError, match=r"\(1, 1\)"):
        kl_divergence(1.0, (1, 1))
    with pytest.raises(ValueError, match="swish"):
        ProblemShape(activation="swish")
    with pytest.raises(ValueError, match="got 0"):
        ProblemShape(batch=0)
    with pytest.raises(ValueError, match="sizes"):
        init_mlp((3,), key=jax.random.key(0))
    with pytest.raises(ValueError, match="cauchy"):
        random_inputs("cauchy", (1, 1), key=jax.random.key(0))


@pytest.mark.long
def test_many_random_problems_in_one_call():
    keys = jax.random.split(jax.random.key(0), 32)
    rows = study_many(
        keys, ProblemShape((3, 4, 2), "tanh", 4), SquaredError(jnp.ones(2)), jnp.asarray(powers_of_two(6, 15)[::-1]), 8
    )
    assert rows.guaranteed.shape == (32,)
    assert rows.observation.inner_products.shape == (32, 10)
    assert int(jnp.sum(rows.negative)) == 0
    assert bool(jnp.all(rows.guaranteed > 0))
    assert bool(jnp.all(rows.guaranteed <= rows.observed))
    assert abs(float(jnp.nanmedian(rows.observation.slope)) - 2) < 0.02


def test_b4_a_negative_product_beyond_the_guaranteed_radius_is_counted(monkeypatch):
    """With a march that is wrong (up to 4; phi = 2 sin t turns at pi): 4 of 16 points lie beyond the change."""
    monkeypatch.setattr(random_problems, "marched_radius", lambda *_, **__: jnp.asarray(4.0))
    net, rate, x = _sine()
    row = random_problems.measure(Problem(net, rate, x), SIN, SquaredError(jnp.ones(1)), jnp.asarray([0.5, 1.0]))
    assert 1.5 < row.guaranteed < np.pi
    assert (row.marched, row.negative) == (4, 4)
    assert np.pi < row.observed < np.pi * 2**0.25  # the grid's next quarter octave


def test_float64_does_not_leak_out_of_this_folder():
    """The switch is thread-local: a fresh thread, like the rest of the suite, still sees float32."""
    assert jnp.ones(1).dtype == jnp.float64
    seen = []
    thread = threading.Thread(target=lambda: seen.append(jnp.ones(1).dtype))
    thread.start()
    thread.join()
    assert seen == [jnp.float32]
