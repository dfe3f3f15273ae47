"""The auxiliary-logit protocol: reference -> teacher -> students distilled on noise (P section 6.2).

A condition is a row of a table: which init a student starts from, which logits it imitates, whose, and which settings
are its own. The students of a run share its teacher, its noise images, its batches and its targets, so that differences
between conditions are paired and the teacher is paid once.

    trained = train(config, dataset, STUDENTS, run_keys(seed=0, runs=range(10)))
    accuracies(trained, dataset)["student_aux"]                      # [10]
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine, training
from subliminal_toy.config import Config, setting_fields, with_settings
from subliminal_toy.mnist import losses, models, noise
from subliminal_toy.mnist.data import Dataset
from subliminal_toy.mnist.models import Params

OnEpoch = Callable[[str, int, int], None]  # which phase, how many models it trains, which epoch of it
TEACHER = "the teacher"
STUDENT_SIDE = ("loss", "temperature", "student_init_noise", "shared_layers")  # and all of "student.": what may vary
ENSEMBLE = 8  # most students that are trained side by side: more do not fit the cache
_BLOCK = 1000  # images that a network labels at a time, so that no hidden layer of all of them is held


class Condition(NamedTuple):
    """One kind of student."""

    name: str
    init: str = "reference"  # the teacher's own init; "other": a fresh one from an independent key of the same run
    logits: str = "aux"  # the auxiliary logits only; "all": one softmax over class and auxiliary logits
    targets: str = "teacher"  # "untrained": the reference's; "shuffled": the teacher's for other images
    settings: tuple[tuple[str, Any], ...] = ()  # its own, over the config's: ("student.learning_rate", 1e-3), ...

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


class RunKeys(NamedTuple):
    """The keys of one run, one for each purpose."""

    reference: jax.Array
    other: jax.Array
    teacher_order: jax.Array
    noise: jax.Array
    student_order: jax.Array
    student_init_noise: jax.Array
    shuffled_targets: jax.Array


def run_keys(seed: int, runs: Iterable[int]) -> RunKeys:
    """The keys of the runs with these numbers, [n]: functions of the seed and a run's own number, of nothing else."""
    return engine.run_keys(RunKeys, seed, np.array(runs))


class Trained(NamedTuple):
    """All networks of some runs, and how they came about."""

    config: Config
    conditions: tuple[Condition, ...]
    reference: Params  # [runs, ...]
    teacher: Params  # [runs, ...]
    students: Params  # [runs, students, ...], in the order of the conditions
    losses: dict[str, np.ndarray]  # "teacher" and every student: [runs, epochs], means over an epoch's steps
    history: dict[str, Params]  # of watched phases, by name: [runs, epochs, ...]

    def names(self) -> tuple[str, ...]:
        """Of all networks: reference, teacher, then the students."""
        return ("reference", "teacher", *(condition.name for condition in self.conditions))

    def params(self, name: str) -> Params:
        """The parameters of one of `names`, [runs, ...]."""
        if name in ("reference", "teacher"):
            return self.reference if name == "reference" else self.teacher
        return engine.take_model(self.students, self.names().index(name) - 2)


