"""The auxiliary-logit protocol: reference -> teacher -> students distilled on noise -> test accuracy (P section 6.2).

A condition is a row of a table: which init a student starts from, which logits it imitates, and whose. The students of
a run share its noise images, its batches and its targets, so that differences between conditions are paired.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.config import Config
from subliminal_toy.mnist import losses, models, noise
from subliminal_toy.mnist.data import Dataset
from subliminal_toy.phase import make_phase

OnPhaseEpoch = Callable[[str, int], None]  # which phase, which epoch of it
_BLOCK = 1000  # images that the teacher labels at a time


class Condition(NamedTuple):
    """One kind of student."""

    name: str
    init: str  # "reference": the teacher's own init; "other": a fresh one from an independent key of the same run
    logits: str  # "aux": the auxiliary logits only; "all": one softmax over class and auxiliary logits
    targets: str = "teacher"  # "teacher"; "untrained": the reference's; "shuffled": the teacher's for other images


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


class RunKeys(NamedTuple):
    """The keys of one run, one for each purpose."""

    reference: jax.Array
    other: jax.Array
    teacher_order: jax.Array
    noise: jax.Array
    student_order: jax.Array
    student_init_noise: jax.Array
    shuffled_targets: jax.Array


def run_keys(seed: int, runs: np.ndarray) -> RunKeys:
    """The keys of the runs numbered `runs` [n]: functions of the seed and a run's own number, of nothing else."""
    return engine.run_keys(RunKeys, seed, runs)


def student_mask(condition: Condition, config: Config) -> np.ndarray:
    """The logits that a condition's student imitates, [logits] booleans."""
    masks = {"aux": np.arange(config.logits) >= config.classes, "all": np.ones(config.logits, bool)}
    return masks[condition.logits]


def make_protocol(config: Config, dataset: Dataset, mesh: Mesh, students: tuple[Condition, ...] = STUDENTS) -> Callable:
    """Build the experiment for a chunk of runs.

    Args:
        config: the settings.
        dataset: images in [-1, 1]; already restricted to `config.classes` classes.
        mesh: the devices, from `engine.run_mesh`.
        students: the conditions, in the order of the results.

    Returns:
        `run_chunk(keys, on_epoch) -> accuracies`: `keys` a RunKeys with leaves [runs], `on_epoch(phase, i)` is called
        after each epoch, `accuracies` a dict of condition name ("reference", "teacher", then the students) to test
        accuracies [runs]. Raises engine.TrainingDivergedError.
    """
    model = models.make_mlp(config, dataset.train_images.shape[1])
    train_data = engine.replicate(_teacher_data(config, dataset), mesh)
    test = engine.replicate((dataset.test_images, dataset.test_labels), mesh)
    images = len(dataset.train_images)
    teacher_loss, student_loss = functools.partial(_teacher_loss, model.apply), _student_loss(model.apply, config)
    train_teacher = make_phase(teacher_loss, config.teacher, images, mesh=mesh, name="the teacher")
    train_students = make_phase(student_loss, config.student, config.noise_images, mesh=mesh, name="a student")
    init_reference = engine.over_runs(model.init, mesh)
    init_students = engine.over_runs(_make_student_init(model, config, students), mesh)
    real = train_data["images"] if noise.needs_images(config.noise) else train_data["images"][:1]
    make_noise = engine.over_runs(
        lambda real, key: noise.make_noise(config, dataset.image_shape, real, key=key), mesh, shared=1
    )
    make_targets = engine.over_runs(_make_targets(model.apply, students), mesh)
    evaluate = engine.over_runs(_make_evaluate(model.apply, config.classes), mesh, shared=1)

    def run_chunk(keys: RunKeys, on_epoch: OnPhaseEpoch = lambda _phase, _i: None) -> dict[str, np.ndarray]:
        keys = engine.shard_runs(keys, mesh)
        reference = init_reference(keys.reference)
        teacher, _ = train_teacher(
            _model_axis(reference), engine.Data(common=train_data), _class_masks(config, keys, mesh),
            keys.teacher_order, functools.partial(on_epoch, "teacher"),
        )  # fmt: skip
        inputs = make_noise(real, keys.noise)
        targets = make_targets(reference, _no_model_axis(teacher), inputs, keys.shuffled_targets)
        student, _ = train_students(
            init_students(reference, keys.other, keys.student_init_noise),
            engine.Data(per_run={"images": inputs, "targets": targets}),
            _student_conditions(config, students, keys, mesh),
            keys.student_order, functools.partial(on_epoch, "students"),
        )  # fmt: skip
        columns = [np.asarray(evaluate(test, params)) for params in (_model_axis(reference), teacher, student)]
        names = ["reference", "teacher", *(condition.name for condition in students)]
        return dict(zip(names, np.concatenate(columns, axis=1).T, strict=True))

    return run_chunk


