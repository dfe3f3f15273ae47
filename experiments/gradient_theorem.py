"""Does one imitation step point along the teacher's step? Lemma 1 and Theorem 1, measured and guaranteed.

Random problems first: small networks of several shapes, activations, losses and input distributions, with a teacher
that follows the gradient of an unrelated loss, a regulariser, or any random direction. Then the real thing: the
experiment's own ReLU network at its init, the gradient of its teacher's loss on real digits, and noise images; beside
it the same network with tanh, which has no kinks, for the order of the remainder. Everything in float64.
Statements, proofs and tests: theory/README.md.

    python -m experiments.gradient_theorem
    python -m experiments.gradient_theorem --preset paper
    python -m experiments.gradient_theorem --runs 20
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import cli, compiled, tables
from experiments.harness.chunks import MAX_RUNS, Chunk, Columns, Values
from experiments.harness.experiment import Advance, Side
from experiments.mnist.runs import IMAGES
from experiments.theorem import transformer_problems
from experiments.theorem.transformer_problems import SMALL_EPS, other_init_cosine
from subliminal_toy.mnist import data, models, noise
from subliminal_toy.mnist.config import Config
from subliminal_toy.statistics import t_interval
from theory.activations import ACTIVATIONS
from theory.certificate import EPS_GRID, descent_map
from theory.losses import EnclosedLoss, kl_divergence, softmax_cross_entropy, squared_error
from theory.mlp import Layer, init_mlp, mlp
from theory.one_step import teacher_direction
from theory.random_problems import Problem, ProblemShape, Row, measure, random_problem
from theory.trees import tree_norm, tree_scale


class Family(NamedTuple):
    """Random problems that share what is compiled: shape, activation, inputs, direction and loss."""

    name: str
    shape: ProblemShape
    loss: EnclosedLoss


def _family(
    name: str, loss: EnclosedLoss, widths: tuple[int, ...] = (4, 6, 3), activation: str = "tanh", *, batch: int = 8,
    inputs: str = "uniform", direction: str = "teacher",
) -> Family:  # fmt: skip
    return Family(name, ProblemShape(widths, activation, batch, inputs, direction), loss)


_AUX = kl_divergence(1.0, (4, 5, 6))
FAMILIES = (
    _family("squared error", squared_error()),
    _family("weights with zeros", squared_error((1.0, 0.0, 2.0)), activation="softplus", inputs="normal"),
    _family(
        "squared error, regulariser", squared_error(), (5, 8, 2), "sin", batch=6, inputs="binary", direction="decay"
    ),
    _family("squared error, ReLU", squared_error(), (4, 8, 3), "relu"),
    _family("cross-entropy", softmax_cross_entropy()),
    _family(
        "cross-entropy, any direction", softmax_cross_entropy(), (6, 12, 4), "gelu", inputs="normal", direction="random"
    ),
    _family("cross-entropy, 3 layers", softmax_cross_entropy(), (4, 6, 6, 3), "sigmoid"),
    _family("KL, T = 4", kl_divergence(4.0), activation="softplus", inputs="normal"),
    _family("KL, regulariser", kl_divergence(), (5, 8, 5), batch=4, direction="decay"),
    _family("aux. logits only", _AUX, (4, 8, 7)),
    _family("aux. logits only, ReLU", _AUX, (4, 8, 7), "relu"),
    _family("one logit under softmax", kl_divergence(1.0, (3,)), (4, 6, 4)),
)
PRESETS = {
    "smoke": cli.Preset(2, {}, "2 random problems of each family, 1 init of the real network"),
    "default": cli.Preset(100, {}, "100 random problems of each family, 5 inits"),
    "paper": cli.Preset(500, {}, "500 random problems of each family, 20 inits"),
}
TEACHER_IMAGES, STUDENT_IMAGES = 1024, 128
CELLS = 48
TRANSFORMER = "transformer, number documents"
GRADIENT = "gradient"  # the teacher follows a loss or weight decay, and not any random direction
REAL = ("tanh", "relu")  # activations of the real network; the last one is drawn
IMITATED = {"KL, aux. only": "aux", "KL, all logits": "all", "squared error, aux. only": "aux"}  # logits, by the loss
CURVE_EPS = tuple(2.0**k for k in np.arange(-12, 5.01, 0.25))


class Job(NamedTuple):
    """Problems of one kind, all measured together: random ones, or one at each init of a network."""

    name: str
    measure: Callable[[jax.Array, data.Dataset], Columns]  # keys [problems] -> columns
    stream: int  # of its keys; those of inits are the same for all networks
    at_inits: bool = False  # whether each of its problems is an init of a network

    def runs(self, asked: int) -> int:
        """Problems; or inits, a 20th of them, at least 1 and at most 20."""
        return max(1, min(20, asked // 20)) if self.at_inits else asked

    def work(self) -> float:
        """Rough seconds of a problem."""
        return 5.0 if self.at_inits else 0.02

    def compute(self, chunk: Chunk, dataset: data.Dataset | None, advance: Advance) -> Columns:
        """Measure all problems in float64."""
        assert dataset is not None
        with jax.enable_x64(True):
            key = jax.random.fold_in(jax.random.key(chunk.seed), self.stream)
            found = self.measure(jax.random.split(key, chunk.count), dataset)
        advance(self.work(), "measured")
        return found


def jobs(config: Config) -> list[Job]:
    """Random problems of every family, the real network with two activations, and the transformer."""
    inits = len(FAMILIES)
    found = [Job(family.name, functools.partial(_random_rows, family), i) for i, family in enumerate(FAMILIES)]
    found += [Job(kind, functools.partial(_real_rows, config, kind), inits, at_inits=True) for kind in REAL]
    return [*found, Job(TRANSFORMER, _transformer_rows, inits, at_inits=True)]


def _real_rows(config: Config, activation: str, keys: jax.Array, dataset: data.Dataset) -> Columns:
    """Rows of every init of the real network; maps of the first, if they are drawn."""
    real = _RealProblem(config, dataset, activation)
    maps = real.pictures(keys[0]) if activation == REAL[-1] else {}
    return {"rows": [real.rows(key) for key in keys], "maps": [maps, *[{}] * (len(keys) - 1)]}


def _transformer_rows(keys: jax.Array, _dataset: data.Dataset) -> Columns:
    return {"rows": [[_as_row(TRANSFORMER, True, *one)] for one in transformer_problems.measure_all(keys)]}


def summarize_all(config: Config, values: Values) -> dict[str, Any]:
    """Summaries of the three kinds of problems.

    Returns:
        `{"random": summary, "mnist": summary, "transformer": summary, "map": {...}, "curve": {...}}`; a summary is
        `{"problems", "negative", "vacuous", "slope": {"min", "median", "max"}, "rows": [one per problem]}`. `negative`
        counts inner products below zero within the guaranteed radius (the transformer has none: up to eps = 2^-4);
        `slope` is over smooth problems whose remainder is above round-off.
    """

    def rows(*names: str) -> list[dict[str, Any]]:
        return [row for name in names for own in values[name]["rows"] for row in own]

    inits, real = len(values[REAL[-1]]["rows"]), summarize(rows(*REAL))
    imitated = {f"{loss}, {kind}": logits for loss, logits in IMITATED.items() for kind in REAL}
    real["cosines"] = [row | {"logits": imitated[row["name"]]} for row in real["cosines"]]
    return {
        "random": summarize(rows(*(family.name for family in FAMILIES))),
        "mnist": {"dataset": config.dataset, "inits": inits, **real},
        "transformer": summarize(rows(TRANSFORMER)),
        **values[REAL[-1]]["maps"][0],
    }


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts and the spread of the remainder's order over the smooth problems."""
    slopes = [row["slope"] for row in rows if row["smooth"] and row["slope"] is not None]
    statistics = (("min", min), ("median", np.median), ("max", max))
    spread = {name: float(statistic(slopes)) if slopes else None for name, statistic in statistics}
    return {
        "problems": len(rows),
        "negative": sum(row["negative"] for row in rows),
        "vacuous": sum(row["vacuous"] for row in rows),
        "slopes": len(slopes),
        "slope": spread,
        "cosines": [_cosines(name, rows) for name in dict.fromkeys(row["family"] for row in rows)],
        "rows": rows,
    }


