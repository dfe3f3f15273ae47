"""Measurements of mnist_mechanism on networks made up for it, and its rows from made-up values, every one different."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments.harness import cli
from experiments.mnist.runs import Job
from experiments.studies import mnist_mechanism
from experiments.studies.mnist_mechanism import arms as mechanism
from experiments.studies.mnist_mechanism import coverage as shown
from experiments.studies.mnist_mechanism import interventions
from experiments.studies.mnist_mechanism import rows as summaries
from experiments.studies.mnist_mechanism.interventions import LINEAR, PROBED, UPDATES
from subliminal_toy import mnist
from subliminal_toy.mnist import data, models, noise

CONFIG = dataclasses.replace(mnist.config_for("digits"), width=6, noise_images=40, aux_logits=3)
RUNS, STEPS, LAYERS = 2, 60, 4


def flat(tree: Any, run: int = 0) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(leaf[run], np.float64)) for leaf in jax.tree.leaves(tree)])


@pytest.fixture(scope="module")
def trained() -> mnist.Trained:
    """Networks that nobody trained: every one is different."""
    model = models.make_mlp(CONFIG, 64)

    def networks(seed: int, *shape: int) -> Any:
        params = jax.vmap(model.init)(jax.random.split(jax.random.key(seed), int(np.prod(shape))))
        return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), params)

    rng, names = np.random.default_rng(0), [condition.name for condition in mechanism.MAIN]
    vectors = rng.normal(size=(RUNS, STEPS, 4, LAYERS, 5))
    gram = np.einsum("rsalk,rsblk->rsabl", vectors, vectors)
    probed = {name: {"gram": gram * (i + 1), "kappa": rng.uniform(2, 9, (RUNS, STEPS))}
              for i, name in enumerate(mechanism.SPLIT)}  # fmt: skip
    losses = {name: rng.uniform(size=(RUNS, 5)) for name in names}
    inits = networks(3, RUNS, len(names))
    anchor = jax.tree.map(lambda leaf: leaf[:, names.index("linear student")], inits)
    return mnist.Trained(
        CONFIG,
        mechanism.MAIN,
        models.make_mlp(CONFIG, 64),
        mnist.run_keys(0, range(RUNS)),
        networks(1, RUNS),
        networks(2, RUNS),
        inits,
        networks(4, RUNS, len(names)),
        losses,
        {},
        probed,
        {"linear student": {"anchor": anchor}},
    )


def accuracy(tree: Any, run: int, digits: data.Dataset) -> float:
    logits = models.make_mlp(CONFIG, 64).apply(jax.tree.map(lambda leaf: leaf[run], tree), digits.test_images)
    return float(np.mean(np.argmax(logits[:, :10], axis=1) == digits.test_labels))


def test_displacements_are_measured_against_the_teachers(trained: mnist.Trained, digits: data.Dataset) -> None:
    values = mechanism._measure_main(trained, digits)
    for run in range(RUNS):
        delta = flat(trained.teacher, run) - flat(trained.reference, run)
        for name in ("student_aux", "cross_aux", "only trait"):
            own = flat(trained.params(name), run) - flat(trained.init(name), run)
            np.testing.assert_allclose(values[f"fraction {name}"][run], own @ delta / (delta @ delta), rtol=1e-3)
            lengths = np.linalg.norm(own), np.linalg.norm(delta)
            np.testing.assert_allclose(values[f"cosine {name}"][run], own @ delta / np.prod(lengths), rtol=1e-3)
            np.testing.assert_allclose(values[f"length {name}"][run], lengths[0] / lengths[1], rtol=1e-4)
            assert values[f"loss {name}"][run] == trained.losses[name][run, -1]
    np.testing.assert_array_equal(values["loss reference"], shown.untrained_loss(trained, digits))
    shapes = {key: np.shape(column)[0] for key, column in values.items()}
    assert set(shapes.values()) == {RUNS}


def test_the_ray_and_the_two_parts_of_a_displacement_are_networks_of_their_own(
    trained: mnist.Trained, digits: data.Dataset
) -> None:
    values, run = mechanism._measure_main(trained, digits), 1
    way = jax.tree.map(jnp.subtract, trained.teacher, trained.reference)
    for i, s in enumerate(mechanism.RAY):
        there = jax.tree.map(lambda start, leaf, s=s: start + s * leaf, trained.reference, way)
        np.testing.assert_allclose(values["ray"][run, i], accuracy(there, run, digits), atol=1.5 / 360)
    for name in mechanism.SPLIT:
        start, own = trained.init(name), jax.tree.map(jnp.subtract, trained.params(name), trained.init(name))
        delta = flat(way, run)
        share = flat(own, run) @ delta / (delta @ delta)
        along = jax.tree.map(lambda a, leaf, c=share: a + c * leaf, start, way)
        rest = jax.tree.map(lambda a, b, leaf, c=share: a + b - c * leaf, start, own, way)
        np.testing.assert_allclose(values[f"along {name}"][run], accuracy(along, run, digits), atol=1.5 / 360)
        np.testing.assert_allclose(values[f"rest {name}"][run], accuracy(rest, run, digits), atol=1.5 / 360)


def test_cosines_of_steps_are_over_all_layers_and_by_layer(trained: mnist.Trained, digits: data.Dataset) -> None:
    values = mechanism._measure_main(trained, digits)
    gram = trained.probed["cross_aux"]["gram"]
    whole = gram.sum(axis=-1)
    place = interventions.VECTORS.index
    for one, other in mechanism.PAIRS:
        key, a, b = f"{one} {other} cross_aux", place(one), place(other)
        cosine = whole[:, :, a, b] / np.sqrt(whole[:, :, a, a] * whole[:, :, b, b])
        np.testing.assert_allclose(values[f"cosine {key}"], cosine.mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose(values[f"first {key}"], cosine[:, 0], rtol=1e-6)
        np.testing.assert_allclose(values[f"positive {key}"], (cosine > 0).mean(axis=1))
        np.testing.assert_allclose(values[f"curve {key}"], cosine[:, mechanism.curve_steps(STEPS)], rtol=1e-6)
        layer = gram[:, :, a, b, 2] / np.sqrt(gram[:, :, a, a, 2] * gram[:, :, b, b, 2])
        np.testing.assert_allclose(values[f"layers {key}"][:, 2], layer.mean(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(values["kappa cross_aux"], np.median(trained.probed["cross_aux"]["kappa"], axis=1))
    kept = mechanism.curve_steps(STEPS)
    assert (kept[0], kept[-1]) == (0, STEPS - 1)
    assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize("kind", ["uniform", "real"])
def test_the_predicted_fraction_is_the_projection_on_what_the_images_can_show(
    trained: mnist.Trained, digits: data.Dataset, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Against dense linear algebra: the rows of M^(1/2) J span the range of G."""
    images, model = 5, models.make_mlp(CONFIG, 64)
    shown._make_fraction.cache_clear()
    monkeypatch.setattr(shown, "ITERATIONS", 60)
    config = dataclasses.replace(CONFIG, noise=kind)
    predicted = shown.predicted_fraction(trained._replace(config=config), digits, images)
    shown._make_fraction.cache_clear()
    for run in range(RUNS):
        params = jax.tree.map(lambda leaf, run=run: leaf[run], trained.reference)
        key = jax.tree.map(lambda k, run=run: k[run], trained.keys).noise
        seen = noise.make_noise(config, (8, 8), digits.train_images, key=key)[:images]
        jacobian = jax.jacobian(lambda p, seen=seen: model.apply(p, seen)[:, CONFIG.classes :])(params)
        rows = np.concatenate([np.reshape(leaf, (images, 3, -1)) for leaf in jax.tree.leaves(jacobian)], axis=2)
        p = np.asarray(jax.nn.softmax(model.apply(params, seen)[:, CONFIG.classes :]))
        root = [np.sqrt(np.diag(q)) @ (np.eye(3) - np.outer(np.ones(3), q)) for q in np.float64(p)]
        span = np.concatenate([one @ other for one, other in zip(root, rows, strict=True)])
        delta = flat(trained.teacher, run) - flat(trained.reference, run)
        _, singular, basis = np.linalg.svd(span, full_matrices=False)
        basis = basis[singular > 1e-6 * singular[0]]
        assert len(basis) == 2 * images
        np.testing.assert_allclose(predicted[run], np.sum((basis @ delta) ** 2) / (delta @ delta), rtol=0.02)


