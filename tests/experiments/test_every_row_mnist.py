"""Every row of the summaries on images and of the theorem, against its formula from the stored columns."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments import gradient_theorem, mnist_aux_logits, mnist_sweeps
from experiments.studies import tune_digits
from experiments.studies.mnist_mechanism import rows as summaries
from subliminal_toy import mnist
from subliminal_toy.mnist import data
from subliminal_toy.statistics import paired_interval, t_interval
from tests.experiments.every_row import column, of_runs, same
from theory.certificate import Observation
from theory.random_problems import Row

RUNS, STEPS, LAYERS = 7, 5, 4
STUDENTS = ("student_aux", "student_all", "cross_aux", "cross_all")
NETWORKS = ("reference", "teacher", *STUDENTS)
SPLIT = ("student_aux", "cross_aux", "student_sgd")
UPDATES = (
    "without delta",
    "only delta",
    "without trait",
    "only trait",
    "without random",
    "only random",
    "shorter rest",
)
ARMS = (*SPLIT, *UPDATES, "linear student")
LEVELS = ("reference", "along", "rest", "linear", "student", "teacher")
RAY = (0, 1 / 64, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)
PAIRS = (("update", "delta"), ("update", "trait"), ("gradient", "delta"), ("gradient", "trait"))


def stored(job: str, names: Any) -> dict[str, list[float]]:
    return {name: column(job, name, shape=(RUNS,)).tolist() for name in names}


def accuracies(values: dict[str, list[float]], names: Any) -> list[dict]:
    return [{"name": name, "accuracy": values[own], **t_interval(values[own])._asdict()} for name, own in names]


@pytest.mark.parametrize("controls", [(), ("untrained_teacher_aux", "shuffled_targets_aux")])
def test_mnist_aux_logits(controls: tuple[str, ...]) -> None:
    """With the negative controls, and results that have none."""
    names = (*NETWORKS, *controls)
    values = stored("main", names)
    pairs = [("student_aux", "cross_aux"), ("student_all", "cross_all"), ("student_aux", "reference"),
             ("cross_aux", "reference"), *((control, "reference") for control in controls)]  # fmt: skip
    paired = [
        {"name": f"{a} - {b}", "difference": np.subtract(values[a], values[b]),
         **paired_interval(values[a], values[b])._asdict()}
        for a, b in pairs
    ]  # fmt: skip
    expected = {"conditions": accuracies(values, zip(names, names, strict=True)), "paired": paired}
    same(mnist_aux_logits.summarize(mnist.Config(), {"main": values}), expected)


def test_mnist_sweeps() -> None:
    """Two settings, one of the students' own: a job for each value of the other."""
    rates, widths = [0.001, 0.01], [8, 16]
    config = mnist_sweeps.SweepConfig(vary="student.learning_rate=1e-3,1e-2;width=8,16")
    names = ["reference", "teacher", *(f"{s}, student.learning_rate={rate}" for rate in rates for s in STUDENTS)]
    values = {f"width={width}": stored(f"width={width}", names) for width in widths}
    points = [
        {
            "settings": {"student.learning_rate": rate, "width": width},
            "conditions": accuracies(
                values[f"width={width}"],
                [(n, f"{n}, student.learning_rate={rate}" if n in STUDENTS else n) for n in NETWORKS],
            ),
        }
        for rate in rates
        for width in widths
    ]
    vary = {"student.learning_rate": rates, "width": widths}
    same(mnist_sweeps.summarize(config, values), {"sweeps": [{"vary": vary, "points": points}]})


