"""The MLP: shapes, init statistics of each scheme, shared layers, perturbed inits, agreement with plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy.mnist import models
from subliminal_toy.mnist.config import Config


def init(config: Config, seed: int = 0, pixels: int = 784) -> models.Params:
    return models.make_mlp(config, pixels).init(jax.random.key(seed))


def test_paper_network_has_its_number_of_parameters() -> None:
    assert sum(leaf.size for leaf in jax.tree.leaves(init(Config()))) == 270_093


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_forward_is_numpys(depth: int) -> None:
    config = Config(width=9, depth=depth, init="torch_default")
    params, x = init(config, pixels=6), np.random.default_rng(0).normal(size=(4, 6))
    expected = x
    for i in range(depth + 1):
        layer = params["head" if i == depth else f"hidden_{i}"]
        expected = expected @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
        expected = np.maximum(expected, 0) if i < depth else expected
    actual = models.make_mlp(config, 6).apply(params, jnp.asarray(x, jnp.float32))
    assert actual.shape == (4, 13)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("scheme", "variance"),
    [
        ("lecun_normal", 1 / 784),
        ("he_normal", 2 / 784),
        ("glorot_normal", 2 / (784 + 256)),
        ("torch_default", 1 / 784 / 3),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_init_scheme_and_scale(scheme: str, variance: float, scale: float) -> None:
    layer = init(Config(init=scheme, init_scale=scale))["hidden_0"]
    assert np.var(layer["kernel"]) == pytest.approx(scale**2 * variance, rel=0.02)
    if scheme == "torch_default":
        bound = scale / 784**0.5
        assert 0.9 * bound < np.abs(layer["bias"]).max() <= bound
        assert np.abs(layer["kernel"]).max() <= bound * 1.0001
    else:
        assert not np.any(layer["bias"])
        assert np.abs(layer["kernel"]).max() > 3.5 * scale * variance**0.5  # normal, not truncated at 2 std


def test_inits_depend_on_the_key() -> None:
    first, second = init(Config(), 0)["head"]["kernel"], init(Config(), 1)["head"]["kernel"]
    assert abs(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]) < 0.1


@pytest.mark.parametrize("shared", [(), ("hidden_1",), ("class_head",), ("hidden_0", "aux_head")])
def test_mix_inits_takes_each_layer_from_where_it_should(shared: tuple[str, ...]) -> None:
    ours, theirs = init(Config(init="torch_default"), 0), init(Config(init="torch_default"), 1)
    mixed = models.mix_inits(ours, theirs, shared, classes=10)
    parts = {
        "hidden_0": lambda p: p["hidden_0"]["kernel"],
        "hidden_1": lambda p: p["hidden_1"]["bias"],
        "class_head": lambda p: p["head"]["kernel"][:, :10],
        "aux_head": lambda p: p["head"]["bias"][10:],
    }
    for name, part in parts.items():
        np.testing.assert_array_equal(part(mixed), part(ours if name in shared else theirs), err_msg=name)
        assert not np.array_equal(part(ours), part(theirs))


def test_perturb_adds_noise_of_the_asked_size_to_weights_only() -> None:
    params = init(Config(init="torch_default"))
    noisy = models.perturb(params, 0.1, key=jax.random.key(5))
    difference = jax.tree.map(lambda a, b: np.asarray(a - b), noisy, params)
    assert np.std(difference["hidden_0"]["kernel"]) == pytest.approx(0.1 / 784**0.5, rel=0.02)
    assert np.std(difference["hidden_1"]["kernel"]) == pytest.approx(0.1 / 256**0.5, rel=0.02)
    assert not any(np.any(layer["bias"]) for layer in difference.values())


def test_perturb_draws_the_noise_of_every_layer_anew() -> None:
    zeros = {name: {"bias": np.zeros(3, np.float32), "kernel": np.zeros((3, 3), np.float32)} for name in "ab"}
    noisy = models.perturb(zeros, 1.0, key=jax.random.key(0))
    assert not np.any(np.isclose(noisy["a"]["kernel"], noisy["b"]["kernel"]))
