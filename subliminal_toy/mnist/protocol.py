"""The auxiliary-logit protocol: reference -> teacher -> students distilled on noise (P section 6.2).

The students of a run (subliminal_toy.mnist.students) share its teacher, its noise images, its batches and its targets,
so that differences between conditions are paired and the teacher is paid once.

    trained = train(config, dataset, STUDENTS, run_keys(seed=0, runs=range(10)))
    mnist.accuracies(trained, dataset)["student_aux"]                      # [10]
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine, progress, training
from subliminal_toy.mnist import losses, models, noise
from subliminal_toy.mnist.config import Config
from subliminal_toy.mnist.data import Dataset
from subliminal_toy.mnist.models import Model, Params
from subliminal_toy.mnist.students import Condition, Group, Inputs, RunContext, make_students

OnEpoch = Callable[[str, float, int], None]  # which phase, its models' share of all images, which epoch of it
MakeNoise = Callable[[jax.Array], jax.Array]  # key of a run -> images [n, pixels]


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
    """Return the keys of the runs with these numbers, [n]; each depends on the seed and the run's number only."""
    return engine.run_keys(RunKeys, seed, np.array(runs))


class Trained(NamedTuple):
    """All networks of some runs, and how they came about."""

    config: Config
    conditions: tuple[Condition, ...]
    model: Model
    keys: RunKeys
    reference: Params  # [runs, ...]
    teacher: Params  # [runs, ...]
    inits: Params  # where the students began, [runs, students, ...], in the order of the conditions
    students: Params  # likewise
    losses: dict[str, np.ndarray]  # "teacher" and every student: [runs, epochs], means over an epoch's steps
    history: dict[str, Params]  # with `watch`, of teacher and students: [runs, epochs, ...]
    probed: dict[str, Any]  # what the probes of interventions recorded, by student: [runs, steps, ...]
    inputs: dict[str, Any]  # arrays of interventions, by student: [runs, ...]

    def __repr__(self) -> str:
        """Name the networks, without the arrays."""
        runs = self.keys.reference.shape[0]
        return f"<mnist.Trained: {runs} runs on {self.config.dataset} of {', '.join(self.names())}>"

    def names(self) -> tuple[str, ...]:
        """Return the names of all networks: reference, teacher, then the students."""
        return ("reference", "teacher", *(condition.name for condition in self.conditions))

    def params(self, name: str) -> Params:
        """Return the parameters of one of `names`, [runs, ...]."""
        if name in ("reference", "teacher"):
            return self.reference if name == "reference" else self.teacher
        return engine.take_model(self.students, self._place(name))

    def init(self, name: str) -> Params:
        """Return the initial parameters of one of `names`, [runs, ...]."""
        if name in ("reference", "teacher"):
            return self.reference
        return engine.take_model(self.inits, self._place(name))

    def _place(self, name: str) -> int:
        if name not in self.names():
            raise ValueError(f"there is no network {name!r}; these were trained: {', '.join(self.names())}")
        return self.names().index(name) - 2


class Network(NamedTuple):
    """One trained network of every run."""

    params: Params  # [runs, ...]
    losses: np.ndarray  # [runs, epochs], means over an epoch's steps
    history: Params | None  # after every epoch, [runs, epochs, ...]; None if it was not watched
    probed: Any  # what the intervention's probe recorded, [runs, steps, ...]
    inputs: Inputs = {}  # noqa: RUF012 - of the intervention, [runs, ...]


Fit = Callable[..., dict[str, Network]]  # phase, names, share of all images, engine.Train, its arguments