def test_tune_digits() -> None:
    values = {f"point {i}": stored(f"point {i}", NETWORKS) for i in range(1, 17)}
    grid = [
        {"teacher.batch_size": 32, "student.batch_size": 256, "noise_images": 30_000, "teacher.learning_rate": rate,
         "student.learning_rate": rate, "teacher.epochs": teacher, "student.epochs": student}
        for rate in (3e-4, 1e-3) for teacher in (3, 5, 10, 30) for student in (5, 10)
    ]  # fmt: skip
    trials = [
        {"settings": settings, **{n: {"accuracy": own[n], **t_interval(own[n])._asdict()} for n in NETWORKS}}
        for settings, own in zip(grid, values.values(), strict=True)
    ]
    best = grid[int(np.argmax([np.mean(own["student_aux"]) for own in values.values()]))]
    same(tune_digits.summarize(mnist.config_for("digits"), values), {"trials": trials, "best": best})


def mechanism_values() -> dict[str, dict[str, Any]]:
    """Every column that the jobs of mnist_mechanism store."""
    shapes: dict[str, tuple[int, ...]] = {"ray": (len(RAY),), "loss reference": ()}
    shapes |= {f"accuracy {name}": () for name in ("reference", "teacher", *ARMS)}
    shapes |= {f"{key} {name}": () for key in ("loss", "fraction", "cosine", "length") for name in ARMS}
    for name in SPLIT:
        shapes |= {f"{key} {name}": () for key in ("along", "rest", "kappa")} | {f"steps {name}": (STEPS,)}
        for pair in (*PAIRS, ("update", "gradient")):
            own = f"{' '.join(pair)} {name}"
            shapes |= {f"{key} {own}": () for key in ("cosine", "first", "positive")}
            shapes |= {f"curve {own}": (STEPS,), f"layers {own}": (LAYERS,)}
    main = {name: column("main", name, shape=(RUNS, *shape)).tolist() for name, shape in shapes.items()}
    main |= {f"steps {name}": [[10 * i + s for s in range(STEPS)]] * RUNS for i, name in enumerate(SPLIT)}
    values = {"main": main}
    near = [f"{name}, {s:g}" for s in (1 / 64, 1 / 8) for name in ("student_aux", "linear student")]
    values["distance"] = stored("distance", ["reference", "teacher", *near])
    for width in (64, 128, 512, 1024):
        values[f"width {width}"] = stored(f"width {width}", ("reference", "teacher", "student_aux", "linear student"))
    for aux in (3, 10, 100):
        few = [f"{images} images" for images in (64, 256, 1024, 4096)]
        names = [
            f"{key} {name}" for key in ("accuracy", "fraction", "cosine", "length") for name in (*few, "student_aux")
        ]
        values[f"coverage {aux}"] = stored(f"coverage {aux}", [*names, *(f"predicted {name}" for name in few)])
    return values