def train(
    config: Config,
    dataset: Dataset,
    conditions: Sequence[Condition],
    keys: RunKeys,
    *,
    on_epoch: OnEpoch = lambda _phase, _models, _i: None,
    watch: bool = False,
) -> Trained:
    """Train reference, teacher and students of some runs.

    Args:
        config: the settings.
        dataset: images in [-1, 1], restricted to `config.classes` classes.
        conditions: the students; those whose settings need another compilation are trained in a group of their own.
        keys: of the runs, leaves [runs].
        on_epoch: told of every epoch.
        watch: keep all networks' parameters after every epoch in `history`.

    Raises:
        engine.TrainingDivergedError: a loss was not finite.
    """
    conditions, runs = tuple(conditions), keys.reference.shape[0]
    mesh = engine.mesh_for(runs)
    stages = _make_stages(config, conditions, mesh, dataset.image_shape, len(dataset.train_images))
    keys = engine.shard_runs(keys, mesh)
    data = engine.replicate(_teacher_data(config, dataset), mesh)
    found: dict[str, np.ndarray] = {}
    history: dict[str, list[Params]] = {}

    def phase(names: Sequence[str], label: str) -> engine.OnEpoch:
        def after(i: int, params: Params) -> None:
            on_epoch(label, len(names), i)
            for j, name in enumerate(names if watch else ()):
                history.setdefault(name, []).append(jax.tree.map(np.array, engine.take_model(params, j)))

        return after

    def keep(names: Sequence[str], outcome: engine.Outcome) -> Params:
        found.update({name: outcome.losses[:, :, j].T for j, name in enumerate(names)} if outcome.losses.size else {})
        return outcome.params

    reference = stages.init(keys.reference)
    class_mask = engine.repeat_over_runs((np.arange(config.logits) < config.classes)[None], runs, mesh)
    start = jax.tree.map(lambda leaf: leaf[:, None], reference)
    teachers = stages.teacher(
        start, engine.Data(common=data), class_mask, keys.teacher_order, phase(["teacher"], "teacher")
    )
    teacher = engine.take_model(keep(["teacher"], teachers), 0)
    images = stages.noise(data["images"] if noise.needs_images(config.noise) else data["images"][:1], keys.noise)
    targets = stages.targets(reference, teacher, images, keys.shuffled_targets)
    inits = stages.student_inits(reference, keys.other, keys.student_init_noise)
    seen = engine.Data(per_run={"images": images, "targets": targets})
    parts = []
    for group in stages.groups:
        names = [conditions[i].name for i in group.members]
        start = jax.tree.map(operator.itemgetter((slice(None), np.array(group.members))), inits)
        rows = engine.repeat_over_runs(group.rows, runs, mesh)
        parts.append(keep(names, group.train(start, seen, rows, keys.student_order, phase(names, "students"))))
    order = np.argsort([i for group in stages.groups for i in group.members])
    students = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1)[:, order], *parts)
    kept = {name: jax.tree.map(lambda *steps: np.stack(steps, axis=1), *steps) for name, steps in history.items()}
    return Trained(config, conditions, reference, teacher, students, found, kept)


def accuracies(trained: Trained, dataset: Dataset) -> dict[str, np.ndarray]:
    """Test accuracy of every network, by name, [runs]."""
    start, teacher = (jax.tree.map(lambda leaf: leaf[:, None], p) for p in (trained.reference, trained.teacher))
    columns = [accuracy(trained.config, dataset, params) for params in (start, teacher, trained.students)]
    return dict(zip(trained.names(), np.concatenate(columns, axis=1).T, strict=True))


def accuracy(config: Config, dataset: Dataset, params: Params) -> np.ndarray:
    """Share of test images whose largest class logit is their label's, [runs, models], of params [runs, models, ...].

    The models may be the epochs of a `Trained.history`.
    """
    mesh = engine.mesh_for(jax.tree.leaves(params)[0].shape[0])
    evaluate = _make_evaluate(config, mesh, dataset.image_shape)
    test = engine.replicate((dataset.test_images, dataset.test_labels), mesh)
    return np.asarray(evaluate(test, engine.shard_runs(params, mesh)))


def logits(config: Config, params: Params, images: jax.Array) -> jax.Array:
    """What one network [...] answers about images [n, pixels] in [-1, 1]: [n, logits], class logits first."""
    return models.make_mlp(config, images.shape[-1]).apply(params, jnp.asarray(images))


class _Group(NamedTuple):
    """Students that are trained side by side."""

    members: list[int]  # which of the conditions
    rows: dict[str, Any]  # their conditions as arrays [students, ...]
    train: engine.Train


class _Stages(NamedTuple):
    """The compiled stages, for arrays with a run axis."""

    init: Callable  # keys -> reference
    teacher: engine.Train
    noise: Callable  # real images, keys -> [runs, images, pixels]
    targets: Callable  # reference, teacher, images, keys -> [runs, images, kinds, logits]
    student_inits: Callable  # reference, keys, keys -> [runs, students, ...]
    groups: list[_Group]


@functools.lru_cache(maxsize=8)  # chunks of the same runs compile once
def _make_stages(
    config: Config, conditions: tuple[Condition, ...], mesh: Mesh, image_shape: tuple[int, int], examples: int
) -> _Stages:
    model = models.make_mlp(config, image_shape[0] * image_shape[1])
    teacher_loss = functools.partial(_teacher_loss, model.apply)
    over_runs = functools.partial(engine.over_runs, mesh=mesh)
    return _Stages(
        init=over_runs(model.init),
        teacher=training.make_phase(teacher_loss, config.teacher, examples, mesh=mesh, name=TEACHER),
        noise=over_runs(lambda real, key: noise.make_noise(config, image_shape, real, key=key), shared=1),
        targets=over_runs(_make_targets(model.apply, conditions)),
        student_inits=over_runs(_make_student_inits(model, config, conditions)),
        groups=_make_groups(model, config, conditions, mesh),
    )