def _cosines(family: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean cosines over a family's problems with 95% t intervals, for the shared init and for another one."""
    own = [row for row in rows if row["family"] == family and not row["vacuous"]]
    if not own:
        return {"name": family, "shared": None, "other": None}
    columns = {"shared": "cosine", "other": "other_init_cosine"}
    return {"name": family} | {name: t_interval([row[key] for row in own])._asdict() for name, key in columns.items()}


def _random_rows(family: Family, keys: jax.Array, _dataset: data.Dataset) -> Columns:
    """Measure one random problem per key `[problems]`."""
    apply = mlp(family.shape.hidden)

    def one(key: jax.Array) -> tuple[Row, jax.Array]:
        problem = random_problem(family.shape, key=key)
        student = init_mlp(family.shape.widths, key=jax.random.fold_in(key, 1))
        return (
            measure(problem, family.shape.hidden, family.loss, jnp.array(EPS_GRID), cells=CELLS),
            other_init_cosine(apply, family.loss, problem, student),
        )

    batch, fast = min(len(keys), 50), compiled.fast_options()
    every = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=batch), compiler_options=fast)
    measured, cosines = every(keys)
    smooth = family.shape.activation != "relu"
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], (measured, cosines)) for i in range(len(keys))]
    direction = "random" if family.shape.direction == "random" else GRADIENT
    return {"rows": [[_as_row(family.name, smooth, *one, direction=direction)] for one in each]}