def mechanism_rows(values: dict[str, dict[str, Any]]) -> dict[str, list[dict]]:
    main = {name: np.array(own) for name, own in values["main"].items()}
    start, student = main["accuracy reference"], main["accuracy student_aux"]
    levels = {
        "nothing: the reference": start,
        "one number: its displacement along Delta alone": main["along student_aux"],
        "the rest of its displacement alone": main["rest student_aux"],
        "linear: the linearised student": main["accuracy linear student"],
        "the student": student,
        "Delta itself: the teacher": main["accuracy teacher"],
    }
    between = ("one number: its displacement along Delta alone", "the rest of its displacement alone",
               "linear: the linearised student")  # fmt: skip
    gained = "share of the student's gain"
    shares = {f"{gained}, {n}": (levels[n] - start) / (student - start).mean() for n in between}
    named = dict(zip((*levels, *shares), (*LEVELS, *LEVELS[1:4]), strict=True))
    direction, adam, one_number = (
        [],
        [],
        [of_runs(f"theta_0 + {s:g} Delta", main["ray"][:, i], fraction=s) for i, s in enumerate(RAY)],
    )
    for name in SPLIT:
        for a, b in PAIRS:
            own, words = f"{a} {b} {name}", f"{name}: cosine of {a} and {b}"
            fields = {"network": name, "of": a, "along": b}
            more = {"curve": main[f"curve {own}"].mean(axis=0), "steps": values["main"][f"steps {name}"][0],
                    "layers": main[f"layers {own}"].mean(axis=0)}  # fmt: skip
            agree = f"{name}: share of steps in which {a} and {b} agree in sign"
            direction += [
                of_runs(words, main[f"cosine {own}"], quantity="cosine", **fields, **more),
                of_runs(f"{words}, first step", main[f"first {own}"], quantity="first cosine", **fields),
                of_runs(agree, main[f"positive {own}"], quantity="share of positive cosines", **fields),
            ]
        parts = {"along": "along", "rest": "rest", "all of it": "accuracy"}
        one_number += [
            of_runs(f"{name}: {part}", main[f"{key} {name}"], network=name, part=part) for part, key in parts.items()
        ]
    for name in ("student_aux", "cross_aux"):
        kappa = main[f"kappa {name}"]
        bound = (kappa - 1) / (kappa + 1)
        adam += [
            of_runs(f"{name}: {words}", own, network=name, quantity=quantity)
            for quantity, words, own in (
                ("condition number", "condition number, log10 of the median over steps", np.log10(kappa)),
                ("bound", "cosine of gradient and Delta above which the sign is guaranteed", bound),
                ("gradient along Delta", "cosine of gradient and Delta", main[f"cosine gradient delta {name}"]),
                ("update along gradient", "cosine of update and gradient", main[f"cosine update gradient {name}"]),
            )
        ]
    cause = [
        of_runs(form.format(name), own(name), network=name, quantity=quantity, control=name in UPDATES[4:])
        for quantity, form, names, own in (
            ("accuracy", "{}", ("student_aux", *UPDATES), lambda name: main[f"accuracy {name}"]),
            (
                "loss",
                "{}: distillation loss",
                ("reference", "student_aux", *UPDATES),
                lambda name: main[f"loss {name}"],
            ),
            ("difference", "{} - student_aux", UPDATES, lambda name: main[f"accuracy {name}"] - student),
        )
        for name in names
    ]
    distance, width = [], []
    for s in (1 / 64, 1 / 8, 1):
        real, linear = (
            main[f"accuracy {name}"] if s == 1 else np.array(values["distance"][f"{name}, {s:g}"])
            for name in ("student_aux", "linear student")
        )
        distance += real_and_linear(f"teacher at theta_0 + {s:g} Delta", real, linear, distance=s)
    for units in (64, 128, 512, 1024):
        real, linear = (np.array(values[f"width {units}"][name]) for name in ("student_aux", "linear student"))
        width += real_and_linear(f"{units} units", real, linear, width=units)
    return {
        "levels": [
            of_runs(name, own, level=named[name], quantity=gained if name in shares else "accuracy")
            for name, own in (levels | shares).items()
        ],
        "direction": direction,
        "adam": adam,
        "recovered": [
            of_runs(f"{n}: {k}", main[f"{k} {n}"], network=n, quantity=k)
            for n in ARMS
            for k in ("fraction", "cosine", "length")
        ],
        "one_number": one_number,
        "cause": cause,
        "distance": distance,
        "width": width,
        "coverage": coverage_rows(values),
    }


def real_and_linear(label: str, real: np.ndarray, linear: np.ndarray, **more: float) -> list[dict]:
    return [
        of_runs(f"{label}: the student", real, network="student", **more),
        of_runs(f"{label}: the linearised student", linear, network="linearised student", **more),
        of_runs(f"{label}: the student - the linearised student", real - linear, network="difference", **more),
    ]


def coverage_rows(values: dict[str, dict[str, Any]]) -> list[dict]:
    words = {"predicted": "predicted fraction", "fraction": "measured fraction", "accuracy": "accuracy"}
    rows, points = [], {key: [] for key in words}
    for aux in (3, 10, 100):
        for images in (64, 256, 1024, 4096):
            for key, what in words.items():
                own = values[f"coverage {aux}"][f"{key} {images} images"]
                points[key].append(own)
                label = f"{aux} auxiliary logits, {images} images: {what}"
                rows.append(of_runs(label, own, images=images, aux_logits=aux, quantity=what))
    for key in ("fraction", "accuracy"):
        columns = zip(np.transpose(points["predicted"]), np.transpose(points[key]), strict=True)
        rank = [stats.spearmanr(one, other).statistic for one, other in columns]
        name = f"rank correlation of predicted fraction and {words[key]} over settings, in each run"
        rows.append(of_runs(name, rank, quantity="rank correlation", of=words[key]))
    return rows