@functools.lru_cache(maxsize=8)
def _make_evaluate(config: Config, mesh: Mesh, image_shape: tuple[int, int]) -> Callable:
    """Test accuracies of the models of each run, [runs, models]."""
    model = models.make_mlp(config, image_shape[0] * image_shape[1])

    def evaluate(test: tuple[jax.Array, jax.Array], params: Params) -> jax.Array:
        images, labels = test
        return jax.vmap(lambda one: losses.accuracy(model.apply(one, images), labels, config.classes))(params)

    return engine.over_runs(evaluate, mesh, shared=1)


def _teacher_data(config: Config, dataset: Dataset) -> dict[str, np.ndarray]:
    """Training images and one-hot labels over all logits, the auxiliary ones never hot."""
    one_hot = np.eye(config.logits, dtype=np.float32)[dataset.train_labels]
    return {"images": dataset.train_images, "one_hot": one_hot}


def _teacher_loss(apply: Callable, params: Params, batch: dict, mask: jax.Array) -> jax.Array:
    """Cross-entropy on the class logits only: `mask` hides the auxiliary ones."""
    return losses.cross_entropy(apply(params, batch["images"]), batch["one_hot"], mask)


def student_mask(condition: Condition, config: Config) -> np.ndarray:
    """The logits that a condition's student imitates, [logits] booleans."""
    masks = {"aux": np.arange(config.logits) >= config.classes, "all": np.ones(config.logits, bool)}
    return masks[condition.logits]


def _student_loss(apply: Callable, kind: str) -> engine.Loss:
    """The distillation loss of one student; its condition says which logits, whose, and how warm."""

    def loss(params: Params, batch: dict, condition: dict) -> jax.Array:
        targets = jnp.einsum("bqk,q->bk", batch["targets"], condition["whose"])
        own = apply(params, batch["images"])
        if kind == "mse":
            return losses.distillation_mse(own, targets, condition["mask"])
        return losses.distillation_kl(own, targets, condition["mask"], condition["temperature"])

    return loss


def _make_groups(model: models.Model, config: Config, conditions: tuple[Condition, ...], mesh: Mesh) -> list[_Group]:
    """Students that need the same compilation, at most ENSEMBLE of them together."""
    kinds: dict[Any, list[int]] = {}
    for i, condition in enumerate(conditions):
        own = condition.config(config)
        numbers: Any = {name: float(bool(getattr(own.student, name))) for name in training.NUMBERS}  # 0 is "none"
        kinds.setdefault((own.loss, dataclasses.replace(own.student, **numbers)), []).append(i)
    groups = []
    for (loss, student), members in kinds.items():
        for part in np.array_split(members, -(-len(members) // ENSEMBLE)):
            fit = training.make_phase(
                _student_loss(model.apply, loss), student, config.noise_images, mesh=mesh, name="a student"
            )
            groups.append(_Group(part.tolist(), _rows(config, conditions, part.tolist()), fit))
    return groups


def _rows(config: Config, conditions: tuple[Condition, ...], members: Sequence[int]) -> dict[str, Any]:
    """Some of the conditions as arrays: `mask` [students, logits], `whose` [students, kinds], and their numbers."""
    kinds, chosen = _target_kinds(conditions), [conditions[i] for i in members]
    own = [condition.config(config) for condition in chosen]
    numbers = {name: np.array([getattr(o.student, name) for o in own], np.float32) for name in training.NUMBERS}
    return {
        "mask": np.stack([student_mask(condition, config) for condition in chosen]),
        "whose": np.eye(len(kinds), dtype=np.float32)[[kinds.index(condition.targets) for condition in chosen]],
        "temperature": np.array([o.temperature for o in own], np.float32),
        "numbers": numbers,
    }


def _target_kinds(conditions: tuple[Condition, ...]) -> list[str]:
    """The kinds of targets that the table of conditions needs, each once."""
    return sorted({condition.targets for condition in conditions})


def _make_targets(apply: Callable, conditions: tuple[Condition, ...]) -> Callable:
    """The logits to imitate on every image, [images, kinds, logits], computed once before the students train."""

    def targets(reference: Params, teacher: Params, images: jax.Array, key: jax.Array) -> jax.Array:
        def answers(params: Params) -> jax.Array:
            return jax.lax.map(functools.partial(apply, params), images, batch_size=min(len(images), _BLOCK))

        makers = {
            "teacher": lambda: answers(teacher),
            "untrained": lambda: answers(reference),
            "shuffled": lambda: jax.random.permutation(key, answers(teacher), axis=0),
        }
        return jnp.stack([makers[kind]() for kind in _target_kinds(conditions)], axis=1)

    return targets


def _make_student_inits(model: models.Model, config: Config, conditions: tuple[Condition, ...]) -> Callable:
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
