"""Interventions and probes against the same quantities worked out step by step, outside the training loop."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.studies.mnist_mechanism import interventions
from experiments.studies.mnist_mechanism.arms import at_fraction
from experiments.studies.mnist_mechanism.interventions import LINEAR, PROBED, TRAIT_IMAGES, UPDATES
from subliminal_toy.mnist import data, measure, models, protocol
from subliminal_toy.mnist.config import config_for
from subliminal_toy.mnist.students import Condition, static_settings

SMALL = {"width": 8, "noise_images": 96, "student.epochs": 1, "student.batch_size": 32, "teacher.epochs": 1}
CONFIG = config_for("digits", {**SMALL, "student.learning_rate": 0.003})
STEPS = 3
NEAR = 0.25
ARMS = (
    Condition("free"),
    *(Condition(name, intervention=intervention) for name, intervention in UPDATES.items()),
    Condition("probed", intervention=PROBED),
    Condition("other", init="other", intervention=PROBED),
    Condition("sgd", intervention=PROBED, settings=(("student.optimizer", "sgd"),)),
    Condition("linear", intervention=LINEAR),
    Condition("other linear", init="other", intervention=LINEAR),
    Condition("near", targets=at_fraction(NEAR)),
    Condition("few", images=40),
)


def test_layers_stay_in_order_beyond_ten() -> None:
    one = {f"hidden_{i}": {"kernel": jnp.full((1, 1), float(i))} for i in range(12)}
    one["head"] = {"kernel": jnp.ones((1, 3)), "bias": jnp.zeros(3)}
    assert interventions.dots_by_layer(one, one, 2).tolist() == [float(i * i) for i in range(12)] + [2.0, 1.0]


def flat(tree: Any, run: int | None = None) -> np.ndarray:
    leaves = [np.asarray(leaf if run is None else leaf[run], np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


@pytest.fixture(scope="module")
def trained(digits: data.Dataset) -> protocol.Trained:
    return protocol.train(CONFIG, digits, ARMS, protocol.run_keys(0, range(2)))


def by_hand(trained: protocol.Trained, digits: data.Dataset, arm: Condition, run: int) -> list[dict[str, np.ndarray]]:
    """Each step of a student of one run: parameters, gradient and update as vectors; the last entry has the end."""
    own, keys = arm.config(CONFIG), jax.tree.map(lambda k: k[run], protocol.run_keys(0, range(2)))
    model = models.make_mlp(CONFIG, 64)
    reference, teacher = (jax.tree.map(lambda leaf: leaf[run], t) for t in (trained.reference, trained.teacher))
    delta = jax.tree.map(jnp.subtract, teacher, reference)
    distance = NEAR if arm.name == "near" else 1.0
    shown = jax.tree.map(lambda start, way: start + distance * way, reference, delta)
    noise = protocol.noise.make_noise(CONFIG, (8, 8), jnp.zeros((1, 64)), key=keys.noise)[: arm.images]
    targets = model.apply(shown, noise)
    labels = jax.nn.one_hot(digits.train_labels[:TRAIT_IMAGES], 10)

    def loss(params: Any, rows: np.ndarray) -> jax.Array:
        answers = model.apply(params, noise[rows])
        if arm.intervention == LINEAR:
            answers, slope = jax.jvp(lambda p: model.apply(p, noise[rows]), (start,), (minus(params, start),))
            answers = answers + slope
        p, log_q = jax.nn.softmax(targets[rows, 10:]), jax.nn.log_softmax(answers[:, 10:])
        return jnp.mean(jnp.sum(p * (jnp.log(p) - log_q), axis=1))

    def trait(params: Any) -> jax.Array:
        log_p = jax.nn.log_softmax(model.apply(params, digits.train_images[:TRAIT_IMAGES])[:, :10])
        return -jnp.mean(jnp.sum(labels * log_p, axis=1))

    def minus(a: Any, b: Any) -> Any:
        return jax.tree.map(jnp.subtract, a, b)

    start = reference if arm.init == "reference" else model.init(keys.other)
    rule = optax.adam(0.003) if own.student.optimizer == "adam" else optax.sgd(0.003)
    params, state, seen = start, rule.init(start), []
    order = np.asarray(jax.random.permutation(jax.random.fold_in(keys.student_order, 0), len(noise)))
    for first in range(0, len(noise), 32):
        rows = order[first : first + 32]
        gradient = jax.grad(loss)(params, rows)
        update, state = rule.update(gradient, state, params)
        kept, _, name = arm.name.partition(" ")
        if arm.name in UPDATES:
            along = {"delta": delta, "trait": jax.grad(trait)(params), "rest": delta}[name]
            u, v = flat(update), flat(along)
            part = jax.tree.map(lambda leaf, c=u @ v / (v @ v): jnp.float32(c) * leaf, along)
            if name == "rest":
                rest, length = minus(update, part), np.linalg.norm(flat(part))
                share = length / np.linalg.norm(flat(rest))
                part = jax.tree.map(lambda leaf, c=share: jnp.float32(c) * leaf, rest)
            update = part if kept == "only" else minus(update, part)
        nu = flat(state[0].nu) if own.student.optimizer == "adam" else None
        seen.append({"params": params, "gradient": flat(gradient), "update": flat(update), "nu": nu,
                     "trait": flat(jax.grad(trait)(params)), "delta": flat(delta)})  # fmt: skip
        params = optax.apply_updates(params, update)
    return [*seen, {"params": params}]


@pytest.mark.parametrize("name", [arm.name for arm in ARMS if "random" not in arm.name])
def test_every_arm_is_trained_as_it_says(name: str, trained: protocol.Trained, digits: data.Dataset) -> None:
    arm = next(arm for arm in ARMS if arm.name == name)
    end = flat(by_hand(trained, digits, arm, run=1)[-1]["params"])
    ours, began = flat(trained.params(name), 1), flat(trained.init(name), 1)
    moved = np.abs(end - began).max()
    assert moved > 1e-4
    np.testing.assert_allclose(ours, end, atol=0.02 * moved)  # Adam enlarges the rounding of gradients near zero
    np.testing.assert_allclose(ours, end, atol=1e-4 * moved + 1e-7) if "sgd" in name else None


def test_random_directions_are_as_long_as_deltas_and_have_nothing_to_do_with_it(trained: protocol.Trained) -> None:
    start, delta = flat(trained.reference, 0), flat(trained.teacher, 0) - flat(trained.reference, 0)
    only = flat(trained.params("only random"), 0) - start
    assert np.linalg.norm(only) > 0
    assert abs(only @ delta) / np.linalg.norm(only) / np.linalg.norm(delta) < 0.2
    assert np.abs(flat(trained.params("only random"), 1) - flat(trained.reference, 1) - only).max() > 0
    one, other = (flat(trained.params(n), 0) - start for n in ("without random", "free"))
    assert 0 < np.linalg.norm(one - other) < np.linalg.norm(other)


def test_what_is_kept_and_what_is_taken_add_up_in_the_first_step() -> None:
    key = jax.random.key(0)
    model = models.make_mlp(CONFIG, 64)
    trees = [model.init(k) for k in jax.random.split(key, 4)]
    inputs = {"delta": trees[1], "random": trees[2],
                 "trait": {"images": jnp.ones((3, 64)), "one_hot": jnp.eye(13)[:3]}}  # fmt: skip
    for name in ("delta", "trait", "random"):
        parts = []
        for kept in ("without", "only"):
            make = UPDATES[f"{kept} {name}"].rule
            assert make is not None
            rule = make(model.apply, CONFIG, inputs)
            parts.append(rule.update(trees[0], rule.init(trees[3]), trees[3])[0])
        np.testing.assert_allclose(flat(parts[0]) + flat(parts[1]), flat(trees[0]), atol=1e-6)
        rest, along = flat(parts[0]), flat(parts[1])
        if name != "random":
            assert abs(rest @ along) < 1e-4 * np.linalg.norm(rest) * np.linalg.norm(along)
        else:
            v = flat(trees[1])
            np.testing.assert_allclose(np.linalg.norm(along), abs(flat(trees[0]) @ v) / np.linalg.norm(v), rtol=1e-4)


@pytest.mark.parametrize("update", list(UPDATES))
def test_nothing_lies_along_a_direction_of_length_zero(update: str) -> None:
    """Before a teacher has moved, "without" keeps all of an update and "only" nothing; no number is lost."""
    model = models.make_mlp(CONFIG, 64)
    own = model.init(jax.random.key(0))
    zero = jax.tree.map(jnp.zeros_like, own)
    flat_trait = {"images": jnp.zeros((1, 64)), "one_hot": jnp.zeros((1, 13))}  # no label: no slope
    make = UPDATES[update].rule
    assert make is not None
    rule = make(model.apply, CONFIG, {"delta": zero, "random": zero, "trait": flat_trait})
    np.testing.assert_array_equal(
        flat(rule.update(own, rule.init(own), own)[0]), flat(zero if "only" in update else own)
    )


@pytest.mark.parametrize("along", [0.1, -0.1, 3.0])
def test_the_rest_loses_as_much_as_lies_along_delta_and_no_more_than_it_has(along: float) -> None:
    trees = [models.make_mlp(CONFIG, 64).init(key) for key in jax.random.split(jax.random.key(0), 2)]
    rest, delta = trees[0], trees[1]
    rest = jax.tree.map(
        lambda u, v: u - interventions.dot(rest, delta) / interventions.dot(delta, delta) * v, rest, delta
    )
    update = jax.tree.map(lambda u, v: u + along * v, rest, delta)
    rule = interventions.remove(interventions.part_of_rest, models.make_mlp, CONFIG, {"delta": delta})
    kept = flat(rule.update(update, rule.init(update), update)[0])
    length, taken = np.linalg.norm(flat(rest)), abs(along) * np.linalg.norm(flat(delta))
    assert (taken > length) == (along > 1)
    np.testing.assert_allclose(kept, along * flat(delta) + max(0, 1 - taken / length) * flat(rest), atol=1e-5)


@pytest.mark.parametrize("name", ["probed", "other", "sgd"])
def test_probes_note_the_products_of_every_step(name: str, trained: protocol.Trained, digits: data.Dataset) -> None:
    arm = next(arm for arm in ARMS if arm.name == name)
    steps, noted = by_hand(trained, digits, arm, run=1)[:-1], trained.probed[name]
    assert CONFIG.layer_names() == ("hidden_0", "hidden_1", "class_head", "aux_head")
    for i, step in enumerate(steps):
        vectors = [step["update"], -step["gradient"], -step["trait"], step["delta"]]
        ours, lengths = noted["gram"][1, i], [np.linalg.norm(vector) for vector in vectors]
        assert ours.shape == (4, 4, 4)
        want = np.array([[one @ other for other in vectors] for one in vectors])
        np.testing.assert_allclose(
            ours.sum(axis=-1) / np.outer(lengths, lengths), want / np.outer(lengths, lengths), atol=2e-3
        )
        assert (ours[0, :, 2] == 0).all()  # the class head does not move
        if step["nu"] is not None:
            size = np.sqrt(step["nu"][step["nu"] > 0] / (1 - 0.999 ** (i + 1))) + 1e-8
            np.testing.assert_allclose(noted["kappa"][1, i], size.max() / size.min(), rtol=0.05)
        else:
            assert noted["kappa"][1, i] == 1
    assert noted["kappa"].shape == (2, STEPS)


def test_a_linear_student_is_judged_as_a_linear_one(trained: protocol.Trained, digits: data.Dataset) -> None:
    model = models.make_mlp(CONFIG, 64)
    found = measure.accuracies(trained, digits)
    for name in ("linear", "other linear"):
        start, end = (jax.tree.map(lambda leaf: leaf[0], t) for t in (trained.init(name), trained.params(name)))
        value, slope = jax.jvp(
            lambda p: model.apply(p, digits.test_images), (start,), (jax.tree.map(jnp.subtract, end, start),)
        )
        share = np.mean(np.argmax((value + slope)[:, :10], axis=1) == digits.test_labels)
        np.testing.assert_allclose(found[name][0], share, atol=1.5 / 360)
    real = measure.accuracy(CONFIG, digits, trained.students)[:, [a.name for a in ARMS].index("linear")]
    assert (real != found["linear"]).any()


def test_arms_that_differ_in_code_are_groups_of_their_own() -> None:
    assert (
        len({static_settings(arm, CONFIG) for arm in ARMS}) == len(ARMS) - 3
    )  # free = near, probed = other, both linear