def test_mnist_mechanism() -> None:
    values = mechanism_values()
    same(summaries.summarize(mnist.Config(), values), mechanism_rows(values))


# ------------------------------------------------------------------------------------------------------- the theorem


def measured(seed: int, **changes: Any) -> Row:
    """One problem's results, every number another one."""
    value = iter(np.random.default_rng(seed).uniform(0.1, 1, 100))
    grid = len(gradient_theorem.EPS_GRID)
    fields = {name: np.float64(next(value)) for name in Observation._fields}
    fields |= {
        name: np.array([next(value) for _ in range(grid)]) for name in ("inner_products", "cosines", "remainders")
    }
    seen = Observation(**(fields | {"vacuous": np.bool_(False)} | changes))
    return Row(seen, *(np.float64(next(value)) for _ in range(3)), np.int64(seed))


def test_a_problem_s_row_has_each_number_in_its_place() -> None:
    row, other = measured(3), np.float64(-0.25)
    small = list(gradient_theorem.EPS_GRID).index(2.0**-10)
    assert len(set(row.observation.cosines)) == len(gradient_theorem.EPS_GRID) > 2
    expected = {
        "family": "f",
        "direction": "random",
        "smooth": False,
        "A": row.observation.leading,
        "vacuous": False,
        "slope": row.observation.slope,
        "cosine": row.observation.cosines[small],
        "other_init_cosine": other,
        "guaranteed_radius": row.guaranteed,
        "marched_radius": row.marched,
        "observed_radius": row.observed,
        "negative": 3,
    }
    same(gradient_theorem._as_row("f", False, row, other, direction="random"), expected)
    endless = gradient_theorem._as_row("f", True, measured(1, slope=np.float64("nan"), vacuous=np.bool_(True)), other)
    assert (endless["slope"], endless["vacuous"], endless["direction"]) == (None, True, "gradient")


def theorem_row(family: str, i: int, **changes: Any) -> dict[str, Any]:
    names = ("A", "slope", "cosine", "other_init_cosine", "guaranteed_radius", "marched_radius", "observed_radius")
    numbers = {name: float(column(family, name, i, shape=())) for name in names}
    return {
        "family": family,
        "direction": "gradient",
        "smooth": True,
        "vacuous": i == 0,
        "negative": i,
        **numbers,
    } | changes


def theorem_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    slopes = [row["slope"] for row in rows if row["smooth"] and row["slope"] is not None]
    cosines = []
    for family in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == family and not row["vacuous"]]
        cosines.append(
            {"name": family, "shared": t_interval([row["cosine"] for row in own])._asdict(),
             "other": t_interval([row["other_init_cosine"] for row in own])._asdict()}
        )  # fmt: skip
    return {
        "problems": len(rows),
        "negative": sum(row["negative"] for row in rows),
        "vacuous": sum(row["vacuous"] for row in rows),
        "slopes": len(slopes),
        "slope": {"min": min(slopes), "median": float(np.median(slopes)), "max": max(slopes)},
        "cosines": cosines,
        "rows": rows,
    }


