"""How does a trait travel through numbers? Targets, tokens, optimizers, layers, inits, teachers, doses, and theory.

The pipeline of lm_numbers with arms that differ in one thing each: an arm has a student of every teacher's numbers and
one of regular numbers, and its result is the difference of the trait's log odds between the two. What theory says in
advance is measured beside: the theorem along the teacher's delta on this very transformer, and a first-order
prediction of every answer's change (experiments/studies/lm_mechanism/first_order.py).

    python -m experiments.studies.lm_mechanism
    python -m experiments.studies.lm_mechanism --preset paper
    python -m experiments.studies.lm_mechanism --parts optimizers
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.harness import cli, tables
from experiments.lm import contrasts
from experiments.lm.arms import STANDARD, Arm, PartsConfig, arm, joined, plan_of, sources, teachers
from experiments.lm.contrasts import EACH, Row, Values, arm_row, column, each, filter_rows, gains, row
from experiments.lm.runs import MAIN, SIDE, SMOKE, SMOKE_TEXT, TWO, Job, Pipeline
from experiments.studies.lm_mechanism import divergence, first_order, watched
from experiments.studies.lm_mechanism.divergence import COUNTED, WEIGHINGS
from subliminal_toy import lm
from subliminal_toy.lm import REGULAR, Base, LMConfig, Name, Plan, Recipe, numbers, student, teacher
from subliminal_toy.lm.transformer import GROUPS
from subliminal_toy.settings import setting
from subliminal_toy.statistics import describe

PARTS = ("targets", "tokens", "optimizers", "layers", "inits", "teachers", "doses")
GREEDY = "greedy"
TEMPERATURES = {GREEDY: 0.0, "T = 0.5": 0.5, "T = 1.25": 1.25}
OPTIMIZERS = {  # step sizes chosen on seed 100 to imitate unseen rows as well as momentum does
    "sgd": ("sgd", 0.3),
    "adam": ("adam", 6e-4),
    "sign of the gradient": ("signsgd", 1e-3),
}
SHARED: dict[str, tuple[str, ...]] = {  # groups of parameters whose init two bases share; nothing is in lm_controls
    "shares embedding": ("embedding",),
    "shares unembedding": ("unembedding",),
    "shares attention, mlp": ("attention", "mlp"),
}
LEARNING = {  # which groups of parameters are trained, by the group that is named
    "only": lambda named: (named,),
    "all but": lambda named: tuple(group for group in GROUPS if group != named),
}
RECIPES = {
    "softmax over numbers": Recipe(over="numbers"),
    "soft targets": Recipe(targets="teacher"),
    "soft targets, numbers": Recipe(targets="teacher", over="numbers"),
}
SAME_DIVERGENCE, DIVERGENCE = "same divergence", 0.005  # nats per token; nine in ten teachers get there
WATCHED_ROWS = (1 / 10, 1)  # shares of the rows
TINY = 1e-6
LEAST = 3  # seeds that have a spread
WORDS = {  # of a row, for people
    STANDARD: "standard student",
    GREEDY: "greedy completions",
    "T = 0.5": "sampled at temperature 0.5",
    "T = 1.25": "sampled at temperature 1.25",
    "softmax over numbers": "loss over numbers only",
    "soft targets": "the teacher's probabilities",
    "soft targets, numbers": "... over numbers only",
    SAME_DIVERGENCE: "teachers stopped at one divergence",
    "sgd": "gradient descent",
    "adam": "Adam",
    "sign of the gradient": "sign of the gradient",
    "shares embedding": "the embedding",
    "shares unembedding": "the unembedding",
    "shares attention, mlp": "attention and MLP",
}
COUNTED_WORDS = {
    "all": "all tokens",
    "divergence": "only divergence tokens",
    "random as divergence": "as many random tokens",
    "others": "all but divergence tokens",
    "random as others": "all but as many random tokens",
}
GROUP_WORDS = {
    "embedding": "the embedding",
    "attention": "attention",
    "mlp": "the MLP",
    "unembedding": "the unembedding",
}
SPARE = 0.4  # at T = 1.25 one completion in six is rejected


@dataclasses.dataclass(frozen=True)
class MechanismConfig(PartsConfig):
    """The language model's settings, and which parts of the experiment are run."""

    KNOWN = PARTS
    parts: str = setting(",".join(PARTS), "which questions are asked: a comma-separated list")


