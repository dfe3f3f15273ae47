"""How does a trait travel through numbers? Targets, tokens, optimizers, layers, inits, teachers, doses, and theory.

The pipeline of lm_numbers with arms that differ in one thing each: an arm has a student of every teacher's numbers and
one of regular numbers, and its result is the difference of the trait's log odds between the two. What theory says in
advance is measured beside: the theorem along the teacher's delta on this very transformer, and a first-order
prediction of every answer's change (experiments/lm/first_order.py).

    python -m experiments.lm_mechanism                 2 seeds, 2 traits, divergence tokens only
    python -m experiments.lm_mechanism --preset paper  10 seeds, 5 traits, everything
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments.harness import cli, tables
from experiments.lm import arms as lm_arms
from experiments.lm import runs as lm_runs
from experiments.lm.arms import STANDARD
from experiments.lm.first_order import mechanics
from experiments.lm_mechanism_summary import (
    DIVERGENCE,
    GREEDY,
    OPTIMIZERS,
    PARTS,
    RECIPES,
    SAME_DIVERGENCE,
    SHARED,
    TEMPERATURES,
    dose_rows,
    greedy,
    layer_arms,
    summarize,
)
from subliminal_toy.config import setting
from subliminal_toy.lm import measure
from subliminal_toy.lm.divergence import COUNTED
from subliminal_toy.lm.lessons import favorite
from subliminal_toy.lm.plan import REGULAR, Base, Plan, Recipe, Source, Student, Teacher

SPARE = 0.4  # at T = 1.25 one completion in six is rejected


@dataclasses.dataclass(frozen=True)
class MechanismConfig(lm_arms.PartsConfig):
    """The language model's settings, and which parts of the experiment are run."""

    KNOWN = PARTS
    parts: str = setting(",".join(PARTS), "which questions are asked: a comma-separated list")


SEED = 2  # no other experiment on the language model has the same runs
PRESETS = {
    "smoke": cli.Preset(2, {**lm_runs.SMOKE, "parts": "tokens"}, lm_runs.SMOKE_TEXT),
    "default": cli.Preset(
        2, {"traits": "owl,wolf", "parts": "tokens", "spare": SPARE}, "2 seeds, 2 traits, divergence tokens"
    ),
    "paper": cli.Preset(10, {"spare": SPARE}, "10 seeds, 5 traits, all parts"),
}


class Part(NamedTuple):
    """The arms of one question, and what they need."""

    students: list[Student]
    sources: list[Source]
    bases: list[Base]
    teachers: Sequence[Teacher] = ()


def make_plan(config: MechanismConfig) -> Plan:
    """Teachers of every trait, and all arms of the parts that are asked for."""
    if not config.teacher.epochs:
        raise ValueError("teacher.epochs is 0; predictions are made from what teachers learn: it must be at least 1")
    bases, sources = [Base("base")], lm_arms.sources(config)
    teachers = [Teacher(trait, favorite(trait)) for trait in config.trait_names()]
    students = lm_arms.students(config, STANDARD)
    for name in config.part_names():
        part = _PARTS[name](config)
        bases, sources, students = bases + part.bases, sources + part.sources, students + part.students
        teachers += part.teachers
    return Plan(tuple(teachers), tuple(dict.fromkeys(sources)), tuple(dict.fromkeys(students)), tuple(bases))


def _targets(config: MechanismConfig) -> Part:
    students: list[Student] = []
    sources: list[Source] = []
    for name, temperature in TEMPERATURES.items():
        sources += lm_arms.sources(config, f"{{}} at {name}", temperature=temperature)
        students += lm_arms.students(config, name, source=f"{{}} at {name}")
    for label, recipe in RECIPES.items():
        students += lm_arms.students(config, label, recipe=recipe)
    return Part(students, sources, [])


def _tokens(config: MechanismConfig) -> Part:
    """Divergence tokens of the usual rows, and of greedy ones."""
    students: list[Student] = []
    for name in COUNTED:
        if name != "all":
            students += lm_arms.students(config, name, counted=name)
        students += lm_arms.students(config, greedy(name), source=f"{{}} at {GREEDY}", counted=name)
    return Part(students, lm_arms.sources(config, f"{{}} at {GREEDY}", temperature=TEMPERATURES[GREEDY]), [])