def train(
    config: Config,
    dataset: Dataset,
    conditions: Sequence[Condition],
    keys: RunKeys,
    *,
    on_epoch: OnEpoch | None = None,
    watch: bool = False,
    model: Model | None = None,
    make_noise: MakeNoise | None = None,
) -> Trained:
    """Train reference, teacher and students of some runs.

    Args:
        config: the settings.
        dataset: images in [-1, 1], restricted to `config.classes` classes.
        conditions: the students; those that share a compiled program are trained side by side.
        keys: of the runs, leaves [runs].
        on_epoch: called after every epoch; default a progress bar in notebooks and on terminals.
        watch: keep all networks' parameters after every epoch in `history`.
        model: init and apply of all networks, with `config.logits` outputs; default the MLP of `config`.
        make_noise: from a run's key to its students' images [config.noise_images, pixels]; default `config.noise`.

    Raises:
        ValueError: the model's outputs or the noise have another shape than they must have.
        engine.TrainingDivergedError: a loss was not finite.

    Example, with noise of pixels 0 and 1:
        >>> from subliminal_toy import mnist
        >>> config, digits = mnist.config_for("digits"), mnist.load_dataset("digits")
        >>> make_noise = lambda key: jax.random.bernoulli(key, 0.5, (config.noise_images, 64)).astype(float)
        >>> train(config, digits, mnist.STUDENTS, run_keys(0, range(2)), make_noise=make_noise)  # doctest: +SKIP
    """
    runs = len(keys.reference)
    keys = RunKeys(*(key[engine.pad_runs(runs)] for key in keys))
    mesh = engine.mesh_for(len(keys.reference))
    shape, examples = dataset.image_shape, len(dataset.train_images)
    stages = _make_stages(config, tuple(conditions), mesh, shape, examples, model, make_noise)
    with progress.bar(stages.epochs, dataset.name, show=on_epoch is None) as advance:
        fit = functools.partial(_fit, on_epoch or (lambda phase, passes, _: advance(passes, phase)), watch)
        arrays = _train(stages, engine.shard_runs(keys, mesh), dataset, fit)
    return Trained(config, tuple(conditions), stages.model, *engine.drop_padding(arrays, runs))


def _train(stages: "_Stages", keys: RunKeys, dataset: Dataset, fit: Fit) -> tuple:
    """Train runs that fill the devices; return the fields of `Trained` from `keys` to `inputs`."""
    real = engine.replicate(_teacher_data(dataset, stages.class_mask.shape[-1]), stages.mesh)
    reference = stages.reference(keys.reference)
    start = jax.tree.map(lambda leaf: leaf[:, None], reference)
    class_mask = engine.repeat_over_runs(stages.class_mask, len(keys.reference), stages.mesh)
    data = engine.Data(common=real)
    networks = fit("teacher", ["teacher"], 1.0, stages.teacher, start, data, class_mask, keys.teacher_order)
    teacher = networks["teacher"].params
    images = stages.noise(real["images"], keys.noise)
    targets = stages.targets(reference, teacher, images, keys.shuffled_targets)
    inits = stages.inits(reference, keys.other, keys.student_init_noise)
    material = _Material(keys, real, reference, teacher, images, targets, inits)
    for train_group in stages.groups:
        networks |= train_group(material, fit)
    students = [networks[name].params for name in stages.names]
    return (
        keys,
        reference,
        teacher,
        inits,
        jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *students),
        {name: network.losses for name, network in networks.items()},
        {name: network.history for name, network in networks.items() if network.history is not None},
        {name: network.probed for name, network in networks.items() if network.probed is not None},
        {name: network.inputs for name, network in networks.items() if network.inputs},
    )


def _fit(
    on_epoch: OnEpoch, watch: bool, phase: str, names: Sequence[str], share: float, train: engine.Train, *data: Any
) -> dict[str, Network]:
    """Train some networks of every run side by side, on a `share` of all images, and return them by name."""
    epochs: list[Params] = []

    def after(i: int, params: Params) -> None:
        on_epoch(phase, len(names) * share, i)
        if watch:
            epochs.append(jax.tree.map(np.array, params))

    outcome = train(*data, after)
    over_time = jax.tree.map(lambda *steps: np.stack(steps, axis=2), *epochs) if epochs else None
    return {
        name: Network(
            engine.take_model(outcome.params, j),
            outcome.losses[:, :, j].T,
            None if over_time is None else engine.take_model(over_time, j),
            None if outcome.probed is None else jax.tree.map(lambda leaf, j=j: leaf[:, :, j], outcome.probed),
        )
        for j, name in enumerate(names)
    }


