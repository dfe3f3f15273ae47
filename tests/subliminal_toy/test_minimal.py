"""The page against the package: same keys, same initial weights, the same six accuracies."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy import minimal, mnist
from subliminal_toy.mnist import models
from tests.subliminal_toy.mnist import made_up

FIELDS = ("learning_rate", "batch_size", "epochs")
NAMES = ("reference", "teacher", "student_aux", "student_all", "cross_aux", "cross_all")
TEACHING, IMITATION, NOISE_IMAGES = (2e-3, 16, 3), (1e-3, 32, 4), 90  # neither data set is a multiple of its batch


def package(config: mnist.Config, dataset: mnist.Dataset, runs: range) -> dict[str, np.ndarray]:
    """The package's accuracies of some runs of seed 0, {name: [runs]}."""
    return mnist.accuracies(mnist.train(config, dataset, mnist.STUDENTS, mnist.run_keys(0, runs)), dataset)


def page(
    config: mnist.Config, dataset: mnist.Dataset, run: int, settings: tuple, monkeypatch: pytest.MonkeyPatch
) -> dict[str, float]:
    """The page's accuracies of one run of seed 0, from the weights that the package draws from the same keys."""

    def init(key: jax.Array, pixels: int) -> minimal.Params:
        params = models.make_mlp(config, pixels).init(key)
        return [(params[name]["kernel"], params[name]["bias"]) for name in ("hidden_0", "hidden_1", "head")]

    monkeypatch.setattr(minimal, "init", init)
    return minimal.experiment(jax.random.fold_in(jax.random.key(0), run), dataset, *settings)


def test_the_page_is_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, runs = made_up.dataset(), range(2, 4)
    settings = {
        **{f"teacher.{name}": value for name, value in zip(FIELDS, TEACHING, strict=True)},
        **{f"student.{name}": value for name, value in zip(FIELDS, IMITATION, strict=True)},
        "noise_images": NOISE_IMAGES,
    }
    config = mnist.config_for("mnist", settings)
    expected = package(config, dataset, runs)
    for i, run in enumerate(runs):
        found = page(config, dataset, run, (TEACHING, IMITATION, NOISE_IMAGES), monkeypatch)
        assert tuple(found) == NAMES
        assert found == pytest.approx({name: expected[name][i] for name in NAMES}, abs=1e-6)
        assert len(set(found.values())) == len(NAMES)  # none could be taken for another


def test_its_settings_are_the_packages() -> None:
    for name, (teaching, imitation, noise_images) in minimal.SETTINGS.items():
        config = mnist.config_for(name)
        for training, phase in ((teaching, config.teacher), (imitation, config.student)):
            assert training == tuple(getattr(phase, field) for field in FIELDS)
        assert noise_images == config.noise_images
        layers = (*[config.width] * config.depth, config.logits)
        assert layers == minimal.LAYERS


def test_it_draws_weights_as_the_package_does() -> None:
    ours = minimal.init(jax.random.key(1), 784)
    theirs = models.make_mlp(mnist.Config(), 784).init(jax.random.key(1))
    for (weights, biases), name in zip(ours, ("hidden_0", "hidden_1", "head"), strict=True):
        assert weights.shape == theirs[name]["kernel"].shape
        assert biases.shape == theirs[name]["bias"].shape
        assert not biases.any()
        assert float(jnp.std(weights)) == pytest.approx(float(jnp.std(theirs[name]["kernel"])), rel=0.05)
        assert abs(float(jnp.mean(weights))) < 5 / weights.shape[0] ** 0.5 / weights.size**0.5


def test_it_fits_on_a_page() -> None:
    assert len(Path(minimal.__file__).read_text(encoding="utf-8").splitlines()) <= 90


@pytest.mark.long
def test_on_the_digits_it_shows_the_effect(digits: mnist.Dataset, optimized: None) -> None:
    found = minimal.experiment(jax.random.key(0), digits, *minimal.SETTINGS["digits"])
    assert found["teacher"] > 0.9
    assert found["student_aux"] > 0.5 > 0.25 > found["cross_aux"]
    assert found["cross_all"] > 0.5