SEED = 2  # no other experiment on the language model has the same runs
PRESETS = {
    "smoke": cli.Preset(2, {**SMOKE, "parts": "tokens"}, SMOKE_TEXT),
    "default": cli.Preset(
        2, {"traits": TWO, "parts": "tokens", "spare": SPARE}, "2 seeds, 2 traits, divergence tokens"
    ),
    "paper": cli.Preset(10, {"spare": SPARE}, "10 seeds, 5 traits, all parts"),
}


def greedy(counted: str) -> str:
    """Name the arm of greedy rows where only these of `divergence.COUNTED` enter the loss."""
    return GREEDY if counted == "all" else f"{GREEDY}, {counted}"


def _arm(label: str, **what: Any) -> Arm:
    """Make an arm whose row says in words what its label says."""
    return arm(label, row={"words": WORDS[label]}, **what)


def _weighed(rows: str, counted: str, label: str, **what: Any) -> Arm:
    """Make an arm that counts some tokens of "sampled" or "greedy" rows."""
    named = {"rows": rows, "counted": counted, "words": COUNTED_WORDS[counted]}
    return arm(label, row=named, weigh=WEIGHINGS.get(counted), **what)


def _learning(learns: str, group: str) -> Arm:
    """Make an arm in which only a group of parameters learns, or all but it."""
    named = {"learns": learns, "group": group, "words": f"{learns} {GROUP_WORDS[group]}"}
    return arm(f"{learns} {group}", row=named, trained=LEARNING[learns](group))


def arms(config: LMConfig) -> dict[str, list[Arm]]:
    """Make the arms of every part, the standard one first; each differs from it in what is said here."""
    rows = {label: numbers(REGULAR, f"at {label}") for label in TEMPERATURES}
    how = {
        label: Recipe(dataclasses.replace(config.student, optimizer=optimizer, learning_rate=rate))
        for label, (optimizer, rate) in OPTIMIZERS.items()
    }
    standard = _arm(STANDARD)
    longer = dataclasses.replace(config.student, epochs=2 * config.student.epochs, schedule="constant")
    return {
        "targets": [
            standard,
            *(_arm(label, source=rows[label]) for label in TEMPERATURES),
            *(_arm(label, recipe=recipe) for label, recipe in RECIPES.items()),
        ],
        "tokens": [
            _weighed("sampled", "all", STANDARD),
            *(_weighed("sampled", counted, counted) for counted in WEIGHINGS),
            *(_weighed(GREEDY, counted, greedy(counted), source=rows[GREEDY]) for counted in COUNTED),
        ],
        "optimizers": [standard, *(_arm(label, recipe=recipe) for label, recipe in how.items())],
        "layers": [
            standard._replace(row={"learns": "everything", **standard.row}),
            *(_learning(learns, group) for learns in LEARNING for group in GROUPS),
        ],
        "inits": [standard, *(_arm(label, init=Name("base", label)) for label in SHARED)],
        "teachers": [standard, _arm(SAME_DIVERGENCE, source=numbers(REGULAR, SAME_DIVERGENCE))],
        "doses": [
            arm(label, rows=rows, recipe=Recipe(longer, checkpoints=True))
            for rows, label in dose_labels(config).items()
        ],
    }


PAIRED: dict[str, tuple[tuple[str, str], ...]] = {  # arms that are compared with each other
    "targets": tuple((label, STANDARD) for label in (*TEMPERATURES, *RECIPES)),
    "tokens": (
        *((make(name), make(f"random as {name}")) for make in (str, greedy) for name in ("divergence", "others")),
        ("others", STANDARD),
        (greedy("others"), GREEDY),
    ),
    "optimizers": (*((label, STANDARD) for label in OPTIMIZERS), ("sgd", "adam")),
    "teachers": ((SAME_DIVERGENCE, STANDARD),),
}