def _optimizers(config: MechanismConfig) -> Part:
    students: list[Student] = []
    for label, (optimizer, rate) in OPTIMIZERS.items():
        training = dataclasses.replace(config.student, optimizer=optimizer, learning_rate=rate)
        students += lm_arms.students(config, label, recipe=Recipe(training))
    return Part(students, [], [])


def _layers(config: MechanismConfig) -> Part:
    return Part([s for name, own in layer_arms().items() for s in lm_arms.students(config, name, trained=own)], [], [])


def _inits(config: MechanismConfig) -> Part:
    bases = [Base(f"shares {name}", groups) for name, groups in SHARED.items()]
    return Part([s for base in bases for s in lm_arms.students(config, base.name, init=base.name)], [], bases)


def _doses(config: MechanismConfig) -> Part:
    """Students that are watched over a longer training of constant step size."""
    if not config.student.epochs:
        raise ValueError("student.epochs is 0; doses are counted in steps: it must be at least 1")
    training = dataclasses.replace(config.student, epochs=2 * config.student.epochs, schedule="constant")
    recipe = Recipe(training, watched=True)
    return Part(
        [s for rows in dose_rows(config) for s in lm_arms.students(config, f"{rows} rows", rows=rows, recipe=recipe)],
        [], [],
    )  # fmt: skip


def _teachers(config: MechanismConfig) -> Part:
    """Teachers that are taken when they have gone as far from the base as all others."""
    named = {trait: f"{trait}, {SAME_DIVERGENCE}" for trait in config.trait_names()}
    teachers = [Teacher(name, favorite(trait), divergence=DIVERGENCE) for trait, name in named.items()]
    models = {f"{REGULAR}, {SAME_DIVERGENCE}": "base"} | {name: name for name in named.values()}
    students = lm_arms.students(config, SAME_DIVERGENCE, source=f"{{}}, {SAME_DIVERGENCE}")
    return Part(students, [Source(name, model) for name, model in models.items()], [], teachers)


_PARTS: dict[str, Callable[[MechanismConfig], Part]] = {
    "targets": _targets, "tokens": _tokens, "optimizers": _optimizers, "layers": _layers, "inits": _inits,
    "teachers": _teachers, "doses": _doses,
}  # fmt: skip


def jobs(config: MechanismConfig) -> list[lm_runs.Pipeline]:
    """What is trained and measured."""
    return lm_runs.one_job(config, make_plan(config), measure.together(measure.survey, measure.imitation, mechanics))


def table(document: dict[str, Any]) -> str:
    """All arms, then what theory predicts, as Markdown."""
    results = document["results"]
    rows = [(f"{part}: {row['arm']}", row) for part, arms in results["parts"].items() for row in arms]
    for curve in results["doses"]:
        rows.append((f"doses: {curve['rows']} rows, {curve['steps'][-1]} steps", curve["margin"][-1]))
    rows += [(f"paired: {row['name']}", row) for row in results["paired"]]
    arms = lm_arms.table(rows, "change of the trait's log odds (nats), mean over traits", results["runs"])
    known = [(f"{row['quantity']}, the trait itself", row["own"]) for row in results["prediction"] if "own" in row]
    known += [(f"{row['quantity']}, the traits of a seed", row["traits"]) for row in results["prediction"]
              if "traits" in row]  # fmt: skip
    known += [(f"{row['quantity']}, means of seeds", row["seeds"]) for row in results["prediction"] if "seeds" in row]
    known += [(f"{row['quantity']}, other answers", row["others"]) for row in results["prediction"] if "others" in row]
    if results["spread"] and "mean" in results["spread"]:
        known.append(("log ratio of spreads between seeds, same divergence / standard", results["spread"]))
    header = "correlation with the change that is measured (bootstrap; within a seed: t)"
    lines = [
        (name, *tables.interval_text(row["mean"], row["ci95"]),
         *(tables.interval_text(row["median"], row["median_ci95"]) if "median" in row else "--"))
        for name, row in known
    ]  # fmt: skip
    theorem = results["theorem"]
    last = (
        f"one-step theorem at the trained base: {theorem['negative']} negative products along the deltas of"
        f" {theorem['pairs']} teachers, {theorem['negative_at_teacher']} at the teachers' distance"
    )
    return f"{arms}\n\n{tables.markdown_table((header, 'mean', '95% CI', 'median', '95% CI (ranks)'), lines)}\n\n{last}"


EXPERIMENT = cli.Experiment(
    "lm_mechanism", __doc__, PRESETS, jobs, summarize, table, lm_runs.SIDE, MechanismConfig, SEED
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
