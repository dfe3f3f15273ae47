"""The rows of `mnist_mechanism`: what the values of its arms say, with fields for machines and words for people."""

import fractions
from typing import Any

import numpy as np
from scipy import stats

from experiments.harness.chunks import Values
from experiments.studies.mnist_mechanism.arms import DISTANCES, MAIN, PAIRS, RAY, SPLIT, WIDTHS, coverage_jobs
from experiments.studies.mnist_mechanism.interventions import UPDATES
from subliminal_toy import mnist
from subliminal_toy.statistics import describe

PARTS = ("levels", "direction", "adam", "recovered", "one_number", "cause", "distance", "width", "coverage")
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


def summarize(config: mnist.Config, values: Values) -> dict[str, Any]:
    """Make the rows of PARTS from the values of `jobs(config)`, `{part: [{"name", "mean", ..., "per_run"}]}`."""
    main = {name: np.array(column) for name, column in values["main"].items()}
    parts = (_levels, _direction, _adam, _recovered, _one_number, _cause)
    described = dict(zip(PARTS, [part(main) for part in parts], strict=False))
    return {
        **described,
        "distance": _distance(values, main),
        "width": _width(values),
        "coverage": _coverage(values, config),
    }


def is_answer(part: str, row: dict[str, Any]) -> bool:
    """Return whether a row answers its part's question by itself; the others are details."""
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
    """Describe one value per run, with a name and further fields."""
    column = np.asarray(per_run, float)
    return {"name": name, **further, **describe(column), "per_run": [float(f"{value:.6g}") for value in column]}


Main = dict[str, np.ndarray]


def _levels(main: Main) -> list[dict[str, Any]]:
    """Describe each level of theory: accuracies, then the share of the student's gain, run by run."""
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
    rows = [row(name, column, level=level, quantity="accuracy", words=words) for level, name, words, column in levels]
    for level, name, words, column in levels[1:4]:
        fields = {"level": level, "quantity": "share of the student's gain", "words": words}
        rows.append(row(f"share of the student's gain, {name}", (column - start) / gain, **fields))
    return rows


def _direction(main: Main) -> list[dict[str, Any]]:
    """Describe cosines of steps with Delta and the trait's descent: mean, first step, by layer."""
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
    """Describe Adam's condition number, the cosine that would guarantee the sign (S4), and the turn of a step."""
    rows = []
    for name in ("student_aux", "cross_aux"):
        kappa = main[f"kappa {name}"]
        quantities = {
            "condition number": ("condition number, log10 of the median over steps", np.log10(kappa)),
            "bound": ("cosine of gradient and Delta above which the sign is guaranteed", (kappa - 1) / (kappa + 1)),
            "gradient along Delta": ("cosine of gradient and Delta", main[f"cosine gradient delta {name}"]),
            "update along gradient": ("cosine of update and gradient", main[f"cosine update gradient {name}"]),
        }
        rows += [
            row(f"{name}: {words}", column, network=name, quantity=quantity, words=words)
            for quantity, (words, column) in quantities.items()
        ]
    return rows


def _recovered(main: Main) -> list[dict[str, Any]]:
    """Describe how much of Delta each displacement recovers, its cosine with it, its relative length."""
    names, words = [condition.name for condition in MAIN], KEPT | STUDENTS
    return [
        row(f"{name}: {key}", main[f"{key} {name}"], network=name, quantity=key, words=words[name])
        for name in names
        for key in ("fraction", "cosine", "length")
    ]


def _one_number(main: Main) -> list[dict[str, Any]]:
    """Describe accuracies on the teacher's ray, and of displacements in two: along Delta, and the rest."""
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
    """Describe accuracy and last loss of students that keep a part of their updates, and paired differences."""
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
    """Describe real and linear students of nearer teachers."""
    rows = []
    for s in DISTANCES:
        names = (f"student_aux, {s:g}", f"linear student, {s:g}")
        label, words = f"teacher at theta_0 + {s:g} Delta", f"teacher at {_fraction(s)}"
        rows += _pair(values["distance"], *names, label, distance=s, words=words)
    whole = {name: main[f"accuracy {name}"].tolist() for name in ("student_aux", "linear student")}
    label, words = "teacher at theta_0 + 1 Delta", "teacher at Delta: the experiment itself"
    return rows + _pair(whole, "student_aux", "linear student", label, distance=1.0, words=words)


def _width(values: Values) -> list[dict[str, Any]]:
    """Describe real and linear students by width."""
    rows = []
    for width in WIDTHS:
        label = f"{width} units"
        rows += _pair(values[f"width {width}"], "student_aux", "linear student", label, width=width, words=label)
    return rows


def _coverage(values: Values, config: mnist.Config) -> list[dict[str, Any]]:
    """Describe predicted and measured fractions and accuracies by setting; and their rank correlations."""
    rows, points = [], []
    for job in coverage_jobs(config):
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