def dose_labels(config: LMConfig) -> dict[int, str]:
    """Name the arms of watched students, by the number of different rows that they see."""
    return {rows: f"{rows} rows" for rows in (max(1, round(config.rows * share)) for share in WATCHED_ROWS)}


def make_plan(config: MechanismConfig) -> Plan:
    """Plan teachers of every trait, and all arms of the parts that are asked for, with what these need."""
    traits, by_part, parts = config.trait_names(), arms(config), config.part_names()
    heated = {label: sources(traits, f"at {label}", temperature=heat) for label, heat in TEMPERATURES.items()}
    stopped = teachers(traits, SAME_DIVERGENCE, divergence=DIVERGENCE)
    needs = {
        "targets": Plan((), tuple(source for group in heated.values() for source in group), (), ()),
        "tokens": Plan((), heated[GREEDY], (), ()),
        "inits": Plan((), (), (), tuple(Base(Name("base", label), groups) for label, groups in SHARED.items())),
        "teachers": Plan(stopped, sources(traits, SAME_DIVERGENCE, of=SAME_DIVERGENCE), (), ()),
    }
    plan = plan_of(traits, arm(STANDARD), *(entry for part in parts for entry in by_part[part]))
    return joined([plan, *(needs[part] for part in parts if part in needs)])


def jobs(config: MechanismConfig) -> list[Pipeline]:
    """Plan all arms and measurements; ValueError if there is nothing to predict or to watch."""
    if not config.teacher.epochs:
        raise ValueError("teacher.epochs is 0; predictions are made from what teachers learn: it must be at least 1")
    if "doses" in config.part_names() and not config.student.epochs:
        raise ValueError("student.epochs is 0; doses are counted in steps: it must be at least 1")
    return [Pipeline({MAIN: Job(config, make_plan(config), measure)})]


def measure(trained: lm.Trained) -> Values:
    """Measure all questions, unseen rows, what theory predicts, and what became of watched students."""
    kinds = (lm.survey, lm.imitation, divergence.measure, first_order.measure, watched.measure)
    return lm.together(*(kind(trained) for kind in kinds))


def summarize(config: MechanismConfig, values: Values) -> dict[str, Any]:
    """Make every table of the experiment from the runs' values.

    Returns:
        `{"parts": {part: [arms as contrasts.arm_row]}, "paired": [differences between arms], "imitation",
        "spread", "tokens_counted", "doses", "prediction", "theorem", "geometry", "filter"}`: changes of the trait's log
        odds (nats), means over traits with 95% intervals over runs.
    """
    traits, parts = config.trait_names(), config.part_names()
    by_part = {part: entries for part, entries in arms(config).items() if part in parts and part != "doses"}
    return {
        "parts": {
            part: [arm_row(values, traits, entry.label, **entry.row) for entry in by_part[part]]
            for part in parts
            if part in by_part
        },
        "paired": [
            {"part": part, **contrasts.difference(values, traits, *pair)}
            for part in parts
            for pair in PAIRED.get(part, ())
        ],
        "spread": _spread(traits, values) if "teachers" in parts else None,
        "imitation": _imitation(traits, values),
        "tokens_counted": _counted(traits, values) if "tokens" in parts else [],
        "doses": watched.doses(config, values, dose_labels(config)) if "doses" in parts else [],
        "prediction": first_order.predictions(traits, values),
        "theorem": first_order.theorem(traits, values),
        "geometry": first_order.geometry(traits, values),
        "filter": filter_rows(values),
    }