@pytest.mark.parametrize("kind", ["uniform", "real"])
def test_the_untrained_networks_loss_is_that_of_the_reference_on_its_noise(
    trained: mnist.Trained, digits: data.Dataset, kind: str
) -> None:
    config = dataclasses.replace(CONFIG, noise=kind)
    found = shown.untrained_loss(trained._replace(config=config), digits)
    for run in range(RUNS):
        own, teacher, key = (
            jax.tree.map(lambda leaf, run=run: leaf[run], tree)
            for tree in (trained.reference, trained.teacher, trained.keys.noise)
        )
        seen = noise.make_noise(config, (8, 8), digits.train_images, key=key)
        p, q = (
            np.asarray(jax.nn.softmax(models.make_mlp(CONFIG, 64).apply(net, seen)[:, 10:])) for net in (teacher, own)
        )
        np.testing.assert_allclose(found[run], np.mean(np.sum(p * np.log(p / q), axis=1)), rtol=1e-4)


def made_up(trained: mnist.Trained, digits: data.Dataset) -> dict[str, dict[str, list]]:
    """Values of all names that there are, each of six runs a number of its own."""
    rng = np.random.default_rng(3)
    main = {
        name: rng.uniform(0.1, 1, (6, *np.shape(column)[1:])).tolist()
        for name, column in mechanism._measure_main(trained, digits).items()
    }
    values = {"main": main}
    for job in mechanism.jobs(mnist.Config())[1:]:
        names = [condition.name for condition in job.conditions]
        if job.name.startswith("coverage"):
            names = [f"{key} {name}" for key in ("predicted", "fraction", "accuracy") for name in names if "im" in name]
        values[job.name] = {name: rng.uniform(0.1, 1, 6).tolist() for name in names}
    return values


