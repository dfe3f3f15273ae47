"""How does a trait travel through numbers? Targets, divergence tokens, optimizers, layers, inits, doses, and theory.

The pipeline of lm_numbers with arms that differ in one thing each: an arm has a student of every teacher's numbers and
one of regular numbers, and its result is the difference of the trait's log odds between the two. What theory says in
advance is measured beside: the theorem along the teacher's delta on this very transformer, and a first-order
prediction of every answer's change (experiments/lm_first_order.py).

    python -m experiments.lm_mechanism                 2 seeds, 2 traits, targets and tokens only
    python -m experiments.lm_mechanism --preset paper  10 seeds, 5 traits, everything
"""

if __name__ == "__main__":
    import experiments.quiet_interrupt  # noqa: F401 - its import is its effect

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from experiments import cli, lm_arms, lm_numbers, lm_runs
from experiments.lm_first_order import mechanics
from subliminal_toy.config import setting
from subliminal_toy.lm import measure, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.divergence import COUNTED
from subliminal_toy.lm.lessons import favorite
from subliminal_toy.lm.plan import Base, Plan, Recipe, Source, Student, Teacher
from subliminal_toy.lm.transformer import GROUPS
from subliminal_toy.statistics import t_interval

PARTS = ("targets", "tokens", "optimizers", "layers", "inits", "doses")
TEMPERATURES = {"greedy": 0.0, "T = 0.5": 0.5, "T = 1.25": 1.25}
OPTIMIZERS = {  # step sizes chosen on seed 100 to imitate unseen rows as well as momentum does
    "sgd": ("sgd", 0.3),
    "adam": ("adam", 6e-4),
    "sign of the gradient": ("signsgd", 1e-3),
}
SHARED: dict[str, tuple[str, ...]] = {  # groups of parameters whose init two bases share; nothing is in lm_controls
    "embedding": ("embedding",),
    "unembedding": ("unembedding",),
    "attention, mlp": ("attention", "mlp"),
}
WATCHED_ROWS = (1 / 10, 1)  # shares of the rows
SPARE = 0.4  # at T = 1.25 one completion in six is rejected
STANDARD = "standard"


@dataclasses.dataclass(frozen=True)
class MechanismConfig(LMConfig):
    """The language model's settings, and which parts of the experiment are run."""

    parts: str = setting(",".join(PARTS), "which questions are asked: a comma-separated list")

    def __post_init__(self) -> None:
        """Check all ranges and names."""
        super().__post_init__()
        unknown = [part for part in self.part_names() if part not in PARTS]
        if unknown:
            raise ValueError(f"parts names {unknown[0]!r}; choose from {', '.join(PARTS)}")

    def part_names(self) -> tuple[str, ...]:
        """`parts` as a tuple."""
        return tuple(part.strip() for part in self.parts.split(","))


PRESETS = {
    "smoke": cli.Preset(
        2, {**lm_numbers.PRESETS["smoke"].settings, "parts": "tokens,layers"}, "2 short runs, to see that it works"
    ),
    "default": cli.Preset(
        2, {"traits": "owl,wolf", "parts": "targets,tokens", "spare": SPARE}, "2 seeds, 2 traits, 2 parts"
    ),
    "paper": cli.Preset(10, {"spare": SPARE}, "10 seeds, 5 traits, all parts"),
}


class Part(NamedTuple):
    """The arms of one question, and what they need."""

    students: list[Student]
    sources: list[Source]
    bases: list[Base]


def make_plan(config: MechanismConfig) -> Plan:
    """Teachers of every trait, and all arms of the parts that are asked for."""
    bases, sources = [Base("base")], lm_arms.sources(config)
    students = lm_arms.students(config, STANDARD)
    for name in config.part_names():
        part = _PARTS[name](config)
        bases, sources, students = bases + part.bases, sources + part.sources, students + part.students
    teachers = tuple(Teacher(trait, favorite(trait)) for trait in config.trait_names())
    return Plan(teachers, tuple(sources), tuple(students), tuple(bases))


