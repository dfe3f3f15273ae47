"""The arms of `mnist_mechanism`, and what is measured on them.

Delta is the teacher's displacement theta_T - theta_0; a student's own is delta = theta_S - theta_S0. All accuracies are
on test images, all of them shares in [0, 1]; a cosine of two displacements is in [-1, 1].
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.mnist.runs import Job
from experiments.studies.mnist_mechanism import coverage as shown
from experiments.studies.mnist_mechanism import interventions
from experiments.studies.mnist_mechanism.interventions import LINEAR, PROBED, UPDATES
from subliminal_toy import mnist
from subliminal_toy.mnist import students
from subliminal_toy.mnist.models import Params

# Of step sizes .03, .1, .3 and 1: the least distillation loss without overshoot, on a seed (999) that no result uses;
# no accuracy was looked at.
SGD = (("student.optimizer", "sgd"), ("student.learning_rate", 0.3))
STEPS = 300  # of a student in the part on coverage, whatever the number of its images
RAY = (0.0, 1 / 64, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0)  # fractions of Delta
DISTANCES = (1 / 64, 1 / 8)
IMAGES = (64, 256, 1024, 4096)
AUX_LOGITS = (10, 100)  # besides the config's own
WIDTHS = {64: 0.4, 128: 0.4, 512: 0.2, 1024: 0.12}  # units, and the share of the runs
CURVE = 40  # steps that are kept of a curve
STUDENT = mnist.Condition("student_aux")
CLEAN = STUDENT._replace(intervention=PROBED)
LINEAR_STUDENT = mnist.Condition("linear student", intervention=LINEAR)
SPLIT = ("student_aux", "cross_aux", "student_sgd")  # whose displacements are taken apart
MAIN = (
    CLEAN,
    mnist.Condition("cross_aux", init="other", intervention=PROBED),
    mnist.Condition("student_sgd", settings=SGD, intervention=PROBED),
    *(mnist.Condition(update, intervention=intervention) for update, intervention in UPDATES.items()),
    LINEAR_STUDENT,
)
PAIRS = (("update", "delta"), ("update", "trait"), ("gradient", "delta"), ("gradient", "trait"), ("update", "gradient"))


def _student(images: int) -> mnist.Condition:
    """Make a student that takes about STEPS steps on so many images."""
    batch = min(1024, images)
    settings = (("student.batch_size", batch), ("student.epochs", max(1, round(STEPS / -(-images // batch)))))
    return mnist.Condition(f"{images} images", images=images, settings=settings)


def from_nearer_teacher(distance: float, networks: students.Networks, images: jax.Array, _key: jax.Array) -> jax.Array:
    """Return the logits of the network at theta_0 + distance * (theta_T - theta_0)."""
    near = jax.tree.map(lambda start, end: start + distance * (end - start), networks.reference, networks.teacher)
    return students.label(networks, near, images)


@functools.cache
def at_fraction(distance: float) -> students.Targets:
    """Return `from_nearer_teacher` at a distance, the same function for the same distance."""
    return functools.partial(from_nearer_teacher, distance)


def jobs(config: mnist.Config) -> list[Job]:
    """Plan the config itself with all interventions, then variants of it on a part of the runs."""
    near = [
        condition._replace(name=f"{condition.name}, {distance:g}", targets=at_fraction(distance))
        for distance in DISTANCES
        for condition in (STUDENT, LINEAR_STUDENT)
    ]
    planned = [Job("main", config, MAIN, _measure_main), Job("distance", config, tuple(near), mnist.accuracies, 0.4)]
    planned += coverage_jobs(config)
    for width, share in WIDTHS.items():
        wider = dataclasses.replace(config, width=width)
        planned.append(Job(f"width {width}", wider, (STUDENT, LINEAR_STUDENT), mnist.accuracies, share))
    return planned


def coverage_jobs(config: mnist.Config) -> list[Job]:
    """Plan students of few images, by auxiliary logits."""
    few = [_student(images) for images in IMAGES if images <= config.noise_images]
    return [
        Job(f"coverage {aux}", with_logits, (*few, STUDENT), _measure_coverage, 0.4)
        for aux in dict.fromkeys((config.aux_logits, *AUX_LOGITS))
        for with_logits in [dataclasses.replace(config, aux_logits=aux)]
    ]


# ------------------------------------------------------------------------------------------------------- measurements


def _measure_main(trained: mnist.Trained, dataset: mnist.Dataset) -> dict[str, np.ndarray]:
    """Measure every run: accuracies, losses, displacements, the ray, displacements in two, and steps."""
    values = {f"accuracy {name}": column for name, column in mnist.accuracies(trained, dataset).items()}
    delta = _minus(trained.teacher, trained.reference)
    for name in trained.names()[2:]:
        values[f"loss {name}"] = trained.losses[name][:, -1]
        values |= {f"{key} {name}": column for key, column in recovery(trained, name, delta).items()}
    values["loss reference"] = shown.untrained_loss(trained, dataset)
    ray = _stack([_plus(trained.reference, delta, s) for s in RAY])
    values["ray"] = mnist.accuracy(trained.config, dataset, ray)
    for name in SPLIT:
        displacement = _minus(trained.params(name), trained.init(name))
        along = _along(displacement, delta)
        two = [_plus(trained.init(name), part) for part in (along, _minus(displacement, along))]
        both = mnist.accuracy(trained.config, dataset, _stack(two))
        values |= {f"along {name}": both[:, 0], f"rest {name}": both[:, 1]}
        values |= {f"{key} {name}": column for key, column in _noted(trained.probed[name]).items()}
    return values


def recovery(trained: mnist.Trained, name: str, delta: Params) -> dict[str, np.ndarray]:
    """Return a displacement's fraction of Delta, <own, Delta> / |Delta|^2, its cosine and relative length."""
    displacement = _minus(trained.params(name), trained.init(name))
    inner, size, length = _dots(displacement, delta), _dots(delta, delta), _dots(displacement, displacement)
    return {"fraction": inner / size, "cosine": inner / np.sqrt(size * length), "length": np.sqrt(length / size)}