class _Stages(NamedTuple):
    """The compiled stages, for arrays with a run axis."""

    model: Model
    mesh: Mesh
    names: tuple[str, ...]  # of the students
    epochs: float  # of teacher and students, in passes over all images of each
    class_mask: np.ndarray  # which logits the teacher learns, [1, logits]
    reference: Callable  # keys -> reference
    teacher: engine.Train
    noise: Callable  # real images, keys -> [runs, images, pixels]
    targets: Callable  # as students.make_targets says
    inits: Callable  # as students.make_inits says
    groups: list[Callable]  # as _make_group says


@functools.lru_cache(maxsize=8)  # chunks of the same runs compile once
def _make_stages(
    config: Config,
    conditions: tuple[Condition, ...],
    mesh: Mesh,
    image_shape: tuple[int, int],
    examples: int,
    model: Model | None,
    make_noise: MakeNoise | None,
) -> _Stages:
    model = models.make_model(config, math.prod(image_shape), model)
    students = make_students(model, config, conditions)
    images = noise.make_images(config, image_shape, make_noise)
    over_runs = functools.partial(engine.over_runs, mesh=mesh)
    return _Stages(
        model,
        mesh,
        students.names,
        students.epochs,
        (np.arange(config.logits) < config.classes)[None],
        reference=over_runs(model.init),
        teacher=training.make_phase(
            functools.partial(_teacher_loss, model.apply), config.teacher, examples, mesh=mesh, name="the teacher"
        ),
        noise=over_runs(images, shared=1),
        targets=over_runs(students.targets),
        inits=over_runs(students.inits),
        groups=[_make_group(group, mesh) for group in students.groups],
    )


class _Material(NamedTuple):
    """What the students of some runs are trained from."""

    keys: RunKeys
    real: dict  # the teacher's training data
    reference: Params  # [runs, ...]
    teacher: Params  # [runs, ...]
    images: jax.Array  # [runs, images, pixels]
    targets: jax.Array  # [runs, images, sources, logits]
    inits: Params  # [runs, students, ...]


def _make_group(group: Group, mesh: Mesh) -> Callable[[_Material, Fit], dict[str, Network]]:
    """Compile the training of students side by side; the function that is returned trains them through `fit`."""
    train = training.make_phase(
        group.loss, group.training, group.images, mesh=mesh, name="a student", restrict=group.rule, probe=group.probe
    )
    make_inputs = _make_inputs(group.inputs, mesh)

    def train_group(given: _Material, fit: Fit) -> dict[str, Network]:
        start = jax.tree.map(lambda leaf: leaf[:, group.places], given.inits)
        rows = engine.repeat_over_runs(group.rows, len(given.images), mesh)
        rows["inputs"] = make_inputs(given.real, start, given.reference, given.teacher, given.keys.student_init_noise)
        images, targets = given.images[:, : group.images], given.targets[:, : group.images]
        data = engine.Data(per_run={"images": images, "targets": targets})
        trained = fit("students", group.names, group.share, train, start, data, rows, given.keys.student_order)
        inputs = (engine.take_model(rows["inputs"], j) for j in range(len(group.names)))
        return {name: trained[name]._replace(inputs=of_one) for name, of_one in zip(group.names, inputs, strict=True)}

    return train_group


def _make_inputs(make: Callable[[RunContext, dict], Inputs] | None, mesh: Mesh) -> Callable:
    """Return the function from training data, inits [runs, students, ...], networks and keys to a group's inputs."""
    if make is None:
        return lambda *_: {}

    def inputs(real: dict, inits: Params, reference: Params, teacher: Params, key: jax.Array) -> Inputs:
        return jax.vmap(lambda init: make(RunContext(init, reference, teacher, key), real))(inits)

    return engine.over_runs(inputs, mesh, shared=1)


def _teacher_data(dataset: Dataset, logits: int) -> dict[str, np.ndarray]:
    """Return training images and one-hot labels over all logits, the auxiliary ones never hot."""
    return {"images": dataset.train_images, "one_hot": np.eye(logits, dtype=np.float32)[dataset.train_labels]}


def _teacher_loss(apply: Callable, params: Params, batch: dict, mask: jax.Array) -> jax.Array:
    """Return the cross-entropy on the class logits only: `mask` hides the auxiliary ones."""
    return losses.cross_entropy(apply(params, batch["images"]), batch["one_hot"], mask)
