"""The page's JavaScript is an implementation of its own: it is held against JAX, number by number and over seeds."""

import base64
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import docs
from subliminal_toy import training
from subliminal_toy.mnist import data, losses, models
from subliminal_toy.mnist.config import Config
from subliminal_toy.settings import Training

CONFIG, PIXELS, ROWS, STEPS = Config(width=18, depth=2, aux_logits=3), 11, 22, 10
LOSSES = {"cross_entropy": (0, 10), "kl": (10, 13), "mse": (10, 13)}
RESULTS = json.loads((docs.RESULTS / "page_networks.json").read_text())["results"]
SEEDS = 5

TEN_STEPS = """([layers, batches, how]) => {
  const network = layers.map((l) => ({...l, kernel: Float32Array.from(l.kernel), bias: Float32Array.from(l.bias)}));
  const state = mlp.adam(network), rows = batches[0].rows, losses = [];
  const logits = Array.from(mlp.logits(network, Float32Array.from(batches[0].images), rows));
  for (const b of batches) {
    const batch = {images: Float32Array.from(b.images), targets: Float32Array.from(b.targets), rows};
    losses.push(mlp.step(network, state, batch, how));
  }
  return [logits, losses, network.map((l) => ({kernel: Array.from(l.kernel), bias: Array.from(l.bias)}))];
}"""


def in_jax(params: models.Params, images: np.ndarray, targets: np.ndarray, kind: str, rate: float) -> tuple:
    """Logits of the first batch, losses before each step, and the parameters after the last."""
    first, last = LOSSES[kind]
    mask = (np.arange(CONFIG.logits) >= first) & (np.arange(CONFIG.logits) < last)
    value = {"cross_entropy": losses.cross_entropy, "kl": losses.distillation_kl, "mse": losses.distillation_mse}[kind]
    apply = models.make_mlp(CONFIG, PIXELS).apply
    rule = training.make_optimizer(Training(learning_rate=rate), ROWS)

    @jax.jit
    def step(params: Any, state: Any, x: jax.Array, y: jax.Array) -> tuple:
        loss, gradient = jax.value_and_grad(lambda p: value(apply(p, x), y, mask))(params)
        updates, state = rule.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    z, state, found = apply(params, images[0]), rule.init(params), []
    for x, y in zip(images, targets, strict=True):
        params, state, loss = step(params, state, x, y)
        found.append(float(loss))
    return np.asarray(z), found, params


@pytest.mark.parametrize("kind", LOSSES)
def test_ten_steps_of_adam_are_those_of_jax(lab: Any, kind: str) -> None:
    rng = np.random.default_rng(1)
    params = models.make_mlp(CONFIG, PIXELS).init(jax.random.key(3))
    images = rng.uniform(-1, 1, (STEPS, ROWS, PIXELS)).astype(np.float32)
    targets = rng.normal(size=(STEPS, ROWS, CONFIG.logits)).astype(np.float32)
    if kind == "cross_entropy":
        targets = np.eye(CONFIG.logits, dtype=np.float32)[rng.integers(0, 10, (STEPS, ROWS))]
    names = ["hidden_0", "hidden_1", "head"]
    layers = [
        {"inputs": k.shape[0], "units": k.shape[1], "kernel": k.ravel().tolist(), "bias": params[name]["bias"].tolist()}
        for name, k in ((name, np.asarray(params[name]["kernel"])) for name in names)
    ]
    batches = [
        {"images": x.ravel().tolist(), "targets": y.ravel().tolist(), "rows": ROWS}
        for x, y in zip(images, targets, strict=True)
    ]
    how = {"loss": kind, "first": LOSSES[kind][0], "last": LOSSES[kind][1], "rate": 1e-2}
    z, found, after = lab.evaluate(TEN_STEPS, [layers, batches, how])
    jax_z, jax_losses, jax_after = in_jax(params, images, targets, kind, 1e-2)
    np.testing.assert_allclose(np.reshape(z, (ROWS, -1)), jax_z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, jax_losses, rtol=1e-5)
    for layer, name in zip(after, names, strict=True):
        for part in ("kernel", "bias"):
            want = np.asarray(jax_after[name][part])
            np.testing.assert_allclose(np.reshape(layer[part], want.shape), want, rtol=1e-5, atol=2e-6)
    moved = np.abs(np.asarray(jax_after["hidden_0"]["kernel"]) - np.asarray(params["hidden_0"]["kernel"]))
    assert np.median(moved) > 1e-2  # the agreement is about steps that were made


