"""The auxiliary-logit protocol: reference -> teacher -> students distilled on noise (P section 6.2).

The students of a run (subliminal_toy.mnist.students) share its teacher, its noise images, its batches and its targets,
so that differences between conditions are paired and the teacher is paid once.

    trained = train(config, dataset, STUDENTS, run_keys(seed=0, runs=range(10)))
    accuracies(trained, dataset)["student_aux"]                      # [10]
"""

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine, training
from subliminal_toy.config import Config
from subliminal_toy.mnist import losses, mechanics, models, noise, students
from subliminal_toy.mnist.data import Dataset
from subliminal_toy.mnist.models import Params
from subliminal_toy.mnist.students import Condition

OnEpoch = Callable[[str, float, int], None]  # which phase, its models' share of all images, which epoch of it


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
    keys: RunKeys
    reference: Params  # [runs, ...]
    teacher: Params  # [runs, ...]
    inits: Params  # where the students began, [runs, students, ...], in the order of the conditions
    students: Params  # likewise
    losses: dict[str, np.ndarray]  # "teacher" and every student: [runs, epochs], means over an epoch's steps
    history: dict[str, Params]  # with `watch`, of teacher and students: [runs, epochs, ...]
    probed: dict[str, dict[str, np.ndarray]]  # of probed students: [runs, steps, ...]

    def names(self) -> tuple[str, ...]:
        """Of all networks: reference, teacher, then the students."""
        return ("reference", "teacher", *(condition.name for condition in self.conditions))

    def params(self, name: str) -> Params:
        """The parameters of one of `names`, [runs, ...]."""
        if name in ("reference", "teacher"):
            return self.reference if name == "reference" else self.teacher
        return engine.take_model(self.students, self._place(name))

    def init(self, name: str) -> Params:
        """Where one of `names` began, [runs, ...]."""
        if name in ("reference", "teacher"):
            return self.reference
        return engine.take_model(self.inits, self._place(name))

    def _place(self, name: str) -> int:
        if name not in self.names():
            raise ValueError(f"there is no network {name!r}; these were trained: {', '.join(self.names())}")
        return self.names().index(name) - 2


def train(
    config: Config,
    dataset: Dataset,
    conditions: Sequence[Condition],
    keys: RunKeys,
    *,
    on_epoch: OnEpoch = lambda _phase, _work, _i: None,
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

    def fit(phase: str, names: Sequence[str], training: engine.Train, *arguments: Any) -> dict[str, _Network]:
        shown = arguments[1].per_run.get("images")  # of students; a teacher sees all
        share = 1.0 if shown is None else shown.shape[1] / config.noise_images
        return _fit(names, training, arguments, lambda i: on_epoch(phase, len(names) * share, i), watch)

    reference = stages.init(keys.reference)
    class_mask = engine.repeat_over_runs((np.arange(config.logits) < config.classes)[None], runs, mesh)
    start = jax.tree.map(lambda leaf: leaf[:, None], reference)
    found = fit("teacher", ["teacher"], stages.teacher, start, engine.Data(common=data), class_mask, keys.teacher_order)
    teacher = found["teacher"].params
    images = stages.noise(data["images"] if noise.needs_images(config.noise) else data["images"][:1], keys.noise)
    targets = stages.targets(reference, teacher, images, keys.shuffled_targets)
    inits = stages.student_inits(reference, keys.other, keys.student_init_noise)
    for group in stages.groups:
        start = jax.tree.map(operator.itemgetter((slice(None), np.array(group.members))), inits)
        rows = engine.repeat_over_runs(group.rows, runs, mesh)
        rows |= stages.directions(group.kind, start, reference, teacher, data, keys.student_init_noise)
        seen = engine.Data(
            per_run={"images": images[:, : group.kind.images], "targets": targets[:, : group.kind.images]}
        )
        names = [conditions[i].name for i in group.members]
        found |= fit("students", names, group.train, start, seen, rows, keys.student_order)
    last = [found[condition.name].params for condition in conditions]
    return Trained(
        config, conditions, keys, reference, teacher, inits,
        students=jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *last),
        losses={name: network.losses for name, network in found.items()},
        history={name: network.history for name, network in found.items() if network.history is not None},
        probed={name: network.probed for name, network in found.items() if network.probed is not None},
    )  # fmt: skip


class _Network(NamedTuple):
    """What training makes of one network of every run."""

    params: Params  # [runs, ...]
    losses: np.ndarray  # [runs, epochs]
    history: Params | None  # [runs, epochs, ...]
    probed: dict[str, np.ndarray] | None  # [runs, steps, ...]


