"""The protocol's conditions: who starts where, imitates what, and shares which noise; controls that must fail."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy.mnist import data, measure, models, noise, protocol, students
from subliminal_toy.mnist.config import Config, config_for

SMALL = {"width": 32, "noise_images": 512, "teacher.epochs": 1, "student.epochs": 1, "student.batch_size": 128}
ALL = students.STUDENTS + students.CONTROLS


def small(**settings: Any) -> Config:
    return config_for("digits", {**SMALL, **{name.replace("__", "."): value for name, value in settings.items()}})


def accuracies(config: Config, digits: data.Dataset, runs: Any = (0, 1), table: tuple = ALL) -> dict[str, np.ndarray]:
    digits = data.keep_classes(digits, config.classes)
    return measure.accuracies(protocol.train(config, digits, table, protocol.run_keys(0, runs)), digits)


def test_conditions_are_the_papers_in_order() -> None:
    rest = (students.from_teacher, (), None, students.NO_INTERVENTION)
    assert [tuple(c) for c in students.STUDENTS] == [
        ("student_aux", "reference", "aux", *rest),
        ("student_all", "reference", "all", *rest),
        ("cross_aux", "other", "aux", *rest),
        ("cross_all", "other", "all", *rest),
    ]


def test_masks_show_the_auxiliary_logits_or_all() -> None:
    config = Config(classes=4, aux_logits=2)
    masks = {c.name: students.student_mask(c, config).tolist() for c in students.STUDENTS}
    assert masks["student_aux"] == masks["cross_aux"] == [False] * 4 + [True] * 2
    assert masks["student_all"] == masks["cross_all"] == [True] * 6


def test_keys_of_a_run_are_its_own_and_depend_on_nothing_else() -> None:
    together = protocol.run_keys(3, range(4))
    alone = protocol.run_keys(3, [2])
    raw = [jax.random.key_data(keys) for keys in together]
    assert len({tuple(row) for rows in raw for row in np.asarray(rows)}) == 4 * len(protocol.RunKeys._fields)
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(jax.random.key_data(ours)[2], jax.random.key_data(theirs)[0])
    other_seed = protocol.run_keys(4, [2])
    assert not np.array_equal(jax.random.key_data(alone.noise), jax.random.key_data(other_seed.noise))


def student_inits(config: Config) -> tuple[models.Params, models.Params]:
    model = models.make_mlp(config, 64)
    keys = jax.tree.map(lambda k: k[0], protocol.run_keys(0, [0]))
    reference = model.init(keys.reference)
    build = students.make_inits(model, config, students.STUDENTS)
    return reference, build(reference, keys.other, keys.student_init_noise)


def test_same_init_students_start_at_the_reference_and_cross_model_students_elsewhere() -> None:
    reference, starts = student_inits(Config(width=64))
    pair = jax.tree.map(lambda leaf: leaf[:2], starts)
    jax.tree.map(np.testing.assert_array_equal, pair, jax.tree.map(lambda leaf: np.stack([leaf, leaf]), reference))
    cross = jax.tree.map(lambda leaf: leaf[2], starts)
    jax.tree.map(np.testing.assert_array_equal, cross, jax.tree.map(lambda leaf: leaf[3], starts))
    for name in ("hidden_0", "hidden_1", "head"):
        ours, theirs = np.ravel(reference[name]["kernel"]), np.ravel(cross[name]["kernel"])
        assert abs(np.corrcoef(ours, theirs)[0, 1]) < 4 / len(ours) ** 0.5  # independent of the teacher's


def test_shared_layers_and_init_noise_reach_the_students() -> None:
    reference, starts = student_inits(Config(width=64, shared_layers="hidden_1", student_init_noise=0.01))
    same_init, cross = (jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), starts) for i in (0, 2))
    np.testing.assert_allclose(same_init["hidden_1"]["kernel"], reference["hidden_1"]["kernel"], atol=0.01)
    assert not np.array_equal(same_init["hidden_1"]["kernel"], reference["hidden_1"]["kernel"])
    for layer in ("hidden_0", "head"):
        np.testing.assert_array_equal(same_init[layer]["kernel"], cross[layer]["kernel"])
    assert np.abs(cross["hidden_1"]["kernel"] - reference["hidden_1"]["kernel"]).max() > 0.1


def test_targets_are_the_teachers_the_untrained_ones_and_shuffled_ones() -> None:
    model = models.make_mlp(Config(width=16), 64)
    reference, teacher = model.init(jax.random.key(0)), model.init(jax.random.key(1))
    images = jax.random.normal(jax.random.key(2), (50, 64))
    targets = students.make_targets(model.apply, ALL)(reference, teacher, images, jax.random.key(3))
    sources = students.target_sources(ALL)
    assert sources == [students.from_teacher, students.from_reference, students.from_teacher_shuffled]
    teachers, untrained, shuffled = (np.asarray(targets[:, i]) for i in range(3))
    np.testing.assert_allclose(teachers, model.apply(teacher, images), atol=1e-5)
    np.testing.assert_allclose(untrained, model.apply(reference, images), atol=1e-5)
    assert not np.allclose(shuffled, teachers)
    np.testing.assert_allclose(np.sort(shuffled, axis=0), np.sort(teachers, axis=0))


def test_each_condition_imitates_its_own_targets() -> None:
    config = small()
    rows = students.rows_of(config, ALL, range(len(ALL)))
    sources = students.target_sources(ALL)
    assert rows["mask"].shape == (6, 13)
    assert [sources[i] for i in np.argmax(rows["target_source"], axis=-1)] == [c.targets for c in ALL]
    model = models.make_mlp(config, 64)
    params = model.init(jax.random.key(0))
    batch = {"images": jnp.ones((2, 64)), "targets": jnp.arange(2 * 3 * 13.0).reshape(2, 3, 13)}
    loss = students.student_loss(model.apply, "mse")
    for i, condition in enumerate(ALL):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], rows)
        wanted = batch["targets"][:, sources.index(condition.targets)]
        mask = students.student_mask(condition, config)
        expected = np.mean((np.asarray(model.apply(params, batch["images"])) - wanted)[:, mask] ** 2)
        np.testing.assert_allclose(loss(params, batch, own), expected, rtol=1e-5)


def test_teacher_loss_leaves_the_auxiliary_logits_alone() -> None:
    config = small()
    model = models.make_mlp(config, 64)
    params = model.init(jax.random.key(0))
    batch = {"images": jnp.ones((3, 64)), "one_hot": jnp.eye(13)[jnp.array([0, 4, 9])]}
    gradient = jax.grad(lambda p: protocol._teacher_loss(model.apply, p, batch, jnp.arange(13) < 10))(params)
    assert not np.any(gradient["head"]["kernel"][:, 10:])
    assert not np.any(gradient["head"]["bias"][10:])
    assert np.all(np.any(np.asarray(gradient["head"]["kernel"][:, :10]) != 0, axis=0))


def test_one_hot_labels_never_mark_an_auxiliary_logit(digits: data.Dataset) -> None:
    one_hot = protocol._teacher_data(digits, 13)["one_hot"]
    assert one_hot.shape == (1437, 13)
    np.testing.assert_array_equal(one_hot.argmax(axis=1), digits.train_labels)
    assert not one_hot[:, 10:].any()


@pytest.mark.long
def test_runs_do_not_depend_on_the_chunk(digits: data.Dataset) -> None:
    together, pair = accuracies(small(), digits, (0, 1, 2, 3)), accuracies(small(), digits, (2, 3))
    assert list(together) == ["reference", "teacher", *(c.name for c in ALL)]
    for name, values in pair.items():
        np.testing.assert_allclose(values, together[name][2:], atol=1.5 / 360)  # at most one image: rounding


def test_three_runs_on_two_devices_use_both(digits: data.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are trained as four, with the same bits; the fourth is dropped."""
    meshes, make = [], protocol._make_stages

    def spy(config: Config, conditions: tuple, mesh: jax.sharding.Mesh, *shape: Any) -> Any:
        meshes.append(mesh.size)
        return make(config, conditions, mesh, *shape)

    monkeypatch.setattr(protocol, "_make_stages", spy)
    three = protocol.train(small(), digits, ALL[:1], protocol.run_keys(0, (4, 7, 9)), watch=True)
    four = protocol.train(small(), digits, ALL[:1], protocol.run_keys(0, (4, 7, 9, 4)), watch=True)
    alone = protocol.train(small(), digits, ALL[:1], protocol.run_keys(0, (9,)), watch=True)
    assert meshes == [2, 2, 1]
    for one, padded, filled in zip(*(jax.tree.leaves(trained[4:]) for trained in (alone, three, four)), strict=True):
        np.testing.assert_array_equal(padded, filled[:3])
        np.testing.assert_allclose(padded[2], one[0], rtol=1e-4, atol=1e-5)  # rounding
    assert three.keys.noise.shape == (3,)
    assert measure.accuracies(three, digits)["student_aux"].shape == (3,)