def test_its_digits_are_the_experiments(lab: Any, digits: data.Dataset) -> None:
    for name in ("train", "test"):
        images, labels = lab.evaluate(f"[Array.from(DIGITS.{name}Images), Array.from(DIGITS.{name}Labels)]")
        np.testing.assert_array_equal(np.reshape(images, (-1, 64)), getattr(digits, f"{name}_images"))
        np.testing.assert_array_equal(labels, getattr(digits, f"{name}_labels"))


@pytest.mark.long
def test_over_seeds_its_accuracies_are_those_of_jax(lab: Any) -> None:
    """The mean of five seeds lies where JAX's runs foretell it: the 99% t interval for the mean of five new runs."""
    code = """(seed) => {
      const found = {};
      const settings = {...DATA.training.settings, seed};
      for (const look of protocol.experiment(settings, DIGITS, {every: 1e9})) Object.assign(found, look.accuracy);
      return found;
    }"""
    found = [lab.evaluate(code, seed) for seed in range(1, SEEDS + 1)]
    results = json.loads((docs.RESULTS / "page" / "mnist_aux_logits.json").read_text())["results"]["conditions"]
    for own, name in {
        "reference": "reference",
        "teacher": "teacher",
        "same": "student_aux",
        "other": "cross_aux",
    }.items():
        runs = np.array(docs.pick(results, name)["accuracy"])
        half = stats.t.ppf(0.995, len(runs) - 1) * runs.std(ddof=1) * (1 / len(runs) + 1 / SEEDS) ** 0.5
        assert abs(np.mean([one[own] for one in found]) - runs.mean()) < half, name


def test_the_questions_have_the_answers_that_the_page_gives(lab: Any) -> None:
    """Real digits teach less than noise did in the worst of JAX's runs; a single output nothing, its raw value much."""
    code = """(changed) => {
      const found = {}, settings = {...DATA.training.settings, seed: 1, ...changed};
      const looks = protocol.experiment(settings, DIGITS, {students: ["same"], every: 1e9});
      for (const look of looks) Object.assign(found, look.accuracy);
      return found;
    }"""
    results = json.loads((docs.RESULTS / "page" / "mnist_aux_logits.json").read_text())["results"]["conditions"]
    assert lab.evaluate(code, {"noise": "real"})["same"] < min(docs.pick(results, "student_aux")["accuracy"])
    nothing = lab.evaluate(code, {"aux_logits": 1, "noise_images": 128})
    assert nothing["same"] == nothing["reference"]
    assert lab.evaluate(code, {"aux_logits": 1, "loss": "mse"})["same"] > 0.3


@pytest.mark.parametrize("kind", ["uniform", "gaussian", "bernoulli", "real"])
def test_noise_has_the_moments_of_the_experiments(lab: Any, kind: str) -> None:
    images = np.reshape(
        lab.evaluate(f"Array.from(protocol.makeNoise('{kind}', 1500, DIGITS, protocol.streams(1)('n')))"), (1500, 64)
    )
    if kind == "real":
        real = np.reshape(lab.evaluate("Array.from(DIGITS.trainImages)"), (-1, 64))
        known, counts = np.unique(images, axis=0, return_counts=True)
        assert len(known) == len(np.unique(real, axis=0))
        assert counts.max() <= 2 * 2  # each image once or twice; a pair of images may be alike
        return
    assert abs(images.mean()) < 0.01
    assert abs(images.var() - 1 / 3) < 0.01
    assert np.abs(np.corrcoef(images.T) - np.eye(64)).max() < 0.1
    kurtosis = {"uniform": 1.8, "gaussian": 3.0, "bernoulli": 1.0}[kind]
    assert abs(np.mean(images**4) / np.mean(images**2) ** 2 - kurtosis) < 0.1