def test_every_row_has_its_own_values(trained: mnist.Trained, digits: data.Dataset) -> None:
    values = made_up(trained, digits)
    main = values["main"]
    results = summaries.summarize(mnist.Config(), values)
    rows = {f"{part}: {row['name']}": row for part in summaries.PARTS for row in results[part]}
    assert len(rows) == sum(len(results[part]) for part in summaries.PARTS)
    wanted = {
        "levels: nothing: the reference": main["accuracy reference"],
        "levels: one number: its displacement along Delta alone": main["along student_aux"],
        "levels: the rest of its displacement alone": main["rest student_aux"],
        "levels: linear: the linearised student": main["accuracy linear student"],
        "levels: the student": main["accuracy student_aux"],
        "levels: Delta itself: the teacher": main["accuracy teacher"],
        "direction: cross_aux: cosine of update and delta": main["cosine update delta cross_aux"],
        "direction: student_sgd: cosine of gradient and trait, first step": main["first gradient trait student_sgd"],
        "recovered: only trait: length": main["length only trait"],
        "one_number: theta_0 + 0.25 Delta": np.array(main["ray"])[:, mechanism.RAY.index(0.25)],
        "one_number: cross_aux: rest": main["rest cross_aux"],
        "one_number: student_sgd: all of it": main["accuracy student_sgd"],
        "cause: shorter rest: distillation loss": main["loss shorter rest"],
        "cause: reference: distillation loss": main["loss reference"],
        "cause: without delta": main["accuracy without delta"],
        "cause: only random: distillation loss": main["loss only random"],
        "cause: without trait - student_aux":
            np.subtract(main["accuracy without trait"], main["accuracy student_aux"]),
        "distance: teacher at theta_0 + 0.125 Delta: the linearised student":
            values["distance"]["linear student, 0.125"],
        "width: 512 units: the student - the linearised student":
            np.subtract(values["width 512"]["student_aux"], values["width 512"]["linear student"]),
        "coverage: 10 auxiliary logits, 256 images: measured fraction": values["coverage 10"]["fraction 256 images"],
        "coverage: 100 auxiliary logits, 64 images: predicted fraction": values["coverage 100"]["predicted 64 images"],
    }  # fmt: skip
    for name, column in wanted.items():
        np.testing.assert_allclose(rows[name]["per_run"], column, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(rows[name]["mean"], np.mean(column))
    gain = np.mean(np.subtract(main["accuracy student_aux"], main["accuracy reference"]))
    share = rows["levels: share of the student's gain, linear: the linearised student"]["mean"]
    got = np.mean(np.subtract(main["accuracy linear student"], main["accuracy reference"]))
    np.testing.assert_allclose(share, got / gain)
    points = [
        [np.array(values[f"coverage {aux}"][f"{key} {images} images"]) for key in ("predicted", "accuracy")]
        for aux in (3, 10, 100)
        for images in mechanism.IMAGES
    ]
    per_run = [stats.spearmanr([p[run] for p, _ in points], [a[run] for _, a in points]).statistic for run in range(6)]
    name = "coverage: rank correlation of predicted fraction and accuracy over settings, in each run"
    np.testing.assert_allclose(rows[name]["per_run"], per_run, rtol=1e-5)
    kappa = np.array(main["kappa cross_aux"])
    bound = rows["adam: cross_aux: cosine of gradient and Delta above which the sign is guaranteed"]
    np.testing.assert_allclose(bound["per_run"], (kappa - 1) / (kappa + 1), rtol=1e-5)


def test_costly_jobs_have_fewer_runs_and_the_same_keys() -> None:
    job = Job("x", CONFIG, (), share=0.2)
    assert [job.runs(asked) for asked in (1, 2, 4, 25)] == [1, 2, 2, 5]
    jobs = {job.name: job for job in mechanism.jobs(mnist.Config())}
    assert [jobs[name].runs(25) for name in ("main", "distance", "coverage 10", "width 512", "width 1024")] == [
        25, 10, 10, 5, 3,
    ]  # fmt: skip
    assert mnist_mechanism.PRESETS["paper"].runs == 25
    assert jobs["width 512"].config.width == 512
    assert jobs["coverage 100"].config.aux_logits == 100
    few = jobs["coverage 3"].conditions[0]
    assert few.config(jobs["coverage 3"].config).student.epochs == mechanism.STEPS
    assert few.images == 64


def test_arms_are_what_their_names_say() -> None:
    arms = {condition.name: condition for condition in mechanism.MAIN}
    assert set(arms) == {"student_aux", "cross_aux", "student_sgd", "linear student", *UPDATES}
    assert [name for name, arm in arms.items() if arm.init != "reference"] == ["cross_aux"]
    assert [name for name, arm in arms.items() if arm.intervention == LINEAR] == ["linear student"]
    assert [name for name, arm in arms.items() if arm.intervention == PROBED] == list(mechanism.SPLIT)
    assert {name: arm.intervention for name, arm in arms.items() if name in UPDATES} == UPDATES
    assert arms["student_sgd"].config(CONFIG).student.optimizer == "sgd"
    near = next(job for job in mechanism.jobs(CONFIG) if job.name == "distance").conditions
    assert [(arm.targets, arm.intervention == LINEAR) for arm in near] == [
        (mechanism.at_fraction(s), straight) for s in mechanism.DISTANCES for straight in (False, True)
    ]


def test_the_table_has_what_answers_the_questions(trained: mnist.Trained, digits: data.Dataset) -> None:
    request = cli.Request(mnist_mechanism.EXPERIMENT, mnist.config_for("digits"), digits, 3, 5)
    assert request.experiment.jobs(request.config)[0].config == request.config
    table = mnist_mechanism.table({"results": request.results(made_up(trained, digits))})
    assert "| cause: without delta " in table
    assert "distillation loss" not in table
    assert "levels: the student" in table


def test_the_same_number_of_auxiliary_logits_is_trained_once() -> None:
    names = [job.name for job in mechanism.jobs(dataclasses.replace(CONFIG, aux_logits=10))]
    assert len(set(names)) == len(names)