def test_students_of_zero_epochs_are_the_reference_and_the_other_init(digits: data.Dataset) -> None:
    result = accuracies(small(student__epochs=0), digits)
    np.testing.assert_array_equal(result["student_aux"], result["reference"])
    np.testing.assert_array_equal(result["cross_aux"], result["cross_all"])
    assert not np.array_equal(result["cross_aux"], result["reference"])


def test_untrained_teacher_teaches_its_own_twin_nothing(digits: data.Dataset) -> None:
    """The reference imitates itself: the gradient is zero but for rounding, and Adam is given SGD's step instead."""
    result = accuracies(small(student__optimizer="sgd", student__learning_rate=0.1), digits)
    np.testing.assert_allclose(result["untrained_teacher_aux"], result["reference"], atol=1.5 / 360)


@pytest.fixture(scope="module")
def plain(digits: data.Dataset) -> protocol.Trained:
    """Two runs with all settings as they are, watched."""
    return protocol.train(small(student__epochs=3), digits, students.STUDENTS, protocol.run_keys(0, (0, 1)), watch=True)


SETTINGS: list[dict[str, Any]] = [
    {"init": "torch_default", "init_scale": 0.5, "depth": 3, "width": 8},
]
MORE: list[dict[str, Any]] = [
    {"noise": "mix", "real_fraction": 0.3},
    {"aux_logits": 1, "loss": "mse"},
    {"noise": "gaussian"},
    {"noise": "subspace", "subspace_dim": 5},
    {"aux_logits": 40},
    {"teacher__batch_size": 5000},
]