def committed_networks() -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """The networks of page_networks.bin by name, read by hand: layers of (kernel, bias)."""
    content, at, networks = (docs.RESULTS / "page_networks.bin").read_bytes(), 0, {}

    def take(kind: str, n: int) -> np.ndarray:
        nonlocal at
        found = np.frombuffer(content, kind, n, at)
        at += found.nbytes
        return found

    for row in RESULTS["networks"]:
        networks[row["name"]] = []
        for inputs, units in ((layer["inputs"], layer["units"]) for layer in RESULTS["layers"]):
            steps, bias = take("<f4", units), take("<f4", units)
            networks[row["name"]].append((take("i1", inputs * units).reshape(inputs, units) * steps, bias))
    assert at == len(content) == RESULTS["bytes"]
    return networks


def forward(layers: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray) -> np.ndarray:
    """The logits of images [n, pixels]."""
    for kernel, bias in layers[:-1]:
        x = np.maximum(x @ kernel + bias, 0)
    return x @ layers[-1][0] + layers[-1][1]


def test_its_networks_are_the_committed_ones(lab: Any) -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (4, 784)).astype(np.float32)
    code = """([images, rows]) => {
      const {weights, layers, rows: names} = DATA.networks;
      const networks = drawing.unpack(weights, layers, names.map((r) => r.name));
      return Object.entries(networks).map(([n, w]) => [n, Array.from(mlp.logits(w, Float32Array.from(images), rows))]);
    }"""
    found = dict(lab.evaluate(code, [images.ravel().tolist(), len(images)]))
    for name, layers in committed_networks().items():
        want = forward(layers, images)
        np.testing.assert_allclose(np.reshape(found[name], want.shape), want, rtol=1e-4, atol=1e-4)


@pytest.mark.mnist
def test_drawings_are_prepared_as_mnist_was(lab: Any, mnist: data.Dataset) -> None:
    """Test images, four times as large and out of place, come back as they were; the teacher reads them as ever."""
    n = 200
    bytes_ = np.round((mnist.test_images[:n] + 1) * 127.5).astype(np.uint8).reshape(n, 28, 28)
    large = np.pad(bytes_.repeat(4, axis=1).repeat(4, axis=2), ((0, 0), (0, 9), (17, 0)))
    code = """([encoded, n, width, height]) => {
      const all = Float32Array.from(bytes(encoded), (v) => v / 255);
      const one = (i) => all.subarray(i * width * height, (i + 1) * width * height);
      return Array.from({length: n}, (_, i) => Array.from(drawing.prepare(one(i), width, height)));
    }"""
    encoded = base64.b64encode(large.tobytes()).decode()
    found = np.array(lab.evaluate(code, [encoded, n, large.shape[2], large.shape[1]]), np.float32)
    assert np.mean(np.abs(found - mnist.test_images[:n]).max(axis=1) < 1e-6) > 0.95
    teacher = next(row for row in RESULTS["networks"] if row["network"] == "teacher")

    def read(images: np.ndarray) -> np.ndarray:
        return np.argmax(forward(committed_networks()[teacher["name"]], images)[:, :10], axis=1)

    assert np.mean(read(found) == read(mnist.test_images[:n])) > 0.97
    assert abs(np.mean(read(found) == mnist.test_labels[:n]) - teacher["rounded"]) < 0.05


def test_a_drawing_is_scaled_and_centred_by_its_mass(lab: Any) -> None:
    ink = np.zeros((100, 60), np.float32)
    ink[10:50, 5:25] = 1.0
    image = np.reshape(lab.evaluate("([ink, w, h]) => Array.from(drawing.prepare(Float32Array.from(ink), w, h))",
                                    [ink.ravel().tolist(), 60, 100]), (28, 28))  # fmt: skip
    want = -jnp.ones((28, 28)).at[5:25, 10:20].set(-1.0)
    np.testing.assert_array_equal(image, np.asarray(want))
    assert lab.evaluate("drawing.prepare(new Float32Array(100), 10, 10)") is None