def _noted(probed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return cosines of a student's steps (mean, first, curve, by layer), shares of positive ones, and kappa."""
    gram, noted = probed["gram"], {"kappa": np.median(probed["kappa"], axis=1)}
    noted["steps"] = np.tile(curve_steps(gram.shape[1]), (len(gram), 1))
    for pair in PAIRS:
        first, second = (interventions.VECTORS.index(name) for name in pair)
        by_layer = _cosines(gram, first, second)
        cosine = _cosines(gram.sum(axis=-1, keepdims=True), first, second)[..., 0]
        key = " ".join(pair)
        noted |= {f"cosine {key}": cosine.mean(axis=1), f"first {key}": cosine[:, 0]}
        noted |= {f"curve {key}": cosine[:, curve_steps(cosine.shape[1])], f"layers {key}": by_layer.mean(axis=1)}
        noted[f"positive {key}"] = (cosine > 0).mean(axis=1)
    return noted


def _cosines(gram: np.ndarray, first: int, second: int) -> np.ndarray:
    """Return cosines of two of VECTORS, [runs, steps, layers], 0 where one of them is zero."""
    length = np.sqrt(gram[:, :, first, first] * gram[:, :, second, second])
    return gram[:, :, first, second] / np.where(length > 0, length, np.inf)


def curve_steps(steps: int) -> np.ndarray:
    """Return the steps that are kept of a curve, evenly spread on a logarithmic axis, first and last included."""
    return np.unique(np.geomspace(1, steps, CURVE).round().astype(int)) - 1


def _measure_coverage(trained: mnist.Trained, dataset: mnist.Dataset) -> dict[str, np.ndarray]:
    """Measure every student on some of the images: accuracy, and the fractions of Delta recovered and predicted."""
    values = {f"accuracy {name}": column for name, column in mnist.accuracies(trained, dataset).items()}
    delta = _minus(trained.teacher, trained.reference)
    for condition in trained.conditions:
        recovered = recovery(trained, condition.name, delta)
        values |= {f"{key} {condition.name}": column for key, column in recovered.items()}
        if condition.images:
            values[f"predicted {condition.name}"] = shown.predicted_fraction(trained, dataset, condition.images)
    return values


def _minus(a: Params, b: Params) -> Params:
    return jax.tree.map(jnp.subtract, a, b)


def _plus(a: Params, b: Params, times: float = 1.0) -> Params:
    return jax.tree.map(lambda x, y: x + times * y, a, b)


def _stack(trees: Sequence[Params]) -> Params:
    """Stack [runs, ...] trees into one, [runs, trees, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *trees)


def _dots(a: Params, b: Params) -> np.ndarray:
    """Return the inner product of two trees of every run, [runs]."""
    return np.asarray(jax.vmap(interventions.dot)(a, b))


def _along(of: Params, direction: Params) -> Params:
    """Return the component of a tree along another, in every run."""
    share = _dots(of, direction) / _dots(direction, direction)
    return jax.tree.map(lambda leaf: share.reshape(-1, *[1] * (leaf.ndim - 1)) * leaf, direction)
