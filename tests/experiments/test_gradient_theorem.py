"""The theorem's experiment: its network is the experiment's own, its counts can fail, and its command runs."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import gradient_theorem as experiment
from experiments.harness import cli
from subliminal_toy import engine
from subliminal_toy.mnist import data
from subliminal_toy.mnist.config import Config


def test_real_network_is_the_experiments_own(digits: data.Dataset) -> None:
    with jax.enable_x64(True):
        real = experiment._RealProblem(Config(), digits, "relu")
        images = jnp.asarray(digits.test_images[:5])
        params = real.model.init(jax.random.key(3))
        expected = real.model.apply(params, images)
        layers = real.params(jax.random.key(3))
        assert all(layer.weight.dtype == jnp.float64 for layer in layers)
        np.testing.assert_allclose(real.apply(layers, images.astype(float)), expected, rtol=1e-4, atol=1e-5)
        labels = digits.train_labels[: experiment.TEACHER_IMAGES]
        logits = np.asarray(real.apply(layers, real.images))[:, :10]
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(real.teacher_loss(layers), -log_p[np.arange(len(labels)), labels].mean())


def row(**changes: object) -> dict:
    base = {
        "family": "f",
        "direction": "gradient",
        "smooth": True,
        "A": 1.0,
        "vacuous": False,
        "slope": 2.0,
        "cosine": 0.5,
    }
    rest = {"other_init_cosine": -0.1, "guaranteed_radius": 1.0, "marched_radius": 2.0, "observed_radius": 3.0}
    return base | rest | {"negative": 0} | changes


def test_summary_counts_what_went_wrong() -> None:
    rows = [row(), row(negative=3), row(vacuous=True, slope=None), row(slope=2.5), row(smooth=False, slope=9.0)]
    summary = experiment.summarize(rows)
    assert (summary["problems"], summary["negative"], summary["vacuous"], summary["slopes"]) == (5, 3, 1, 3)
    assert summary["slope"] == {"min": 2.0, "median": 2.0, "max": 2.5}
    assert summary["cosines"][0]["other"]["mean"] == pytest.approx(-0.1)


def test_families_cover_what_the_statements_speak_of() -> None:
    shapes = [family.shape for family in experiment.FAMILIES]
    assert {shape.direction for shape in shapes} == {"teacher", "decay", "random"}
    assert {shape.inputs for shape in shapes} == {"uniform", "normal", "binary"}
    assert {shape.activation for shape in shapes} >= {"tanh", "relu", "sin", "gelu", "softplus", "sigmoid"}
    assert len(experiment.FAMILIES) * experiment.PRESETS["default"].runs >= 1000


def test_a_line_of_the_table_has_each_number_in_its_place() -> None:
    rows = [
        row(slope=1.9, marched_radius=0.25, observed_radius=0.5, cosine=0.3, other_init_cosine=-0.2),
        row(slope=2.0, marched_radius=0.75, observed_radius=None, cosine=0.4, other_init_cosine=-0.1, negative=2),
        row(slope=2.3, marched_radius=0.5, observed_radius=0.875, cosine=0.5, other_init_cosine=0.0, vacuous=True),
    ]
    cosines = experiment.summarize([row | {"vacuous": False} for row in rows])["cosines"][0]
    assert (cosines["shared"]["mean"], cosines["other"]["mean"]) == pytest.approx((0.4, -0.1))
    line = experiment._line("name", rows, cosines)
    assert line[:6] == ("name", "3", "1", "2", "1.900, 2.000, 2.300", "0.5 / 0.875")
    assert line[6].startswith("0.400 [")
    assert "0.100 [" in line[7][:8]


@pytest.mark.long
def test_smoke_run_writes_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With two of the families and one activation: each is compiled for itself."""
    shown = ("one logit under softmax", "aux. logits only")
    monkeypatch.setattr(experiment, "REAL", ("relu",))
    monkeypatch.setattr(experiment, "FAMILIES", [family for family in experiment.FAMILIES if family.name in shown])
    monkeypatch.setattr(engine, "use_cpu_cores", lambda *_: None)  # the tests' devices stay
    assert cli.command(experiment.EXPERIMENT, ["--preset", "smoke", "--dataset", "digits", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "gradient_theorem.json").read_text())["results"]
    assert results["random"]["problems"] == len(results["random"]["rows"]) == 2 * len(shown)
    assert results["random"]["negative"] == results["mnist"]["negative"] == 0
    assert results["random"]["vacuous"] == 2  # the family of one logit under softmax
    assert results["mnist"]["vacuous"] == results["transformer"]["vacuous"] == 0
    assert results["transformer"]["problems"] == 1
    assert results["transformer"]["negative"] == 0
    assert 1.9 < results["transformer"]["slope"]["median"] < 2.1
    assert 1.9 < results["random"]["slope"]["median"] < 2.1
    assert (tmp_path / "gradient_theorem.png").stat().st_size > 20_000
    assert "| aux. logits only " in capsys.readouterr().out
