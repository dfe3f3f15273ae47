"""The arms of `mnist_mechanism`, what is measured on them, and what their values say.

Delta is the teacher's displacement theta_T - theta_0; a student's own is delta = theta_S - theta_S0. All accuracies are
on test images, all of them shares in [0, 1]; a cosine of two displacements is in [-1, 1].
"""

import dataclasses
import fractions
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from experiments.harness.chunks import Values
from experiments.mnist.runs import Job
from experiments.studies.mnist_mechanism import coverage as shown
from experiments.studies.mnist_mechanism import interventions
from experiments.studies.mnist_mechanism.interventions import LINEAR, PROBED, UPDATES
from subliminal_toy import mnist
from subliminal_toy.mnist import students
from subliminal_toy.mnist.models import Params
from subliminal_toy.statistics import describe

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
COVERED = {"predicted": "predicted fraction", "fraction": "measured fraction", "accuracy": "accuracy"}
STUDENTS = {  # in words
    "student_aux": "teacher's init",
    "cross_aux": "other init",
    "student_sgd": "teacher's init, SGD",
    "linear student": "linearised student",
}
KEPT = {  # what a student keeps of every update, in words
    "student_aux": "all of it",
    "without delta": "not along Delta",
    "only delta": "only along Delta",
    "without trait": "not along the digits' gradient",
    "only trait": "only along the digits' gradient",
    "without random": "all, pushed along a random direction",
    "only random": "only the push along a random direction",
    "shorter rest": "all, less as long a part of the rest",
}
CONTROLS = ("without random", "only random", "shorter rest")
PARTS = ("levels", "direction", "adam", "recovered", "one_number", "cause", "distance", "width", "coverage")


def _student(images: int) -> mnist.Condition:
    """A student that takes about STEPS steps on so many images."""
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
    """What is trained: the config itself with all interventions, then variants of it on a part of the runs."""
    near = [
        condition._replace(name=f"{condition.name}, {distance:g}", targets=at_fraction(distance))
        for distance in DISTANCES
        for condition in (STUDENT, LINEAR_STUDENT)
    ]
    found = [Job("main", config, MAIN, _measure_main), Job("distance", config, tuple(near), mnist.accuracies, 0.4)]
    found += _coverage_jobs(config)
    for width, share in WIDTHS.items():
        own = dataclasses.replace(config, width=width)
        found.append(Job(f"width {width}", own, (STUDENT, LINEAR_STUDENT), mnist.accuracies, share))
    return found


def _coverage_jobs(config: mnist.Config) -> list[Job]:
    """Students of few images, by auxiliary logits."""
    few = [_student(images) for images in IMAGES if images <= config.noise_images]
    return [
        Job(f"coverage {aux}", own, (*few, STUDENT), _measure_coverage, 0.4)
        for aux in dict.fromkeys((config.aux_logits, *AUX_LOGITS))
        for own in [dataclasses.replace(config, aux_logits=aux)]
    ]


# ------------------------------------------------------------------------------------------------------- measurements


def _measure_main(trained: mnist.Trained, dataset: mnist.Dataset) -> dict[str, np.ndarray]:
    """Of every run: accuracies, losses, displacements, the ray, displacements in two, and what was noted."""
    values = {f"accuracy {name}": column for name, column in mnist.accuracies(trained, dataset).items()}
    delta = _minus(trained.teacher, trained.reference)
    for name in trained.names()[2:]:
        values[f"loss {name}"] = trained.losses[name][:, -1]
        values |= {f"{key} {name}": column for key, column in recovery(trained, name, delta).items()}
    values["loss reference"] = shown.untrained_loss(trained, dataset)
    ray = _stack([_plus(trained.reference, delta, s) for s in RAY])
    values["ray"] = mnist.accuracy(trained.config, dataset, ray)
    for name in SPLIT:
        own = _minus(trained.params(name), trained.init(name))
        along = _along(own, delta)
        two = [_plus(trained.init(name), part) for part in (along, _minus(own, along))]
        both = mnist.accuracy(trained.config, dataset, _stack(two))
        values |= {f"along {name}": both[:, 0], f"rest {name}": both[:, 1]}
        values |= {f"{key} {name}": column for key, column in _noted(trained.probed[name]).items()}
    return values