def _as_row(
    family: str, smooth: bool, row: Row, other_cosine: jax.Array, *, direction: str = GRADIENT
) -> dict[str, Any]:
    seen = row.observation
    return {
        "family": family,
        "direction": direction,
        "smooth": smooth,
        "A": _number(seen.leading),
        "vacuous": bool(seen.vacuous),
        "slope": _number(seen.slope),
        "cosine": _number(seen.cosines[EPS_GRID.index(SMALL_EPS)]),
        "other_init_cosine": _number(other_cosine),
        "guaranteed_radius": _number(row.guaranteed),
        "marched_radius": _number(row.marched),
        "observed_radius": _number(row.observed),
        "negative": int(row.negative),
    }


def _number(value: Any) -> float | None:
    """A finite float, or None: JSON knows neither NaN nor infinity."""
    number = float(value)
    return number if math.isfinite(number) else None


class _RealProblem:
    """The experiment's own network at its init, its teacher's gradient on real images, and noise images."""

    def __init__(self, config: Config, dataset: data.Dataset, activation: str) -> None:
        self.config, self.dataset, self.name = config, dataset, activation
        self.model = models.make_mlp(config, dataset.train_images.shape[1])
        self.hidden = ACTIVATIONS[activation]
        self.apply = mlp(self.hidden)
        labels = np.eye(config.logits)[dataset.train_labels[:TEACHER_IMAGES]]
        self.images, self.one_hot = jnp.asarray(dataset.train_images[:TEACHER_IMAGES], float), jnp.asarray(labels)
        aux = tuple(range(config.classes, config.logits))
        self.losses: dict[str, EnclosedLoss] = {
            "KL, aux. only": kl_divergence(1.0, aux),
            "KL, all logits": kl_divergence(),
            "squared error, aux. only": squared_error([0.0] * config.classes + [1.0] * len(aux)),
        }
        eps = jnp.array(EPS_GRID)
        self._measure = jax.jit(lambda loss, problem: measure(problem, self.hidden, loss, eps, cells=CELLS))
        self._other = jax.jit(lambda loss, problem, student: other_init_cosine(self.apply, loss, problem, student))

    def params(self, key: jax.Array) -> tuple[Layer, ...]:
        """The init of `subliminal_toy.mnist.models` as the layers that `theory.mlp` takes, in float64."""
        params = self.model.init(key)
        names = [*(f"hidden_{i}" for i in range(self.config.depth)), "head"]
        return tuple(Layer(*(jnp.asarray(params[name][part], float) for part in ("kernel", "bias"))) for name in names)

    def teacher_loss(self, params: Any) -> jax.Array:
        """Cross-entropy of the class logits on real images: what the teacher descends."""
        logits = self.apply(params, self.images)[:, : self.config.classes]
        return -jnp.mean(jnp.sum(self.one_hot[:, : self.config.classes] * jax.nn.log_softmax(logits), axis=1))

    def problem(self, key: jax.Array) -> Problem:
        """Init, unit direction of the teacher's first gradient step, and noise images [STUDENT_IMAGES, pixels]."""
        init_key, noise_key = jax.random.split(key)
        params = self.params(init_key)
        direction = jax.jit(lambda p: teacher_direction(self.teacher_loss, p))(params)
        pixels = self.dataset.train_images.shape[1]
        images = jnp.asarray(noise.uniform(noise_key, STUDENT_IMAGES, pixels), float)
        return Problem(params, tree_scale(1 / tree_norm(direction), direction), images)

    def rows(self, key: jax.Array) -> list[dict[str, Any]]:
        """One row per loss at one init."""
        problem, student = self.problem(key), self.params(jax.random.fold_in(key, 1))
        return [
            _as_row(f"{name}, {self.name}", self.name != "relu", self._measure(loss, problem),
                    self._other(loss, problem, student))
            for name, loss in self.losses.items()
        ]  # fmt: skip

    def pictures(self, key: jax.Array) -> dict[str, Any]:
        """Inner products along one ray, and the change of the teacher's loss over (eps, alpha); aux. KL loss."""
        problem, loss = self.problem(key), self.losses["KL, aux. only"]
        eps = jnp.array(CURVE_EPS)
        grid = measure(problem, self.hidden, loss, eps, cells=0).observation
        alphas = jnp.array([2.0**k for k in range(-4, 13)])
        change = descent_map(self.apply, loss, self.teacher_loss, problem.params, problem.inputs, eps[::4], alphas)
        norm = tree_norm(teacher_direction(self.teacher_loss, problem.params))
        return {
            "curve": {"eps": list(CURVE_EPS), "inner_product": grid.inner_products.tolist(), "A": float(grid.leading)},
            "map": {"eps": (eps[::4] * norm).tolist(), "alpha": alphas.tolist(), "change": change.tolist()},
        }