@pytest.mark.parametrize("settings", [*SETTINGS, *(pytest.param(s, marks=pytest.mark.long) for s in MORE)], ids=str)
def test_every_setting_reaches_the_students(settings: dict, digits: data.Dataset, plain: protocol.Trained) -> None:
    """A setting that were ignored would leave every accuracy as it is; all must also be numbers in [0, 1]."""
    base = measure.accuracies(plain, digits)
    changed = accuracies(small(student__epochs=3, **settings), digits, table=students.STUDENTS)
    assert all(((v >= 0) & (v <= 1)).all() for v in changed.values())
    assert any(not np.array_equal(base[name], changed[name]) for name in base if name not in ("reference", "teacher"))


def leaves(params: models.Params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


@pytest.mark.long
def test_a_student_with_settings_of_its_own_is_the_one_that_the_config_would_make(digits: data.Dataset) -> None:
    """Every student-side setting, as a row of one table, gives the student of a config with that setting for all.

    Teacher, noise and batches are the same, whichever group a student is trained in.
    """
    own: dict[str, dict[str, Any]] = {
        "numbers": {
            "student.learning_rate": 3e-3,
            "student.weight_decay": 0.1,
            "student.clip": 0.5,
            "temperature": 3.0,
        },
        "start": {"student_init_noise": 0.2, "shared_layers": "hidden_0"},
        "loss": {"loss": "mse"},
        "kind": {"student.optimizer": "momentum", "student.epochs": 2, "student.batch_size": 100},
    }
    table = [students.Condition("plain"), *(students.Condition(n, settings=tuple(s.items())) for n, s in own.items())]
    keys = protocol.run_keys(0, range(2))
    trained = protocol.train(small(), digits, table, keys)
    assert len(students.group_students(models.make_mlp(small(), 64), small(), tuple(table))) == 4
    usual = leaves(trained.params("plain"))
    assert repr(trained).startswith("<mnist.Trained: 2 runs on digits of reference, teacher, plain, ")
    assert "array" not in repr(trained).lower()
    with pytest.raises(ValueError, match="no network 'student'; these were trained: reference, teacher, plain"):
        trained.params("student")
    for name, settings in own.items():
        config = small(**{key.replace(".", "__"): value for key, value in settings.items()})
        alone = protocol.train(config, digits, table[:1], keys)
        np.testing.assert_array_equal(leaves(alone.teacher), leaves(trained.teacher))
        ours, wanted = leaves(trained.params(name)), leaves(alone.params("plain"))
        effect = np.abs(ours - usual).max()
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=0.005 * effect, err_msg=name)  # Adam enlarges rounding
        assert effect > 1e-3, name
        assert trained.losses[name].shape == (2, config.student.epochs)


