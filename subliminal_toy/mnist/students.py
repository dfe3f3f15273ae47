"""Students: a table of conditions, and what each row means for init, targets, loss and update rule.

A condition says which init a student starts from, which logits it imitates, whose, and with which settings. A study
that needs more hands functions in, an `Intervention`. Students whose compiled code is the same are trained side by
side; everything else they differ in is data.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from subliminal_toy import engine, training
from subliminal_toy.mnist import losses, models
from subliminal_toy.mnist.config import Config
from subliminal_toy.mnist.models import Params
from subliminal_toy.settings import Training, setting_fields, with_settings

STUDENT_SIDE = ("loss", "temperature", "student_init_noise", "shared_layers")  # and all of "student.": what may vary
ENSEMBLE = 8  # most students that are trained side by side: more do not fit the cache
_BLOCK = 1000  # images that a network labels at a time, to bound the memory of its hidden layers

Inputs = dict[str, Any]  # arrays that an intervention gives to its student


class Networks(NamedTuple):
    """The networks of one run that a student's targets may come from."""

    apply: Callable[[Params, jax.Array], jax.Array]
    reference: Params
    teacher: Params


Targets = Callable[[Networks, jax.Array, jax.Array], jax.Array]  # networks, images, key -> logits [images, logits]


def label(networks: Networks, params: Params, images: jax.Array) -> jax.Array:
    """Return the logits of `params` on images [n, pixels], [n, logits], a block of images at a time."""
    return jax.lax.map(functools.partial(networks.apply, params), images, batch_size=min(len(images), _BLOCK))


def from_teacher(networks: Networks, images: jax.Array, _key: jax.Array) -> jax.Array:
    """Return the targets of the experiment: the teacher's logits."""
    return label(networks, networks.teacher, images)


def from_reference(networks: Networks, images: jax.Array, _key: jax.Array) -> jax.Array:
    """Return the targets of a control: the logits of the untrained reference."""
    return label(networks, networks.reference, images)


def from_teacher_shuffled(networks: Networks, images: jax.Array, key: jax.Array) -> jax.Array:
    """Return the targets of a control: the teacher's logits for other images."""
    return jax.random.permutation(key, from_teacher(networks, images, key), axis=0)


class RunContext(NamedTuple):
    """What the arrays of an intervention are made from: one student of one run."""

    init: Params  # of the student
    reference: Params
    teacher: Params
    key: jax.Array


class Intervention(NamedTuple):
    """A change to a student's training that a study hands in; each part may be left out.

    `model`, `rule` and `probe` receive the student's config, so that they are compiled with its settings.
    """

    inputs: Callable[[RunContext, dict], Inputs] | None = None  # context, training data -> arrays for the other parts
    model: Callable[[Callable], Callable] | None = None  # apply -> apply(params, images, inputs)
    rule: Callable[[Callable, Config, Inputs], optax.GradientTransformation] | None = None  # the optimizer's last link
    probe: Callable[[Callable, Config], engine.Probe] | None = None  # what to record of every step


NO_INTERVENTION = Intervention()


class Condition(NamedTuple):
    """One kind of student."""

    name: str
    init: str = "reference"  # the teacher's init; "other": an independent one
    logits: str = "aux"  # the auxiliary logits only; "all": one softmax over class and auxiliary logits
    targets: Targets = from_teacher
    settings: tuple[tuple[str, Any], ...] = ()  # over the config's: ("student.learning_rate", 1e-3), ...
    images: int | None = None  # number of its run's noise images that it sees, the first ones; None: all
    intervention: Intervention = NO_INTERVENTION

    def config(self, config: Config) -> Config:
        """`config` with the condition's settings; ValueError for one that changes more than the students."""
        for name, _ in self.settings:
            if not name.startswith("student.") and name not in STUDENT_SIDE and name in setting_fields(Config):
                raise ValueError(f"{name} is not a setting of students: a condition cannot change it")
        return with_settings(config, dict(self.settings))


STUDENTS = (
    Condition("student_aux", "reference", "aux"),
    Condition("student_all", "reference", "all"),
    Condition("cross_aux", "other", "aux"),
    Condition("cross_all", "other", "all"),
)
CONTROLS = (
    Condition("untrained_teacher_aux", targets=from_reference),
    Condition("shuffled_targets_aux", targets=from_teacher_shuffled),
)


class StaticSettings(NamedTuple):
    """Settings that select a compiled program: students that agree in them are trained side by side."""

    loss: str
    training: Training  # numbers that come as data (training.NUMBERS) are 1 here, or 0 for none
    images: int
    intervention: Intervention


class Group(NamedTuple):
    """Students that are trained side by side."""

    places: np.ndarray  # in the table of conditions
    names: tuple[str, ...]
    images: int  # that they see
    share: float  # of the run's images
    training: Training
    loss: engine.Loss
    rows: dict[str, Any]  # what they differ in, as `rows_of` says
    inputs: Callable[[RunContext, dict], Inputs] | None
    rule: engine.Rule | None
    probe: engine.Probe | None


class Students(NamedTuple):
    """All students of a run, in plain values and functions of one run."""

    names: tuple[str, ...]
    epochs: float  # of a run's teacher and students, as `count_epochs` says
    inits: Callable  # as `make_inits` says
    targets: Callable  # as `make_targets` says
    groups: list[Group]