def _spread(traits: Sequence[str], values: Values) -> Row:
    """Compare the variance between seeds of teachers stopped at one divergence with that of the first arm.

    "spread" of each arm: standard deviation over seeds by the mean; "mean": log of the second by the first, with an
    interval from bootstrap samples of seeds (None for fewer than LEAST). "divergence" of the two arms' teachers.
    """
    labels = (STANDARD, SAME_DIVERGENCE)
    means = [gains(values, traits, label).mean(axis=1) for label in labels]
    gone = [
        column(values, "divergence", [teacher(trait, label) for trait in traits]) for label in ("", SAME_DIVERGENCE)
    ]

    def spread(runs: np.ndarray) -> list[float]:
        return [float(np.std(by_run[runs], ddof=1) / max(abs(np.mean(by_run[runs])), TINY)) for by_run in means]

    def ratio(runs: np.ndarray) -> float:
        standard, stopped = spread(runs)
        return float(np.log(max(stopped, TINY) / max(standard, TINY)))

    described = {"arms": labels, "divergence": [describe(by_run.mean(axis=1)) for by_run in gone]}
    if len(values) < LEAST:
        return described
    return described | {"spread": spread(np.arange(len(values))), **contrasts.bootstrap(ratio, means[0][:, None])}


def _counted(traits: Sequence[str], values: Values) -> list[Row]:
    """Describe what share of the tokens of completions are divergence tokens, mean over sources.

    "numbers": what share of them are numbers (others are separators, brackets, ends); "numbers_of_all": of all tokens.
    """
    rows = []
    for kind, label in (("sampled", ""), (GREEDY, f"at {GREEDY}")):
        counts = column(values, "diverging", [numbers(name, label) for name in (REGULAR, *traits)])
        share, *others = (
            np.array([[shares[part] for shares in run] for run in counts]).mean(axis=1)
            for part in ("share", "numbers", "numbers_of_all")
        )
        means = {
            name: float(np.mean(per_run)) for name, per_run in zip(("numbers", "numbers_of_all"), others, strict=True)
        }
        rows.append({"rows": kind, **describe(share), "per_run": share.tolist(), **means})
    return rows


def _imitation(traits: Sequence[str], values: Values) -> list[Row]:
    """Describe how much worse the base foretells unseen rows (nats per token) than students and teachers.

    The first is what students learn of what there is to learn, the second.
    """
    rows = [numbers(trait) for trait in traits]
    base = column(values, "untrained", rows)
    nats = {"student": column(values, "imitation", each(student(EACH, STANDARD), traits))}
    nats["teacher"] = column(values, "itself", rows)
    return [row(f"base - {name}", base - model_nats) for name, model_nats in nats.items()]


def table(document: dict[str, Any]) -> str:
    """Write all arms, then what theory predicts, as Markdown."""
    results = document["results"]
    rows = [(f"{part}: {row['arm']}", row) for part, arms in results["parts"].items() for row in arms]
    for curve in results["doses"]:
        rows.append((f"doses: {curve['rows']} rows, {curve['steps'][-1]} steps", curve["margin"][-1]))
    rows += [(f"paired: {row['name']}", row) for row in results["paired"]]
    arms = contrasts.table(rows, "change of the trait's log odds (nats), mean over traits", results["runs"])
    kinds = {
        "own": "the trait itself",
        "traits": "the traits of a seed",
        "seeds": "means of seeds",
        "others": "other answers",
    }
    known = [
        (f"{row['quantity']}, {text}", row[kind])
        for kind, text in kinds.items()
        for row in results["prediction"]
        if kind in row
    ]
    if results["spread"] and "mean" in results["spread"]:
        known.append(("log ratio of spreads between seeds, same divergence / standard", results["spread"]))
    header = "correlation with the change that is measured (bootstrap; within a seed: t)"
    lines = [
        (
            name,
            *tables.interval_text(row["mean"], row["ci95"]),
            *(tables.interval_text(row["median"], row["median_ci95"]) if "median" in row else "--"),
        )
        for name, row in known
    ]
    theorem = results["theorem"]
    last = (
        f"one-step theorem at the trained base: {theorem['negative']} negative products along the deltas of"
        f" {theorem['pairs']} teachers, {theorem['negative_at_teacher']} at the teachers' distance"
    )
    return f"{arms}\n\n{tables.markdown_table((header, 'mean', '95% CI', 'median', '95% CI (ranks)'), lines)}\n\n{last}"


EXPERIMENT = cli.Experiment("lm_mechanism", __doc__, PRESETS, jobs, summarize, table, SIDE, MechanismConfig, SEED)
run = EXPERIMENT.run