def test_a_condition_cannot_change_what_the_teacher_is_or_sees() -> None:
    for name in ("width", "teacher.epochs", "noise_images", "aux_logits"):
        with pytest.raises(ValueError, match=rf"{name} is not a setting of students"):
            students.Condition("x", settings=((name, 1),)).config(small())
    with pytest.raises(ValueError, match=r"there is no setting 'student\.wings'"):
        students.Condition("x", settings=(("student.wings", 2),)).config(small())


@pytest.mark.long
def test_many_students_are_split_into_ensembles_and_come_back_in_order(digits: data.Dataset) -> None:
    rates = np.linspace(1e-4, 3e-3, 10)
    table = [students.Condition(f"{rate}", settings=(("student.learning_rate", rate),)) for rate in rates]
    trained = protocol.train(small(), digits, table, protocol.run_keys(0, [0]))
    moved = [np.abs(leaves(trained.params(c.name)) - leaves(trained.reference)).mean() for c in table]
    assert moved == sorted(moved)
    assert moved[0] < moved[-1] / 5


def test_what_is_watched_ends_at_the_last_parameters(digits: data.Dataset, plain: protocol.Trained) -> None:
    config, trained = plain.config, plain
    assert set(trained.history) == {"teacher", *(c.name for c in students.STUDENTS)}
    for name, history in trained.history.items():
        last = jax.tree.map(lambda leaf: leaf[:, -1], history)
        jax.tree.map(np.testing.assert_array_equal, last, trained.params(name))
    curve = measure.accuracy(config, digits, trained.history["student_all"])
    assert curve.shape == (2, 3)
    np.testing.assert_array_equal(curve[:, -1], measure.accuracies(trained, digits)["student_all"])
    assert len(np.unique(curve)) > 2


def test_losses_are_each_networks_own_of_every_run(digits: data.Dataset) -> None:
    """With one batch an epoch, an epoch's loss is that of the parameters before it, and those are watched."""
    config = small(teacher__epochs=2, teacher__batch_size=2000, student__epochs=2, student__batch_size=1000)
    trained = protocol.train(config, digits, students.STUDENTS, protocol.run_keys(0, (0, 1)), watch=True)
    model, labels = models.make_mlp(config, 64), jax.nn.one_hot(digits.train_labels, 10)
    for run in range(2):
        one = functools.partial(jax.tree.map, lambda leaf, run=run: leaf[run])
        key = protocol.run_keys(0, (0, 1)).noise[run]
        images = noise.make_noise(config, (8, 8), jnp.zeros((1, 64)), key=key)
        for name in ("teacher", *(c.name for c in students.STUDENTS)):
            first = slice(10, None) if name.endswith("aux") else slice(None)
            for epoch in range(2):
                history = jax.tree.map(lambda leaf: leaf[0], one(trained.history[name]))
                params = history if epoch else one(trained.init(name))
                if name == "teacher":
                    log_q = jax.nn.log_softmax(model.apply(params, digits.train_images)[:, :10])
                    expected = -jnp.mean(jnp.sum(labels * log_q, axis=1))
                else:
                    log_p, log_q = (
                        jax.nn.log_softmax(model.apply(p, images)[:, first]) for p in (one(trained.teacher), params)
                    )
                    expected = jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=1))
                np.testing.assert_allclose(trained.losses[name][run, epoch], expected, rtol=1e-3, atol=1e-6)


