"""The students: a table of conditions, each a row, and what a row means for init, targets, loss and update rule.

A condition says which init a student starts from, which logits it imitates, whose, and which settings are its own.
Students whose compiled code would be the same are trained side by side, as a group; what else they differ in is data.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine, training
from subliminal_toy.config import Config, Training, setting_fields, with_settings
from subliminal_toy.mnist import losses, mechanics, models
from subliminal_toy.mnist.models import Params

STUDENT_SIDE = ("loss", "temperature", "student_init_noise", "shared_layers")  # and all of "student.": what may vary
ENSEMBLE = 8  # most students that are trained side by side: more do not fit the cache
TRAIT_IMAGES = 1000  # training images that the trait's own loss is taken on, where a student needs it
_BLOCK = 1000  # images that a network labels at a time, so that no hidden layer of all of them is held


class Condition(NamedTuple):
    """One kind of student."""

    name: str
    init: str = "reference"  # the teacher's own init; "other": a fresh one from an independent key of the same run
    logits: str = "aux"  # the auxiliary logits only; "all": one softmax over class and auxiliary logits
    targets: str = "teacher"  # "untrained": the reference's; "shuffled": the teacher's for other images
    settings: tuple[tuple[str, Any], ...] = ()  # its own, over the config's: ("student.learning_rate", 1e-3), ...
    distance: float = 1.0  # the teacher it imitates is theta_0 + distance * (theta_T - theta_0)
    images: int | None = None  # it sees only the first so many of its run's noise images
    linear: bool = False  # it is the network's first-order expansion at its own init
    update: str = "free"  # one of mechanics.UPDATES: what is kept of each of its updates
    probed: bool = False  # its steps are noted, as `mechanics.probe` says

    def config(self, config: Config) -> Config:
        """`config` with the condition's own settings; ValueError for one that is not the students' alone."""
        for name, _ in self.settings:
            if not name.startswith("student.") and name not in STUDENT_SIDE and name in setting_fields():
                raise ValueError(f"{name} is not a student's own setting: a condition cannot change it")
        return with_settings(config, dict(self.settings))


STUDENTS = (
    Condition("student_aux", "reference", "aux"),
    Condition("student_all", "reference", "all"),
    Condition("cross_aux", "other", "aux"),
    Condition("cross_all", "other", "all"),
)
CONTROLS = (
    Condition("untrained_teacher_aux", "reference", "aux", "untrained"),
    Condition("shuffled_targets_aux", "reference", "aux", "shuffled"),
)


class Kind(NamedTuple):
    """What students must have in common to be trained side by side: what compiled code depends on."""

    loss: str
    training: Training  # NUMBERS are data: here they are 1, or 0 for none
    images: int | None
    linear: bool
    update: str
    probed: bool


class Group(NamedTuple):
    """Students that are trained side by side."""

    kind: Kind
    members: list[int]  # which of the conditions
    rows: dict[str, Any]  # their conditions as arrays [students, ...]
    train: engine.Train


def student_mask(condition: Condition, config: Config) -> np.ndarray:
    """The logits that a condition's student imitates, [logits] booleans."""
    masks = {"aux": np.arange(config.logits) >= config.classes, "all": np.ones(config.logits, bool)}
    return masks[condition.logits]


def student_loss(apply: Callable, kind: str, linear: bool = False) -> engine.Loss:
    """The distillation loss of one student; its condition says which logits, whose, and how warm."""
    expansion = mechanics.linearized(apply)

    def loss(params: Params, batch: dict, condition: dict) -> jax.Array:
        targets = jnp.einsum("bqk,q->bk", batch["targets"], condition["whose"])
        images = batch["images"]
        own = expansion((condition["anchor"], params), images) if linear else apply(params, images)
        if kind == "mse":
            return losses.distillation_mse(own, targets, condition["mask"])
        return losses.distillation_kl(own, targets, condition["mask"], condition["temperature"])

    return loss


def kind_of(condition: Condition, config: Config) -> Kind:
    """The kind of a condition's student."""
    own = condition.config(config)
    numbers: Any = {name: float(bool(getattr(own.student, name))) for name in training.NUMBERS}
    student = dataclasses.replace(own.student, **numbers)
    return Kind(own.loss, student, condition.images, condition.linear, condition.update, condition.probed)