def make_students(model: models.Model, config: Config, conditions: tuple[Condition, ...]) -> Students:
    """Return what the conditions mean."""
    return Students(
        tuple(condition.name for condition in conditions),
        count_epochs(config, conditions),
        make_inits(model, config, conditions),
        make_targets(model.apply, conditions),
        group_students(model, config, conditions),
    )


def count_epochs(config: Config, conditions: Sequence[Condition]) -> float:
    """Count the epochs of a run's teacher and students, in passes over all images of each."""
    students = ((condition.config(config).student.epochs, condition.images) for condition in conditions)
    all_images = config.noise_images
    return config.teacher.epochs + sum(epochs * (images or all_images) / all_images for epochs, images in students)


def group_students(model: models.Model, config: Config, conditions: tuple[Condition, ...]) -> list[Group]:
    """Group the conditions that share a compiled program, at most ENSEMBLE in a group."""
    alike: dict[StaticSettings, list[int]] = {}
    for i, condition in enumerate(conditions):
        alike.setdefault(static_settings(condition, config), []).append(i)
    return [
        _make_group(model, config, conditions, static, places)
        for static, members in alike.items()
        for places in np.array_split(members, -(-len(members) // ENSEMBLE))
    ]


def _make_group(
    model: models.Model, config: Config, conditions: tuple[Condition, ...], static: StaticSettings, places: np.ndarray
) -> Group:
    inputs, wrap, rule, probe = static.intervention
    compiled = dataclasses.replace(config, student=static.training)
    return Group(
        places,
        tuple(conditions[i].name for i in places),
        static.images,
        static.images / config.noise_images,
        static.training,
        student_loss(model.apply, static.loss, wrap),
        rows_of(config, conditions, places.tolist()),
        inputs,
        rule=None if rule is None else lambda condition: rule(model.apply, compiled, condition["inputs"]),
        probe=None if probe is None else probe(model.apply, compiled),
    )


def static_settings(condition: Condition, config: Config) -> StaticSettings:
    """Return the settings that a condition's compiled program depends on."""
    config = condition.config(config)
    numbers: Any = {name: float(bool(getattr(config.student, name))) for name in training.NUMBERS}
    student = dataclasses.replace(config.student, **numbers)
    return StaticSettings(config.loss, student, condition.images or config.noise_images, condition.intervention)


def student_loss(apply: Callable, kind: str, wrap: Callable[[Callable], Callable] | None = None) -> engine.Loss:
    """Return the distillation loss of one student: its condition holds logit mask, target source and temperature."""
    answer = wrap(apply) if wrap else lambda params, images, _inputs: apply(params, images)

    def loss(params: Params, batch: dict, condition: dict) -> jax.Array:
        targets = jnp.einsum("bqk,q->bk", batch["targets"], condition["target_source"])
        logits = answer(params, batch["images"], condition.get("inputs"))
        if kind == "mse":
            return losses.distillation_mse(logits, targets, condition["mask"])
        return losses.distillation_kl(logits, targets, condition["mask"], condition["temperature"])

    return loss


def rows_of(config: Config, conditions: tuple[Condition, ...], members: Sequence[int]) -> dict[str, Any]:
    """Return some conditions as arrays: `mask` [students, logits], one-hot `target_source`, and their numbers."""
    sources, chosen = target_sources(conditions), [conditions[i] for i in members]
    configs = [condition.config(config) for condition in chosen]
    numbers = {name: np.array([getattr(one.student, name) for one in configs], np.float32) for name in training.NUMBERS}
    return {
        "mask": np.stack([student_mask(condition, config) for condition in chosen]),
        "target_source": np.eye(len(sources), dtype=np.float32)[[sources.index(c.targets) for c in chosen]],
        "temperature": np.array([one.temperature for one in configs], np.float32),
        "numbers": numbers,
    }


def student_mask(condition: Condition, config: Config) -> np.ndarray:
    """Return which logits a condition's student imitates, [logits] booleans."""
    masks = {"aux": np.arange(config.logits) >= config.classes, "all": np.ones(config.logits, bool)}
    return masks[condition.logits]


def target_sources(conditions: tuple[Condition, ...]) -> list[Targets]:
    """Return the sources of targets that the conditions name, each once."""
    return list(dict.fromkeys(condition.targets for condition in conditions))


def make_targets(apply: Callable, conditions: tuple[Condition, ...]) -> Callable:
    """Return the function to the logits to imitate on every image, [images, sources, logits], computed once."""

    def targets(reference: Params, teacher: Params, images: jax.Array, key: jax.Array) -> jax.Array:
        networks = Networks(apply, reference, teacher)
        return jnp.stack([source(networks, images, key) for source in target_sources(conditions)], axis=1)

    return targets


def make_inits(model: models.Model, config: Config, conditions: tuple[Condition, ...]) -> Callable:
    """Return the function to the initial parameters of all students of a run, [students, ...]."""

    def inits(reference: Params, other_key: jax.Array, noise_key: jax.Array) -> Params:
        other = model.init(other_key)

        def start(condition: Condition) -> Params:
            settings = condition.config(config)
            params = reference if condition.init == "reference" else other
            if condition.init == "reference" and settings.shared_layers != "all":
                params = models.mix_inits(reference, other, settings.shared_layer_names(), settings.classes)
            noise = settings.student_init_noise
            return models.perturb(params, noise, key=noise_key) if noise else params

        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[start(condition) for condition in conditions])

    return inits