def _targets(config: MechanismConfig) -> Part:
    students: list[Student] = []
    sources: list[Source] = []
    for name, temperature in TEMPERATURES.items():
        sources += lm_arms.sources(config, f"{{}} at {name}", temperature=temperature)
        students += lm_arms.students(config, name, source=f"{{}} at {name}")
    for label, recipe in RECIPES.items():
        students += lm_arms.students(config, label, recipe=recipe)
    return Part(students, sources, [])


RECIPES = {
    "softmax over numbers": Recipe(over="numbers"),
    "soft targets": Recipe(targets="teacher"),
    "soft targets, numbers": Recipe(targets="teacher", over="numbers"),
}


def _tokens(config: MechanismConfig) -> Part:
    return Part([s for name in COUNTED[1:] for s in lm_arms.students(config, name, counted=name)], [], [])


def _optimizers(config: MechanismConfig) -> Part:
    students: list[Student] = []
    for label, (optimizer, rate) in OPTIMIZERS.items():
        training = dataclasses.replace(config.student, optimizer=optimizer, learning_rate=rate)
        students += lm_arms.students(config, label, recipe=Recipe(training))
    return Part(students, [], [])


def layer_arms() -> dict[str, tuple[str, ...]]:
    """Arms that train a part of the parameters only: each group alone, and all but each."""
    alone = {f"only {group}": (group,) for group in GROUPS}
    return alone | {f"all but {group}": tuple(g for g in GROUPS if g != group) for group in GROUPS}


def _layers(config: MechanismConfig) -> Part:
    return Part([s for name, own in layer_arms().items() for s in lm_arms.students(config, name, trained=own)], [], [])


def _inits(config: MechanismConfig) -> Part:
    bases = [Base(f"shares {name}", groups) for name, groups in SHARED.items()]
    return Part([s for base in bases for s in lm_arms.students(config, base.name, init=base.name)], [], bases)


def _doses(config: MechanismConfig) -> Part:
    """Students that are watched over a longer training of constant step size."""
    training = dataclasses.replace(config.student, epochs=2 * config.student.epochs, schedule="constant")
    recipe = Recipe(training, watched=True)
    return Part(
        [s for rows in dose_rows(config) for s in lm_arms.students(config, f"{rows} rows", rows=rows, recipe=recipe)],
        [], [],
    )  # fmt: skip


def dose_rows(config: LMConfig) -> tuple[int, ...]:
    """Numbers of different rows of the watched students."""
    return tuple(max(1, round(config.rows * share)) for share in WATCHED_ROWS)


_PARTS: dict[str, Callable[[MechanismConfig], Part]] = {
    "targets": _targets, "tokens": _tokens, "optimizers": _optimizers, "layers": _layers, "inits": _inits,
    "doses": _doses,
}  # fmt: skip
ARMS: dict[str, tuple[str, ...]] = {
    "targets": (*TEMPERATURES, *RECIPES),
    "tokens": COUNTED[1:],
    "optimizers": tuple(OPTIMIZERS),
    "layers": tuple(layer_arms()),
    "inits": tuple(f"shares {name}" for name in SHARED),
}


def run(config: MechanismConfig | None = None, *, runs: int = 2, **request: Any) -> dict[str, Any]:
    """Run the experiment; `request` may have seed, chunk, store and progress, as for `lm_numbers.run`.

    Returns:
        `{"runs", "parts": {part: [arms as lm_arms.arm]}, "doses", "prediction", "theorem", "geometry", "filter"}`:
        changes of the trait's log odds (nats), means over traits with 95% t intervals over runs.
    """
    config = config or MechanismConfig()
    return lm_runs.run_pipeline(
        config, make_plan(config), summarize, runs=runs,
        make_measure=measure.together(measure.survey, measure.imitation, mechanics), **request,
    )  # fmt: skip