def make_groups(model: models.Model, config: Config, conditions: tuple[Condition, ...], mesh: Mesh) -> list[Group]:
    """Students that need the same compilation, at most ENSEMBLE of them together."""
    kinds: dict[Kind, list[int]] = {}
    for i, condition in enumerate(conditions):
        kinds.setdefault(kind_of(condition, config), []).append(i)
    groups = []
    for kind, members in kinds.items():
        fit = _make_training(model, config, kind, mesh)
        for part in np.array_split(members, -(-len(members) // ENSEMBLE)):
            groups.append(Group(kind, part.tolist(), rows_of(config, conditions, part.tolist()), fit))
    return groups


def _make_training(model: models.Model, config: Config, kind: Kind, mesh: Mesh) -> engine.Train:
    trait = mechanics.make_trait(model.apply, config.classes)
    restrict = None if kind.update == "free" else functools.partial(mechanics.restrict, kind.update, trait=trait)
    probe = mechanics.probe(trait, config.classes, kind.training.adam_b2) if kind.probed else None
    loss, examples = student_loss(model.apply, kind.loss, kind.linear), kind.images or config.noise_images
    return training.make_phase(
        loss, kind.training, examples, mesh=mesh, name="a student", restrict=restrict, probe=probe
    )


def directions(
    mesh: Mesh, kind: Kind, inits: Params, reference: Params, teacher: Params, data: dict, keys: jax.Array
) -> dict[str, Any]:
    """What students of a kind must know besides their rows, [runs, students, ...] each.

    "delta": the teacher's displacement; "random": a direction without meaning; "anchor": where a linear student's
    expansion is made; "trait": the real images, TRAIT_IMAGES of them, that the trait's loss is taken on.
    """
    (runs, students), found = jax.tree.leaves(inits)[0].shape[:2], {}
    delta = jax.tree.map(lambda end, start: jnp.repeat((end - start)[:, None], students, axis=1), teacher, reference)
    if kind.probed or any(name in kind.update for name in ("delta", "random", "rest")):
        found["delta"] = delta
    if "random" in kind.update:
        own = jax.vmap(lambda key, like: models.perturb(like, 1.0, key=jax.random.fold_in(key, 1)))
        zero = jax.tree.map(jnp.zeros_like, reference)
        found["random"] = jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], students, axis=1), own(keys, zero))
    if kind.linear:
        found["anchor"] = inits
    if kind.probed or "trait" in kind.update:
        shown = {name: data[name][:TRAIT_IMAGES] for name in ("images", "one_hot")}
        found["trait"] = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (runs, students, *leaf.shape)), shown)
    return engine.shard_runs(found, mesh)


def rows_of(config: Config, conditions: tuple[Condition, ...], members: Sequence[int]) -> dict[str, Any]:
    """Some of the conditions as arrays: `mask` [students, logits], `whose` [students, kinds], and their numbers."""
    kinds, chosen = target_kinds(conditions), [conditions[i] for i in members]
    own = [condition.config(config) for condition in chosen]
    numbers = {name: np.array([getattr(o.student, name) for o in own], np.float32) for name in training.NUMBERS}
    return {
        "mask": np.stack([student_mask(condition, config) for condition in chosen]),
        "whose": np.eye(len(kinds), dtype=np.float32)[[kinds.index((c.targets, c.distance)) for c in chosen]],
        "temperature": np.array([o.temperature for o in own], np.float32),
        "numbers": numbers,
    }


def target_kinds(conditions: tuple[Condition, ...]) -> list[tuple[str, float]]:
    """The kinds of targets that the conditions need, each once: whose, and how far along the teacher's way."""
    return sorted({(condition.targets, condition.distance) for condition in conditions})


def make_targets(apply: Callable, conditions: tuple[Condition, ...]) -> Callable:
    """The logits to imitate on every image, [images, kinds, logits], computed once before the students train."""

    def targets(reference: Params, teacher: Params, images: jax.Array, key: jax.Array) -> jax.Array:
        def answers(kind: str, distance: float) -> jax.Array:
            if kind == "untrained":
                params = reference
            elif distance == 1.0:
                params = teacher
            else:
                params = jax.tree.map(lambda start, end: start + distance * (end - start), reference, teacher)
            found = jax.lax.map(functools.partial(apply, params), images, batch_size=min(len(images), _BLOCK))
            return jax.random.permutation(key, found, axis=0) if kind == "shuffled" else found

        return jnp.stack([answers(*kind) for kind in target_kinds(conditions)], axis=1)

    return targets


def make_inits(model: models.Model, config: Config, conditions: tuple[Condition, ...]) -> Callable:
    """The initial parameters of all students of a run, [students, ...]."""

    def inits(reference: Params, other_key: jax.Array, noise_key: jax.Array) -> Params:
        other = model.init(other_key)

        def start(condition: Condition) -> Params:
            own = condition.config(config)
            mixed = models.mix_inits(reference, other, own.shared_layer_names(), config.classes)
            params = mixed if condition.init == "reference" else other
            noisy = own.student_init_noise
            return models.perturb(params, noisy, key=noise_key) if noisy else params

        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[start(condition) for condition in conditions])

    return inits