def _teacher_data(config: Config, dataset: Dataset) -> dict[str, np.ndarray]:
    """Training images and one-hot labels over all logits, the auxiliary ones never hot."""
    one_hot = np.eye(config.logits, dtype=np.float32)[dataset.train_labels]
    return {"images": dataset.train_images, "one_hot": one_hot}


def _teacher_loss(apply: Callable, params: models.Params, batch: dict, mask: jax.Array) -> jax.Array:
    """Cross-entropy on the class logits only: `mask` hides the auxiliary ones."""
    return losses.cross_entropy(apply(params, batch["images"]), batch["one_hot"], mask)


def _student_loss(apply: Callable, config: Config) -> engine.Loss:
    """The distillation loss of one student; its condition says which logits, and whose."""
    distances: dict[str, Callable[[jax.Array, jax.Array, jax.Array], jax.Array]] = {
        "kl": functools.partial(losses.distillation_kl, temperature=config.temperature),
        "mse": losses.distillation_mse,
    }
    distance = distances[config.loss]

    def loss(params: models.Params, batch: dict, condition: dict) -> jax.Array:
        targets = jnp.einsum("bqk,q->bk", batch["targets"], condition["whose"])
        return distance(apply(params, batch["images"]), targets, condition["mask"])

    return loss


def _target_kinds(students: tuple[Condition, ...]) -> list[str]:
    """The kinds of targets that the table of conditions needs, each once."""
    return sorted({condition.targets for condition in students})


def _make_targets(apply: Callable, students: tuple[Condition, ...]) -> Callable:
    """The logits to imitate on every image, [images, kinds, logits], computed once before the students train."""

    def targets(reference: models.Params, teacher: models.Params, images: jax.Array, key: jax.Array) -> jax.Array:
        def logits(params: models.Params) -> jax.Array:  # in blocks, so that no hidden layer of all images is held
            return jax.lax.map(functools.partial(apply, params), images, batch_size=min(len(images), _BLOCK))

        makers = {
            "teacher": lambda: logits(teacher),
            "untrained": lambda: logits(reference),
            "shuffled": lambda: jax.random.permutation(key, logits(teacher), axis=0),
        }
        return jnp.stack([makers[kind]() for kind in _target_kinds(students)], axis=1)

    return targets


def _make_evaluate(apply: Callable, classes: int) -> Callable:
    """Test accuracies of the models of one run, [models]."""

    def evaluate(test: tuple[jax.Array, jax.Array], params: models.Params) -> jax.Array:
        images, labels = test
        return jax.vmap(lambda one: losses.accuracy(apply(one, images), labels, classes))(params)

    return evaluate


def _make_student_init(model: models.Model, config: Config, students: tuple[Condition, ...]) -> Callable:
    """The initial parameters of all students of a run, [students, ...]."""

    def init(reference: models.Params, other_key: jax.Array, noise_key: jax.Array) -> models.Params:
        other = model.init(other_key)
        mixed = models.mix_inits(reference, other, config.shared_layer_names(), config.classes)
        chosen = [mixed if condition.init == "reference" else other for condition in students]
        if config.student_init_noise:
            chosen = [models.perturb(params, config.student_init_noise, key=noise_key) for params in chosen]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *chosen)

    return init


def _student_conditions(config: Config, students: tuple[Condition, ...], keys: RunKeys, mesh: Mesh) -> dict:
    """The table of conditions as arrays with a run axis: `mask` [runs, students, logits], `whose` [.., kinds]."""
    kinds = _target_kinds(students)
    rows = {
        "mask": np.stack([student_mask(condition, config) for condition in students]),
        "whose": np.eye(len(kinds), dtype=np.float32)[[kinds.index(condition.targets) for condition in students]],
    }
    return _repeat_over_runs(rows, keys, mesh)


def _class_masks(config: Config, keys: RunKeys, mesh: Mesh) -> jax.Array:
    """The one teacher's mask, [runs, 1, logits]: the class logits."""
    return _repeat_over_runs((np.arange(config.logits) < config.classes)[None], keys, mesh)


def _repeat_over_runs(tree: engine.Tree, keys: RunKeys, mesh: Mesh) -> engine.Tree:
    runs = keys.reference.shape[0]
    return engine.shard_runs(jax.tree.map(lambda a: np.broadcast_to(a, (runs, *a.shape)), tree), mesh)


def _model_axis(tree: engine.Tree) -> engine.Tree:
    """[runs, ...] -> [runs, 1, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, None], tree)


def _no_model_axis(tree: engine.Tree) -> engine.Tree:
    """[runs, 1, ...] -> [runs, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, 0], tree)