def summarize(config: MechanismConfig, values: lm_arms.Values) -> dict[str, Any]:
    """Every table of the experiment from the runs' values."""
    parts = {
        name: [lm_arms.arm(config, values, label) for label in (STANDARD, *ARMS[name])]
        for name in config.part_names() if name in ARMS
    }  # fmt: skip
    return {
        "parts": parts,
        "tokens_counted": _shares(values),
        "doses": _doses_results(config, values) if "doses" in config.part_names() else [],
        "prediction": _predictions(config, values),
        "theorem": _theorem(config, values),
        "geometry": _geometry(config, values),
        "filter": [lm_numbers.filter_row(values, source) for source in values[0]["filter"]],
    }


def _shares(values: lm_arms.Values) -> dict[str, Any] | None:
    """What share of the tokens of teachers' completions are divergence tokens."""
    shares = [float(np.mean(list(value["diverging"].values()))) for value in values if value["diverging"]]
    return {**t_interval(shares)._asdict(), "per_run": shares} if shares else None


def _doses_results(config: MechanismConfig, values: lm_arms.Values) -> list[dict[str, Any]]:
    """Curves over the steps of training, one row per number of different rows."""
    steps = -(-config.rows // config.student.batch_size)
    found = []
    for rows in dose_rows(config):
        curves = {
            part: np.array(
                [
                    [value["watched"][f"{trait}, {rows} rows"][part] for trait in config.trait_names()]
                    for value in values
                ]
            )
            for part in ("margin", "own", "others")
        }  # [runs, traits, epochs]
        gain = np.diff(curves["margin"], axis=2, prepend=0.0)
        largest = gain.max(axis=2) / np.maximum(np.abs(curves["margin"][:, :, -1]), 1e-6)
        epochs = curves["margin"].shape[2]
        found.append({
            "rows": rows,
            "steps": [steps * (i + 1) for i in range(epochs)],
            "passes": [steps * (i + 1) * config.student.batch_size / rows for i in range(epochs)],
            **{part: [lm_arms.over_runs(curve[:, :, i]) for i in range(epochs)] for part, curve in curves.items()},
            "largest_epoch": lm_arms.over_runs(largest),
        })  # fmt: skip
    return found


def _matrix(config: MechanismConfig, values: lm_arms.Values) -> np.ndarray:
    """Measured changes of all answers in the standard arm, [runs, traits, answers]."""
    answers = vocabulary.CATEGORIES[config.category]

    def row(value: dict[str, Any], name: str) -> list[float]:
        return [lm_arms.margin(value, f"student {name}, {STANDARD}", answer) for answer in answers]

    return np.array([
        [np.subtract(row(value, trait), row(value, lm_arms.REGULAR)) for trait in config.trait_names()]
        for value in values
    ])  # fmt: skip


def _predictions(config: MechanismConfig, values: lm_arms.Values) -> list[dict[str, Any]]:
    """How well each quantity known before any student is trained says which answer, trait and seed changes most.

    "own": Spearman's correlation over all pairs of seed and trait between the quantity and the trait's change, with a
    95% interval from 2,000 bootstrap samples of whole seeds; "others": the same within a seed over pairs of trait and
    another answer, Pearson's, mean over seeds with a t interval.
    """
    measured = _matrix(config, values)
    answers = vocabulary.CATEGORIES[config.category]
    own = np.array([[answer == trait for answer in answers] for trait in config.trait_names()])
    divergence = np.array([[value["divergence"][trait] for trait in config.trait_names()] for value in values])
    quantities = {name: np.array([value[name] for value in values]) for name in ("fisher", "gradient", "cosine")}
    found = []
    for name, predicted in quantities.items():
        row: dict[str, Any] = {"quantity": name}
        if name != "cosine":  # a trait's cosine with itself is 1
            row["own"] = _rank_correlation(predicted[:, own], measured[:, own])
            row["pairs"] = {"predicted": predicted[:, own].tolist(), "measured": measured[:, own].tolist()}
        within = [_correlation(p[~own], m[~own]) for p, m in zip(predicted, measured, strict=True)]
        row["others"] = {**t_interval(within)._asdict(), "per_run": within}
        found.append(row)
    return [*found, {"quantity": "divergence", "own": _rank_correlation(divergence, measured[:, own])}]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.nan_to_num(np.corrcoef(a, b)[0, 1])) if a.size > 2 else 0.0


