"""The auxiliary-logit protocol: reference -> teacher -> students distilled on noise (P section 6.2).

The students of a run (subliminal_toy.mnist.students) share its teacher, its noise images, its batches and its targets,
so that differences between conditions are paired and the teacher is paid once.

    trained = train(config, dataset, STUDENTS, run_keys(seed=0, runs=range(10)))
    accuracies(trained, dataset)["student_aux"]                      # [10]
"""

import functools
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
from subliminal_toy.mnist.models import Params
from subliminal_toy.mnist.students import Condition, Student, count_epochs, make_students

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
    probed: dict[str, Any]  # what the probes of interventions recorded, by student: [runs, steps, ...]
    inputs: dict[str, Any]  # arrays of interventions, by student: [runs, ...]

    def __repr__(self) -> str:
        """What was trained, without the arrays."""
        runs = self.keys.reference.shape[0]
        return f"<mnist.Trained: {runs} runs on {self.config.dataset} of {', '.join(self.names())}>"

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
    on_epoch: OnEpoch | None = None,
    watch: bool = False,
) -> Trained:
    """Train reference, teacher and students of some runs.

    Args:
        config: the settings.
        dataset: images in [-1, 1], restricted to `config.classes` classes.
        conditions: the students; those whose settings need another compilation are trained in a group of their own.
        keys: of the runs, leaves [runs].
        on_epoch: called after every epoch; default a progress bar in notebooks and on terminals.
        watch: keep all networks' parameters after every epoch in `history`.

    Raises:
        engine.TrainingDivergedError: a loss was not finite.
    """
    conditions, asked = tuple(conditions), len(keys.reference)
    if on_epoch is None:
        with progress.bar(count_epochs(config, conditions), dataset.name) as advance:

            def on_epoch(phase: str, passes: float, _i: int) -> None:
                advance(passes, phase)

            return train(config, dataset, conditions, keys, on_epoch=on_epoch, watch=watch)
    keys = RunKeys(*(key[engine.pad_runs(asked)] for key in keys))
    runs = len(keys.reference)
    mesh = engine.mesh_for(runs)
    stages = _make_stages(config, conditions, mesh, dataset.image_shape, len(dataset.train_images))
    keys = engine.shard_runs(keys, mesh)
    real = engine.replicate(_teacher_data(config, dataset), mesh)
    fit = functools.partial(_fit, on_epoch, watch)

    reference = stages.init(keys.reference)
    start = jax.tree.map(lambda leaf: leaf[:, None], reference)
    class_mask = engine.repeat_over_runs((np.arange(config.logits) < config.classes)[None], runs, mesh)
    data = engine.Data(common=real)
    networks = fit("teacher", ["teacher"], 1.0, stages.teacher, start, data, class_mask, keys.teacher_order)
    teacher = networks["teacher"].params
    images = stages.noise(real["images"] if noise.needs_images(config.noise) else real["images"][:1], keys.noise)
    inits, taught = stages.students(reference, teacher, images, real, keys, fit)
    networks |= taught
    arrays = (
        keys,
        reference,
        teacher,
        inits,
        jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *(taught[c.name].params for c in conditions)),
        {name: network.losses for name, network in networks.items()},
        {name: network.history for name, network in networks.items() if network.history is not None},
        {name: network.probed for name, network in networks.items() if network.probed is not None},
        {name: network.inputs for name, network in networks.items() if network.inputs},
    )
    return Trained(config, conditions, *engine.drop_padding(arrays, asked))


def _fit(
    on_epoch: OnEpoch, watch: bool, phase: str, names: Sequence[str], share: float, train: engine.Train, *data: Any
) -> dict[str, Student]:
    """Train some networks of every run side by side, on a `share` of all images, and return them by name."""
    epochs: list[Params] = []

    def after(i: int, params: Params) -> None:
        on_epoch(phase, len(names) * share, i)
        if watch:
            epochs.append(jax.tree.map(np.array, params))

    outcome = train(*data, after)
    over_time = jax.tree.map(lambda *steps: np.stack(steps, axis=2), *epochs) if epochs else None
    return {
        name: Student(
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
    by_name = dict(zip(trained.names(), np.concatenate(columns, axis=1).T, strict=True))
    for name, wrap in ((c.name, c.intervention.model) for c in trained.conditions):
        if wrap is not None:
            params, inputs = (
                jax.tree.map(lambda leaf: leaf[:, None], tree) for tree in (trained.params(name), trained.inputs[name])
            )
            by_name[name] = accuracy(trained.config, dataset, params, wrap, inputs)[:, 0]
    return by_name


def accuracy(
    config: Config, dataset: Dataset, params: Any, wrap: Callable[[Callable], Callable] | None = None, inputs: Any = ()
) -> np.ndarray:
    """Share of test images whose largest class logit is their label's, [runs, models], of params [runs, models, ...].

    The models may be the epochs of a `Trained.history`. `wrap` and `inputs` [runs, models, ...] are those of an
    intervention that changes the model.
    """
    mesh = engine.mesh_for(jax.tree.leaves(params)[0].shape[0])
    evaluate = _make_evaluate(config, mesh, dataset.image_shape, wrap)
    test = engine.replicate((dataset.test_images, dataset.test_labels), mesh)
    return np.asarray(evaluate(test, engine.shard_runs(params, mesh), engine.shard_runs(inputs, mesh)))


def logits(config: Config, params: Params, images: jax.Array) -> jax.Array:
    """What one network [...] answers about images [n, pixels] in [-1, 1]: [n, logits], class logits first."""
    return models.make_mlp(config, images.shape[-1]).apply(params, jnp.asarray(images))


class _Stages(NamedTuple):
    """The compiled stages, for arrays with a run axis."""

    init: Callable  # keys -> reference
    teacher: engine.Train
    noise: Callable  # real images, keys -> [runs, images, pixels]
    students: Callable  # as students.make_students says


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
        students=make_students(model, config, conditions, mesh),
    )


@functools.lru_cache(maxsize=8)
def _make_evaluate(
    config: Config, mesh: Mesh, image_shape: tuple[int, int], wrap: Callable[[Callable], Callable] | None
) -> Callable:
    """Return the function to test accuracies of the models of each run, [runs, models]."""
    model = models.make_mlp(config, image_shape[0] * image_shape[1])
    answer = wrap(model.apply) if wrap else lambda params, images, _inputs: model.apply(params, images)

    def evaluate(test: tuple[jax.Array, jax.Array], params: Any, inputs: Any) -> jax.Array:
        images, labels = test
        return jax.vmap(lambda one, given: losses.accuracy(answer(one, images, given), labels, config.classes))(
            params, inputs
        )

    return engine.over_runs(evaluate, mesh, shared=1)


def _teacher_data(config: Config, dataset: Dataset) -> dict[str, np.ndarray]:
    """Training images and one-hot labels over all logits, the auxiliary ones never hot."""
    one_hot = np.eye(config.logits, dtype=np.float32)[dataset.train_labels]
    return {"images": dataset.train_images, "one_hot": one_hot}


def _teacher_loss(apply: Callable, params: Params, batch: dict, mask: jax.Array) -> jax.Array:
    """Cross-entropy on the class logits only: `mask` hides the auxiliary ones."""
    return losses.cross_entropy(apply(params, batch["images"]), batch["one_hot"], mask)