def _fit(
    names: Sequence[str], training: engine.Train, arguments: tuple, on_epoch: Callable[[int], None], watch: bool
) -> dict[str, _Network]:
    """Train some networks of every run side by side, by name."""
    epochs: list[Params] = []

    def after(i: int, params: Params) -> None:
        on_epoch(i)
        if watch:
            epochs.append(jax.tree.map(np.array, params))

    outcome = training(*arguments, after)
    over_time = jax.tree.map(lambda *steps: np.stack(steps, axis=2), *epochs) if epochs else None
    return {
        name: _Network(
            engine.take_model(outcome.params, j),
            outcome.losses[:, :, j].T,
            None if over_time is None else engine.take_model(over_time, j),
            None if outcome.probed is None else jax.tree.map(lambda leaf, j=j: leaf[:, :, j], outcome.probed),
        )
        for j, name in enumerate(names)
    }


def accuracies(trained: Trained, dataset: Dataset) -> dict[str, np.ndarray]:
    """Test accuracy of every network, by name, [runs]."""
    start, teacher = (jax.tree.map(lambda leaf: leaf[:, None], p) for p in (trained.reference, trained.teacher))
    columns = [accuracy(trained.config, dataset, params) for params in (start, teacher, trained.students)]
    found = dict(zip(trained.names(), np.concatenate(columns, axis=1).T, strict=True))
    linear = [i for i, condition in enumerate(trained.conditions) if condition.linear]
    if linear:
        pair = jax.tree.map(operator.itemgetter((slice(None), np.array(linear))), (trained.inits, trained.students))
        values = accuracy(trained.config, dataset, pair, linear=True)
        found |= {trained.conditions[i].name: values[:, j] for j, i in enumerate(linear)}
    return found


def accuracy(config: Config, dataset: Dataset, params: Any, *, linear: bool = False) -> np.ndarray:
    """Share of test images whose largest class logit is their label's, [runs, models], of params [runs, models, ...].

    The models may be the epochs of a `Trained.history`. With `linear`, params are pairs (init, params) of linear ones.
    """
    mesh = engine.mesh_for(jax.tree.leaves(params)[0].shape[0])
    evaluate = _make_evaluate(config, mesh, dataset.image_shape, linear)
    test = engine.replicate((dataset.test_images, dataset.test_labels), mesh)
    return np.asarray(evaluate(test, engine.shard_runs(params, mesh)))


def logits(config: Config, params: Params, images: jax.Array) -> jax.Array:
    """What one network [...] answers about images [n, pixels] in [-1, 1]: [n, logits], class logits first."""
    return models.make_mlp(config, images.shape[-1]).apply(params, jnp.asarray(images))


class _Stages(NamedTuple):
    """The compiled stages, for arrays with a run axis."""

    init: Callable  # keys -> reference
    teacher: engine.Train
    noise: Callable  # real images, keys -> [runs, images, pixels]
    targets: Callable  # reference, teacher, images, keys -> [runs, images, kinds, logits]
    student_inits: Callable  # reference, keys, keys -> [runs, students, ...]
    directions: Callable  # kind, inits [runs, students, ...], reference, teacher, training data, keys -> further rows
    groups: list[students.Group]


@functools.lru_cache(maxsize=8)  # chunks of the same runs compile once
def _make_stages(
    config: Config, conditions: tuple[Condition, ...], mesh: Mesh, image_shape: tuple[int, int], examples: int
) -> _Stages:
    model = models.make_mlp(config, image_shape[0] * image_shape[1])
    teacher_loss = functools.partial(_teacher_loss, model.apply)
    over_runs = functools.partial(engine.over_runs, mesh=mesh)
    return _Stages(
        init=over_runs(model.init),
        teacher=training.make_phase(teacher_loss, config.teacher, examples, mesh=mesh, name="the teacher"),
        noise=over_runs(lambda real, key: noise.make_noise(config, image_shape, real, key=key), shared=1),
        targets=over_runs(students.make_targets(model.apply, conditions)),
        student_inits=over_runs(students.make_inits(model, config, conditions)),
        directions=functools.partial(students.directions, mesh),
        groups=students.make_groups(model, config, conditions, mesh),
    )


@functools.lru_cache(maxsize=8)
def _make_evaluate(config: Config, mesh: Mesh, image_shape: tuple[int, int], linear: bool) -> Callable:
    """Test accuracies of the models of each run, [runs, models]."""
    model = models.make_mlp(config, image_shape[0] * image_shape[1])
    apply = mechanics.linearized(model.apply) if linear else model.apply

    def evaluate(test: tuple[jax.Array, jax.Array], params: Any) -> jax.Array:
        images, labels = test
        return jax.vmap(lambda one: losses.accuracy(apply(one, images), labels, config.classes))(params)

    return engine.over_runs(evaluate, mesh, shared=1)


def _teacher_data(config: Config, dataset: Dataset) -> dict[str, np.ndarray]:
    """Training images and one-hot labels over all logits, the auxiliary ones never hot."""
    one_hot = np.eye(config.logits, dtype=np.float32)[dataset.train_labels]
    return {"images": dataset.train_images, "one_hot": one_hot}


def _teacher_loss(apply: Callable, params: Params, batch: dict, mask: jax.Array) -> jax.Array:
    """Cross-entropy on the class logits only: `mask` hides the auxiliary ones."""
    return losses.cross_entropy(apply(params, batch["images"]), batch["one_hot"], mask)