def test_gradient_theorem() -> None:
    jobs = [*(family.name for family in gradient_theorem.FAMILIES), "tanh", "relu", "transformer, number documents"]
    rows = {
        job: [theorem_row(job, i, **({"smooth": False} if "elu" in job.lower() else {})) for i in range(4)]
        for job in jobs
    }
    logits = {"KL, aux. only, tanh": "aux", "KL, all logits, relu": "all"}
    for family in logits:
        for row in rows[family.rpartition(", ")[2]]:
            row["family"] = family
    rows[jobs[0]][2]["slope"] = None
    values: Any = {job: {"rows": [[row] for row in own]} for job, own in rows.items()}
    maps = {"curve": {"A": 1.0}, "map": {"change": [1.0]}}
    values["tanh"]["maps"], values["relu"]["maps"] = [{"curve": "another's"}, {}, {}, {}], [maps, {}, {}, {}]
    real = theorem_summary([*rows["tanh"], *rows["relu"]])
    real["cosines"] = [row | {"logits": logits[row["name"]]} for row in real["cosines"]]
    expected = {
        "random": theorem_summary([row for job in jobs[:-3] for row in rows[job]]),
        "mnist": {"dataset": "digits", "inits": 4, **real},
        "transformer": theorem_summary(rows["transformer, number documents"]),
        **maps,
    }
    same(gradient_theorem.summarize_all(mnist.config_for("digits"), values), expected)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure nothing, so that nothing has to compile; in the cosine's place, say how far two inits are apart."""

    def measure(*_: Any, **__: Any) -> Row:
        return jax.tree.map(jnp.asarray, measured(1))

    def apart(_apply: Any, _loss: Any, problem: Any, student: Any) -> jax.Array:
        weights = zip(jax.tree.leaves(problem.params), jax.tree.leaves(student), strict=True)
        distances = [jnp.mean((a - b) ** 2) / jnp.mean(a**2) for a, b in weights if a.ndim > 1]
        return jnp.min(jnp.stack(distances))

    monkeypatch.setattr(gradient_theorem, "measure", measure)
    monkeypatch.setattr(gradient_theorem, "other_init_cosine", apart)


@pytest.mark.usefixtures("short")
def test_the_other_student_starts_from_weights_of_its_own(digits: data.Dataset) -> None:
    """Independent weights are apart by the root of twice their variance; the same ones by nothing."""
    with jax.enable_x64(True):
        family = gradient_theorem.FAMILIES[0]
        columns = gradient_theorem._random_rows(family, jax.random.split(jax.random.key(0), 3), digits)
        real = gradient_theorem._RealProblem(mnist.Config(width=8), digits, "tanh").rows(jax.random.key(0))
    for row in [*(own[0] for own in columns["rows"]), *real]:
        assert row["other_init_cosine"] > 0.5


@pytest.mark.long
def test_a_cell_of_the_map_is_the_change_of_the_teachers_loss_at_its_two_steps(digits: data.Dataset) -> None:
    """By hand: the teacher moves so far along its unit direction, the student imitates, the teacher's loss is taken."""
    small = dataclasses.replace(mnist.config_for("digits"), width=8)
    with jax.enable_x64(True):
        real = gradient_theorem._RealProblem(small, digits, "tanh")
        found = real.pictures(jax.random.key(2))
        problem = real.problem(jax.random.key(2))

        def imitation(params: Any, teacher: Any) -> jax.Array:
            own, target = (jax.nn.log_softmax(real.apply(p, problem.inputs)[:, 10:]) for p in (params, teacher))
            return jnp.mean(jnp.sum(jnp.exp(target) * (target - own), axis=1))

        def moved(times: float, along: Any) -> Any:
            return jax.tree.map(lambda p, d: p + times * d, problem.params, along)

        for i, j in ((2, 9), (8, 4)):
            eps, alpha = found["map"]["eps"][i], found["map"]["alpha"][j]
            step = jax.grad(imitation)(problem.params, moved(eps, problem.direction))
            change = real.teacher_loss(moved(-alpha, step)) - real.teacher_loss(problem.params)
            np.testing.assert_allclose(found["map"]["change"][i][j], change, rtol=1e-6)
        k = 20
        step = jax.grad(imitation)(problem.params, moved(found["curve"]["eps"][k], problem.direction))
        inner = -sum(
            jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(step), jax.tree.leaves(problem.direction), strict=True)
        )
        np.testing.assert_allclose(found["curve"]["inner_product"][k], inner, rtol=1e-6)