def recovery(trained: mnist.Trained, name: str, delta: Params) -> dict[str, np.ndarray]:
    """Of a student's displacement: fraction of Delta recovered, <own, Delta> / |Delta|^2, cosine, relative length."""
    own = _minus(trained.params(name), trained.init(name))
    inner, size, length = _dots(own, delta), _dots(delta, delta), _dots(own, own)
    return {"fraction": inner / size, "cosine": inner / np.sqrt(size * length), "length": np.sqrt(length / size)}


def _noted(probed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What was noted of a student's steps: cosines (mean, first, curve, by layer), share of positive steps, kappa."""
    gram, found = probed["gram"], {"kappa": np.median(probed["kappa"], axis=1)}
    found["steps"] = np.tile(curve_steps(gram.shape[1]), (len(gram), 1))
    for pair in PAIRS:
        one, other = (interventions.VECTORS.index(name) for name in pair)
        by_layer = _cosines(gram, one, other)
        cosine = _cosines(gram.sum(axis=-1, keepdims=True), one, other)[..., 0]
        key = " ".join(pair)
        found |= {f"cosine {key}": cosine.mean(axis=1), f"first {key}": cosine[:, 0]}
        found |= {f"curve {key}": cosine[:, curve_steps(cosine.shape[1])], f"layers {key}": by_layer.mean(axis=1)}
        found[f"positive {key}"] = (cosine > 0).mean(axis=1)
    return found


def _cosines(gram: np.ndarray, one: int, other: int) -> np.ndarray:
    """Cosines of two of VECTORS, [runs, steps, layers], 0 where one of them is zero."""
    length = np.sqrt(gram[:, :, one, one] * gram[:, :, other, other])
    return gram[:, :, one, other] / np.where(length > 0, length, np.inf)


def curve_steps(steps: int) -> np.ndarray:
    """The steps that are kept of a curve, evenly spread on a logarithmic axis, first and last included."""
    return np.unique(np.geomspace(1, steps, CURVE).round().astype(int)) - 1


def _measure_coverage(trained: mnist.Trained, dataset: mnist.Dataset) -> dict[str, np.ndarray]:
    """Of every student on some of the images: accuracy, the fraction of Delta recovered, and the one predicted."""
    values = {f"accuracy {name}": column for name, column in mnist.accuracies(trained, dataset).items()}
    delta = _minus(trained.teacher, trained.reference)
    for condition in trained.conditions:
        found = recovery(trained, condition.name, delta)
        values |= {f"{key} {condition.name}": column for key, column in found.items()}
        if condition.images:
            values[f"predicted {condition.name}"] = shown.predicted_fraction(trained, dataset, condition.images)
    return values


def _minus(a: Params, b: Params) -> Params:
    return jax.tree.map(jnp.subtract, a, b)


def _plus(a: Params, b: Params, times: float = 1.0) -> Params:
    return jax.tree.map(lambda x, y: x + times * y, a, b)


def _stack(trees: Sequence[Params]) -> Params:
    """[runs, ...] trees as one, [runs, trees, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *trees)


def _dots(a: Params, b: Params) -> np.ndarray:
    """The inner product of two trees of every run, [runs]."""
    return np.asarray(jax.vmap(interventions.dot)(a, b))


def _along(of: Params, direction: Params) -> Params:
    """The component of a tree along another, in every run."""
    share = _dots(of, direction) / _dots(direction, direction)
    return jax.tree.map(lambda leaf: share.reshape(-1, *[1] * (leaf.ndim - 1)) * leaf, direction)


# ----------------------------------------------------------------------------------------------------------- summaries


def summarize(config: mnist.Config, values: Values) -> dict[str, Any]:
    """From the values of `jobs(config)` to the rows of PARTS, `{part: [{"name", "mean", "ci95", ..., "per_run"}]}`."""
    main = {name: np.array(column) for name, column in values["main"].items()}
    parts = (_levels, _direction, _adam, _recovered, _one_number, _cause)
    found = dict(zip(PARTS, [part(main) for part in parts], strict=False))
    return {
        **found,
        "distance": _distance(values, main),
        "width": _width(values),
        "coverage": _coverage(values, config),
    }


def is_answer(part: str, row: dict[str, Any]) -> bool:
    """Whether a row answers its part's question by itself; the others are details."""
    if part == "direction":
        return (row["quantity"], row["of"], row["along"]) == ("cosine", "update", "delta")
    if part == "recovered":
        return row["quantity"] == "fraction" and row["network"] in SPLIT
    if part == "one_number":
        return "part" in row
    if part == "cause":
        return row["quantity"] != "loss"
    return part != "coverage" or row["quantity"] == "rank correlation"


def row(name: str, per_run: Any, **further: Any) -> dict[str, Any]:
    """One value per run, described."""
    column = np.asarray(per_run, float)
    return {"name": name, **further, **describe(column), "per_run": [float(f"{value:.6g}") for value in column]}


Main = dict[str, np.ndarray]


def _levels(main: Main) -> list[dict[str, Any]]:
    """Each level of theory against the student: accuracies, then the share of the student's gain, run by run."""
    start, student = main["accuracy reference"], main["accuracy student_aux"]
    levels = [
        ("reference", "nothing: the reference", "reference", start),
        ("along", "one number: its displacement along Delta alone", "along Delta alone", main["along student_aux"]),
        ("rest", "the rest of its displacement alone", "the rest alone", main["rest student_aux"]),
        ("linear", "linear: the linearised student", "linearised student", main["accuracy linear student"]),
        ("student", "the student", "student", student),
        ("teacher", "Delta itself: the teacher", "teacher", main["accuracy teacher"]),
    ]
    gain = (student - start).mean()
    rows = [row(name, own, level=level, quantity="accuracy", words=words) for level, name, words, own in levels]
    for level, name, words, own in levels[1:4]:
        fields = {"level": level, "quantity": "share of the student's gain", "words": words}
        rows.append(row(f"share of the student's gain, {name}", (own - start) / gain, **fields))
    return rows


def _direction(main: Main) -> list[dict[str, Any]]:
    """Cosines of steps with Delta and with the trait's descent, means over steps, in the first step, and by layer."""
    rows = []
    for name in SPLIT:
        for pair in (pair for pair in PAIRS if pair[1] != "gradient"):
            key, cosine = f"{' '.join(pair)} {name}", f"{name}: cosine of {pair[0]} and {pair[1]}"
            curve, agree = main[f"curve {key}"], f"share of steps in which {pair[0]} and {pair[1]} agree in sign"
            fields = {"network": name, "of": pair[0], "along": pair[1], "words": STUDENTS[name]}
            rows += [
                row(cosine, main[f"cosine {key}"], quantity="cosine", **fields,
                    curve=curve.mean(axis=0).round(5).tolist(),
                    steps=main[f"steps {name}"][0].astype(int).tolist(),
                    layers=main[f"layers {key}"].mean(axis=0).round(5).tolist()),
                row(f"{cosine}, first step", main[f"first {key}"], quantity="first cosine", **fields),
                row(f"{name}: {agree}", main[f"positive {key}"], quantity="share of positive cosines", **fields),
            ]  # fmt: skip
    return rows


def _adam(main: Main) -> list[dict[str, Any]]:
    """Its condition number, the cosine that would guarantee the sign (S4), and how far it turns a step."""
    rows = []
    for name in ("student_aux", "cross_aux"):
        kappa = main[f"kappa {name}"]
        found = {
            "condition number": ("condition number, log10 of the median over steps", np.log10(kappa)),
            "bound": ("cosine of gradient and Delta above which the sign is guaranteed", (kappa - 1) / (kappa + 1)),
            "gradient along Delta": ("cosine of gradient and Delta", main[f"cosine gradient delta {name}"]),
            "update along gradient": ("cosine of update and gradient", main[f"cosine update gradient {name}"]),
        }
        rows += [
            row(f"{name}: {words}", column, network=name, quantity=quantity, words=words)
            for quantity, (words, column) in found.items()
        ]
    return rows


def _recovered(main: Main) -> list[dict[str, Any]]:
    """How much of Delta each student's displacement recovers, its cosine with it, its length relative to it."""
    names, words = [condition.name for condition in MAIN], KEPT | STUDENTS
    return [
        row(f"{name}: {key}", main[f"{key} {name}"], network=name, quantity=key, words=words[name])
        for name in names
        for key in ("fraction", "cosine", "length")
    ]


def _one_number(main: Main) -> list[dict[str, Any]]:
    """Accuracy on the teacher's ray, and of displacements in two: along Delta, and the rest."""
    rows = [
        row(f"theta_0 + {s:g} Delta", main["ray"][:, i], fraction=s, words=f"teacher at {_fraction(s)}")
        for i, s in enumerate(RAY)
    ]
    for name in SPLIT:
        parts = {"along": f"along {name}", "rest": f"rest {name}", "all of it": f"accuracy {name}"}
        rows += [
            row(f"{name}: {part}", main[key], network=name, part=part, words=f"{STUDENTS[name]}: {part}")
            for part, key in parts.items()
        ]
    return rows


def _fraction(of_delta: float) -> str:
    """Write a fraction of Delta in words: 1/8 Delta."""
    return "Delta" if of_delta == 1 else f"{fractions.Fraction(of_delta)} Delta"


def _cause(main: Main) -> list[dict[str, Any]]:
    """Accuracy and last distillation loss of students that keep a part of their updates; differences are paired."""
    names, clean = ["student_aux", *UPDATES], main["accuracy student_aux"]
    words = KEPT | {"reference": "untrained network"}

    def of(name: str, quantity: str, label: str, column: np.ndarray) -> dict[str, Any]:
        fields = {"network": name, "quantity": quantity, "control": name in CONTROLS, "words": words[name]}
        return row(label, column, **fields)

    return [
        *(of(name, "accuracy", name, main[f"accuracy {name}"]) for name in names),
        *(of(name, "loss", f"{name}: distillation loss", main[f"loss {name}"]) for name in ("reference", *names)),
        *(of(name, "difference", f"{name} - student_aux", main[f"accuracy {name}"] - clean) for name in names[1:]),
    ]


def _pair(job: dict[str, list], real: str, linear: str, label: str, **fields: Any) -> list[dict[str, Any]]:
    """Compare the student with the linearised one: accuracies, and their difference, paired."""
    student, linearised = (np.array(job[name]) for name in (real, linear))
    return [
        row(f"{label}: the student", student, network="student", **fields),
        row(f"{label}: the linearised student", linearised, network="linearised student", **fields),
        row(f"{label}: the student - the linearised student", student - linearised, network="difference", **fields),
    ]


def _distance(values: Values, main: Main) -> list[dict[str, Any]]:
    """Real and linear students of nearer teachers."""
    rows = []
    for s in DISTANCES:
        names = (f"student_aux, {s:g}", f"linear student, {s:g}")
        label, words = f"teacher at theta_0 + {s:g} Delta", f"teacher at {_fraction(s)}"
        rows += _pair(values["distance"], *names, label, distance=s, words=words)
    whole = {name: main[f"accuracy {name}"].tolist() for name in ("student_aux", "linear student")}
    label, words = "teacher at theta_0 + 1 Delta", "teacher at Delta: the experiment itself"
    return rows + _pair(whole, "student_aux", "linear student", label, distance=1.0, words=words)


def _width(values: Values) -> list[dict[str, Any]]:
    """Real and linear students by width."""
    rows = []
    for width in WIDTHS:
        label = f"{width} units"
        rows += _pair(values[f"width {width}"], "student_aux", "linear student", label, width=width, words=label)
    return rows


def _coverage(values: Values, config: mnist.Config) -> list[dict[str, Any]]:
    """Predicted and measured fractions and accuracies by images and auxiliary logits; rank correlations of them."""
    rows, points = [], []
    for job in _coverage_jobs(config):
        aux = job.config.aux_logits
        for student in (condition for condition in job.conditions if condition.images):
            columns = [np.array(values[job.name][f"{key} {student.name}"]) for key in COVERED]
            points.append(columns)
            words = f"{aux} auxiliary logits, {student.name}"
            for quantity, column in zip(COVERED.values(), columns, strict=True):
                fields = {"images": student.images, "aux_logits": aux, "quantity": quantity, "words": words}
                rows.append(row(f"{words}: {quantity}", column, **fields))
    table = np.array(points)  # [settings, quantities, runs]
    for i, key in ((1, "measured fraction"), (2, "accuracy")):
        per_run = [stats.spearmanr(table[:, 0, run], table[:, i, run]).statistic for run in range(table.shape[2])]
        words = f"rank correlation of predicted fraction and {key} over settings, in each run"
        rows.append(row(words, per_run, quantity="rank correlation", of=key, words=words))
    return rows