def _rank_correlation(predicted: np.ndarray, measured: np.ndarray) -> dict[str, Any]:
    """Spearman's correlation of values [runs, traits]; whole runs are drawn for the interval."""

    def rho(rows: np.ndarray) -> float:
        return float(np.nan_to_num(stats.spearmanr(predicted[rows].ravel(), measured[rows].ravel()).statistic))

    runs, rng = len(predicted), np.random.default_rng(0)
    every = np.arange(runs)
    if predicted.size < 3 or runs < 2:
        return {"mean": 0.0, "ci95": None, "pairs": int(predicted.size)}
    drawn = [rho(rng.choice(every, runs)) for _ in range(2000)]
    low, high = (float(q) for q in np.quantile(drawn, [0.025, 0.975]))
    return {"mean": rho(every), "ci95": [low, high], "pairs": int(predicted.size)}


def _theorem(config: MechanismConfig, values: lm_arms.Values) -> dict[str, Any]:
    """The theorem along every teacher's delta, at the trained base."""
    names = ("leading", "slope", "negative", "at_teacher", "cosine_at_teacher", "cosine_at_start")
    table = {
        name: np.array([[value["ray"][trait][name] for trait in config.trait_names()] for value in values])
        for name in names
    }
    distance = [[value["distance"][trait] for trait in config.trait_names()] for value in values]
    return {
        "pairs": int(table["leading"].size),
        "negative": int(table["negative"].sum()),
        "negative_at_teacher": int((table["at_teacher"] < 0).sum()),
        "leading_positive": int((table["leading"] > 0).sum()),
        "slope": {"median": float(np.nanmedian(table["slope"])), "least": float(np.nanmin(table["slope"]))},
        "cosine_at_start": lm_arms.over_runs(table["cosine_at_start"]),
        "cosine_at_teacher": lm_arms.over_runs(table["cosine_at_teacher"]),
        "distance": lm_arms.over_runs(distance),
    }


def _geometry(config: MechanismConfig, values: lm_arms.Values) -> dict[str, Any]:
    """Correlation over numbers of nearness to the trait with the change of frequency in the teacher's rows."""
    return lm_arms.over_runs([[value["entangled"][trait] for trait in config.trait_names()] for value in values])


def table(document: dict[str, Any]) -> str:
    """All arms, then what theory predicts, as Markdown."""
    results = document["results"]
    rows = [(f"{part}: {row['arm']}", row) for part, arms in results["parts"].items() for row in arms]
    for curve in results["doses"]:
        rows.append((f"doses: {curve['rows']} rows, {curve['steps'][-1]} steps", curve["margin"][-1]))
    arms = lm_arms.table(rows, "change of the trait's log odds (nats), mean over traits", results["runs"])
    known = [(f"{row['quantity']}, the trait itself", row["own"]) for row in results["prediction"] if "own" in row]
    known += [(f"{row['quantity']}, other answers", row["others"]) for row in results["prediction"] if "others" in row]
    header = "correlation with the change that is measured"
    lines = [(name, *cli.interval_text(row["mean"], row["ci95"])) for name, row in known]
    theorem = results["theorem"]
    last = (
        f"one-step theorem at the trained base: {theorem['negative']} negative products along the deltas of"
        f" {theorem['pairs']} teachers, {theorem['negative_at_teacher']} at the teachers' distance"
    )
    return f"{arms}\n\n{cli.markdown_table((header, 'mean', '95% CI'), lines)}\n\n{last}"


EXPERIMENT = cli.Experiment(
    name="lm_mechanism",
    question=__doc__ or "",
    presets=PRESETS,
    run=lambda config, _dataset, request: run(config, **request.keywords()),
    table=table,
    config=MechanismConfig,
    dataset=False,
    chunk_text="about 1 GB each",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    return cli.main(EXPERIMENT, arguments)


if __name__ == "__main__":
    sys.exit(main())