def table(document: dict[str, Any]) -> str:
    """Families as Markdown rows: problems, negatives within the radius, slopes, radii."""
    results = document["results"]
    lines = []
    for part in ("random", "mnist", "transformer"):
        rows = results[part]["rows"]
        for name in dict.fromkeys(row["family"] for row in rows):
            title = f"{data.TITLES[results['mnist']['dataset']]}: {name}" if part == "mnist" else name
            cosines = next(row for row in results[part]["cosines"] if row["name"] == name)
            lines.append(_line(title, [row for row in rows if row["family"] == name], cosines))
    header = ("problems", "n", "A = 0", "negative within radius", "slope (min, median, max)",
              "radius guaranteed / observed (median)", "cosine", "cosine, other init")  # fmt: skip
    return tables.markdown_table(header, lines)


def _line(name: str, rows: list[dict[str, Any]], cosines: dict[str, Any]) -> tuple[str, ...]:
    slopes = [row["slope"] for row in rows if row["slope"] is not None]
    spread = ", ".join(f"{f(slopes):.3f}" for f in (min, np.median, max)) if slopes else "-"

    def median(key: str) -> str:
        found = [math.inf if row[key] is None else row[key] for row in rows]
        return f"{np.median(found):.3g}"

    proved = median("marched_radius") if any(row["marched_radius"] is not None for row in rows) else "-"

    def interval(key: str) -> str:
        return " ".join(tables.interval_text(cosines[key]["mean"], cosines[key]["ci95"])) if cosines[key] else "-"

    return (
        name, str(len(rows)), str(sum(row["vacuous"] for row in rows)), str(sum(row["negative"] for row in rows)),
        spread,
        f"{proved} / {median('observed_radius')}", interval("shared"), interval("other"),
    )  # fmt: skip


EXPERIMENT = cli.Experiment(
    "gradient_theorem",
    __doc__,
    PRESETS,
    jobs,
    summarize_all,
    table,
    Side(Config, IMAGES, title="one-step theorem", together=MAX_RUNS),
    flags=False,
    runs_text="random problems of each family; the real network has a 20th as many inits, at least 1, at most 20",
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