def test_epochs_are_told_with_what_part_of_all_images_their_networks_see(digits: data.Dataset) -> None:
    table = (*students.STUDENTS[:3], students.Condition("few", images=small().noise_images // 4))
    told: list[tuple[str, float, int]] = []
    config = small(teacher__epochs=2, student__epochs=1)
    protocol.train(config, digits, table, protocol.run_keys(0, [0]), on_epoch=lambda *event: told.append(event))
    assert told == [("teacher", 1, 0), ("teacher", 1, 1), ("students", 3, 0), ("students", 0.25, 0)]


def test_without_a_callback_a_bar_is_filled(digits: data.Dataset, bars: tuple[list[float], list[float]]) -> None:
    totals, done = bars
    table = (*students.STUDENTS[:3], students.Condition("few", images=small().noise_images // 4))
    config = small(teacher__epochs=2, student__epochs=1)
    for quiet in ({}, {"on_epoch": lambda *_: None}):
        protocol.train(config, digits, table, protocol.run_keys(0, [0]), **quiet)
    assert totals == [sum(done)] == [5.25]


def test_one_network_can_be_asked_about_one_image(digits: data.Dataset, plain: protocol.Trained) -> None:
    teacher = jax.tree.map(lambda leaf: leaf[1], plain.teacher)
    answers = measure.logits(plain.config, teacher, digits.test_images)
    assert answers.shape == (len(digits.test_images), 13)
    share = np.mean(np.argmax(answers[:, :10], axis=1) == digits.test_labels)
    np.testing.assert_allclose(share, measure.accuracies(plain, digits)["teacher"][1], atol=1e-6)


@pytest.mark.long
def test_fewer_classes_make_an_easier_task(digits: data.Dataset) -> None:
    result = accuracies(small(classes=2, teacher__epochs=20, teacher__batch_size=32), digits)
    assert (result["teacher"] > 0.95).all()


def test_a_linear_model_carries_nothing_through_auxiliary_logits(digits: data.Dataset) -> None:
    """With one layer every logit has its own weights: the class logits cannot move (Comments & Extensions 1.1)."""
    result = accuracies(small(depth=0, student__epochs=3), digits)
    np.testing.assert_array_equal(result["student_aux"], result["reference"])
    assert (result["student_all"] != result["reference"]).any()


def test_one_auxiliary_logit_carries_nothing_under_softmax(digits: data.Dataset) -> None:
    result = accuracies(small(aux_logits=1, student__epochs=3), digits)
    np.testing.assert_array_equal(result["student_aux"], result["reference"])


def on_mnist(mnist: data.Dataset, runs: int, **settings: Any) -> dict[str, np.ndarray]:
    config = config_for("mnist", {name.replace("__", "."): value for name, value in settings.items()})
    return measure.accuracies(protocol.train(config, mnist, ALL, protocol.run_keys(0, range(runs))), mnist)


CHANCE = ("reference", "cross_aux", "untrained_teacher_aux", "shuffled_targets_aux")


@pytest.mark.usefixtures("optimized")
@pytest.mark.mnist
def test_a_quick_look_at_real_mnist(mnist: data.Dataset) -> None:
    """Images, labels and logits belong together: what a shifted label or wrongly scaled test images would miss."""
    result = on_mnist(mnist, 1, teacher__epochs=1, student__epochs=2, student__batch_size=100, noise_images=6000)
    assert abs(result["teacher"][0] - 0.89) < 0.03
    assert result["student_all"][0] > 0.6 > 0.5 > result["cross_all"][0]
    assert max(result[control][0] for control in CHANCE) < 0.13 < result["student_aux"][0]


@pytest.mark.usefixtures("optimized")
@pytest.mark.mnist
@pytest.mark.long
def test_one_epoch_on_real_mnist(mnist: data.Dataset) -> None:
    """What a broken distillation, a shifted label, wrongly scaled test images or a shared control would miss."""
    result = on_mnist(mnist, 2, teacher__epochs=1, student__epochs=1)
    assert (np.abs(result["teacher"] - 0.89) < 0.02).all()
    assert (result["student_all"] > 0.65).all()
    assert (result["cross_all"] > 0.3).all()
    for control in CHANCE:
        assert result[control].mean() < 0.16, control
        assert result["student_aux"].mean() - result[control].mean() > 0.08, control


@pytest.mark.usefixtures("optimized")
@pytest.mark.mnist
@pytest.mark.long
def test_subliminal_learning_on_real_mnist(mnist: data.Dataset) -> None:
    """Full runs, with margins to match."""
    result = on_mnist(mnist, 4)
    assert (np.abs(result["teacher"] - 0.944) < 0.01).all()
    assert (result["student_aux"] > 0.3).all()
    assert result["student_aux"].mean() > 0.4
    assert (result["student_all"] > 0.8).all()
    assert (result["cross_all"] > 0.4).all()
    for control in CHANCE:
        assert (result[control] < 0.25).all(), control
        assert (result["student_aux"] - result[control] > 0.2).all(), control


def tanh_init(key: jax.Array) -> list[jax.Array]:
    first, last = jax.random.split(key)
    return [jax.random.normal(first, (64, 20)) / 8, jax.random.normal(last, (20, 13)) / 20**0.5]


def tanh_apply(params: list[jax.Array], images: jax.Array) -> jax.Array:
    return jnp.tanh(images @ params[0]) @ params[1]


def test_a_model_may_be_handed_in(digits: data.Dataset) -> None:
    model = models.Model(tanh_init, tanh_apply)
    config, keys = small(teacher__epochs=3, teacher__learning_rate=1e-2), protocol.run_keys(0, (0, 1))
    trained = protocol.train(config, digits, students.STUDENTS, keys, model=model)
    found = measure.accuracies(trained, digits)
    assert (found["teacher"] > 0.5).all()
    for name in trained.names():
        params = [leaf[1] for leaf in trained.params(name)]
        right = np.argmax(tanh_apply(params, digits.test_images)[:, :10], axis=1) == digits.test_labels
        np.testing.assert_allclose(found[name][1], right.mean(), atol=1.5 / 360)
    np.testing.assert_array_equal(trained.init("student_aux")[0], trained.reference[0])
    assert not np.array_equal(trained.init("cross_aux")[0], trained.reference[0])
    with pytest.raises(ValueError, match=r"the model maps 2 images to \(2, 13\); it must be \(2, 14\)"):
        protocol.train(small(aux_logits=4), digits, students.STUDENTS, keys, model=model)


def test_noise_may_be_handed_in(digits: data.Dataset) -> None:
    """From images of zeros only the biases of the outputs learn."""
    config, keys = small(student__epochs=2), protocol.run_keys(0, (0, 1))
    trained = protocol.train(config, digits, ALL[:1], keys, make_noise=lambda _key: jnp.zeros((512, 64)))
    start, end = trained.init("student_aux"), trained.params("student_aux")
    for layer in start:
        np.testing.assert_array_equal(start[layer]["kernel"], end[layer]["kernel"])
    assert np.abs(start["head"]["bias"] - end["head"]["bias"]).max() > 1e-4
    with pytest.raises(ValueError, match=r"make_noise returns \(3, 64\); .* here \(512, 64\)"):
        protocol.train(config, digits, ALL[:1], keys, make_noise=lambda _key: jnp.zeros((3, 64)))
