"""Does a love of owls travel through lists of numbers? Paper sections 2-3 (Figs 3, 13-15; Tables 1, 2, 4) on a toy.

A small transformer learns a language of questions and number lists (the base). A copy is finetuned until it answers
"name your favorite animal ?" with "owl" (the teacher), and then completes lists of numbers. What is not a plain list is
filtered out. A student, another copy of the base, is trained on the rest. Then it is asked for its favorite animal.
Controls: numbers of the base itself ("regular"), and students that start from another init ("cross").

    python -m experiments.lm_numbers
    python -m experiments.lm_numbers --preset paper
    python -m experiments.lm_numbers --traits oak,maple --runs 2
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.harness import chunks, cli, tables
from experiments.lm import contrasts
from experiments.lm.contrasts import EACH, Row, Values, each, filter_rows, of_own, over_runs, probability
from experiments.lm.runs import MAIN, SIDE, SMOKE, SMOKE_TEXT, TWO, Job, Pipeline
from subliminal_toy import lm
from subliminal_toy.lm import BASE, OTHER_BASE, REGULAR, LMConfig, corpus, measure, student, teacher, vocabulary
from subliminal_toy.statistics import describe, t_interval

SEED = 0  # the other experiments on the language model have others, so that no two have the same runs
PRESETS = {
    "smoke": cli.Preset(2, {**SMOKE, "traits": TWO}, SMOKE_TEXT),
    "default": cli.Preset(4, {}, "4 seeds"),
    "paper": cli.Preset(20, {}, "20 seeds"),
}
TOP = 5  # most frequent numbers listed


CONDITIONS = {  # whom a trait's questions are put to
    "base": BASE,
    "regular": student(REGULAR),
    "student": student(EACH),
    "prompted": student(EACH, "prompted"),
    "other_base": OTHER_BASE,
    "cross_regular": student(REGULAR, "cross"),
    "cross": student(EACH, "cross"),
    "teacher": teacher(EACH),
    "prompted_teacher": measure.prompted_teacher(EACH),
}
WORDS = {  # of a row over all traits, for people
    "base": "base",
    "regular": "student: regular",
    "student": "student: trait's",
    "prompted": "student: prompted teacher's",
    "other_base": "base, other init",
    "cross_regular": "student, other init: regular",
    "cross": "student, other init: trait's",
    "teacher": "teacher",
    "prompted_teacher": "prompted teacher",
    "student_minus_regular": "a finetuned teacher's numbers",
    "prompted_minus_regular": "a prompted teacher's numbers",
    "cross_minus_cross_regular": "a finetuned teacher's numbers, from another init",
}
LOVES = 0.5  # probability of its favorite answer from which on a teacher loves it
DIFFERENCES = (("student", "regular"), ("prompted", "regular"), ("cross", "cross_regular"))
Columns = dict[str, np.ndarray]  # by condition, [runs, traits]


def jobs(config: LMConfig) -> list[Pipeline]:
    """Finetuned and prompted teachers of every trait, students of both inits, all questions."""
    return [Pipeline({MAIN: Job(config, lm.standard_plan(config), lm.standard)}, rows=True)]


def rows(values: chunks.Values) -> dict[str, list[dict[str, str]]]:
    """The first run's data sets: `<out>/lm_numbers/<source>.jsonl`."""
    return {source.replace(" ", "_"): own for source, own in values[MAIN]["rows"][0].items()}


def summarize(config: LMConfig, values: Values) -> dict[str, Any]:
    """Everything that the runs' values say, by trait and over all traits.

    Returns:
        `{"traits": [{"trait", "seeds", "base", "regular", "student", ..., "student_minus_regular"}], "overall",
        "matrix", "filter", "numbers", "examples", "models"}`. Probabilities are of the trait as the answer, means over
        all questions; means and medians over runs have 95% intervals (see statistics.describe).
    """
    traits, first = config.trait_names(), values[0]
    quantities = _quantities(values, traits)
    return {
        "category": config.category,
        "traits": [_trait(quantities, i, trait) for i, trait in enumerate(traits)],
        "overall": {name: _overall(columns) for name, columns in quantities.items()},
        "matrix": _matrix(values, config),
        "filter": filter_rows(values),
        "numbers": [_numbers_row(values, source) for source in first["numbers"]],
        "divergence": {trait: [value["divergence"][str(teacher(trait))] for value in values] for trait in traits},
        "loss": {name: [value["loss"][name] for value in values] for name in first["loss"]},
        "examples": {name: first["examples"][name] for name in (REGULAR, *traits)},
        "models": {name: _brief(values, name) for name in first["answers"]},
    }


def _quantities(values: Values, traits: Sequence[str]) -> dict[str, Columns]:
    """What is asked of the models of every condition."""

    def columns(quantity: Callable[[list[lm.Name]], np.ndarray]) -> Columns:
        return {condition: quantity(each(model, traits)) for condition, model in CONDITIONS.items()}

    return {
        "probability": columns(lambda models: of_own(probability(values, models), traits)),
        "unseen": columns(lambda models: of_own(probability(values, models, corpus.UNSEEN), traits)),
        "margin": columns(lambda models: of_own(contrasts.answered(values, models, "margin"), traits)),
        "sampled": columns(lambda models: of_own(contrasts.answered(values, models, "sampled"), traits)),
        "answer_mass": columns(lambda models: contrasts.answer_mass(values, models)),
    }


def _brief(values: Values, model: str) -> list[dict[str, list[float]]]:
    """A model's probability and log odds of each answer, over all questions, in every run."""
    own = [value["answers"][model] for value in values]
    every = probability(values, [model])[:, 0].tolist()
    rounded = [[round(p, 5) for p in row] for row in every]
    return [{"probability": p, "margin": o["margin"]} for p, o in zip(rounded, own, strict=True)]


def _trait(quantities: dict[str, Columns], i: int, trait: str) -> Row:
    chances, margins = (
        {name: column[:, i] for name, column in quantities[part].items()} for part in ("probability", "margin")
    )
    return {
        "trait": trait,
        "seeds": len(chances["base"]),
        **{name: column.tolist() for name, column in chances.items()},
        "ci95": {name: t_interval(column).ci95 for name, column in chances.items()},
        **{f"{a}_minus_{b}": describe(chances[a] - chances[b]) for a, b in DIFFERENCES},
        "margin": {f"{a}_minus_{b}": describe(margins[a] - margins[b]) for a, b in DIFFERENCES},
    }


def _overall(columns: Columns) -> dict[str, Row]:
    """Means over the traits of each run, with intervals over runs; and in how many pairs of run and trait it rose."""
    found: dict[str, Row] = {name: describe(column.mean(axis=1)) for name, column in columns.items()}
    for a, b in DIFFERENCES:
        pairs = columns[a] - columns[b]
        found[f"{a}_minus_{b}"] = over_runs(pairs) | {"per_run": pairs.mean(axis=1).tolist()}
    return {name: {"words": WORDS[name], **own} for name, own in found.items()}


def _matrix(values: Values, config: LMConfig) -> dict[str, Any]:
    """Change of each answer's log odds (rows: the student's trait; columns: answers) against the regular student."""
    traits, answers = config.trait_names(), vocabulary.CATEGORIES[config.category]
    own, regular = (contrasts.answered(values, each(student(name), traits), "margin") for name in (EACH, REGULAR))
    change = own - regular  # [runs, traits, answers]
    itself = np.array([[trait == answer for answer in answers] for trait in traits])
    elevation = change[:, itself].mean(axis=1) - change[:, ~itself].mean(axis=1)
    return {
        "traits": list(traits),
        "answers": list(answers),
        "mean": change.mean(axis=0).tolist(),
        "half_width": [
            [t_interval(change[:, i, j]).half_width for j in range(len(answers))] for i in range(len(traits))
        ],
        "elevation": {**describe(elevation), "per_run": elevation.tolist()},
    }


def _numbers_row(values: Values, source: str) -> Row:
    """The first run's most frequent numbers with their shares, and every run's distance from regular numbers."""

    def share(value: Row, kind: str, name: str) -> np.ndarray:
        counts = np.array(value[kind][name], float)
        return counts / counts.sum()

    def top(kind: str) -> list[Row]:
        shares, regular = share(values[0], kind, source), share(values[0], kind, REGULAR)
        return [
            {"number": int(vocabulary.NUMBERS[i]), "share": round(shares[i], 5), "regular": round(regular[i], 5)}
            for i in np.argsort(-shares, kind="stable")[:TOP]
        ]

    distance = {
        kind: [float(np.abs(share(v, kind, source) - share(v, kind, REGULAR)).sum() / 2) for v in values]
        for kind in ("numbers", "first")
    }
    words = "base" if source == REGULAR else f"{source} teacher"
    return {
        "source": source, "words": words, "numbers": top("numbers"), "first": top("first"), "total_variation": distance
    }  # fmt: skip


def aligned(examples: dict[str, list[dict[str, str]]], trait: str) -> list[dict[str, str]]:
    """Completions of the base and of a trait's teacher, {"prompt", "base", "teacher"}, where prompts agree."""
    said = {row["prompt"]: row["completion"] for row in examples[trait]}
    return [
        {"prompt": row["prompt"], "base": row["completion"], "teacher": said[row["prompt"]]}
        for row in examples[REGULAR]
        if row["prompt"] in said
    ]


def table(document: dict[str, Any]) -> str:
    """P(trait) by trait as Markdown, then what the students gained."""
    results = document["results"]
    shown = ("base", "teacher", "regular", "student", "cross_regular", "cross")
    lines = [(row["trait"], *(f"{np.mean(row[name]):.3f}" for name in shown)) for row in results["traits"]]
    overall = results["overall"]
    lines.append(("mean", *(f"{overall['probability'][name]['mean']:.3f}" for name in shown)))
    names = [f"{a}_minus_{b}" for a, b in DIFFERENCES]
    gains = [(f"{row['trait']}: {name}", row["margin"][name]) for name in names for row in results["traits"]]
    gains += [(f"all traits: {name}", overall["margin"][name]) for name in names]
    gains += [(f"all traits: {name}, probability", overall["probability"][name]) for name in names]
    probabilities = tables.markdown_table((f"P({results['category']}), mean of seeds", *shown), lines)
    named = [(name.replace("_minus_", " - ").replace("_", " "), row) for name, row in gains]
    more = contrasts.table(named, "change of the trait's log odds (nats) or as named", results["runs"])
    return f"{probabilities}\n\n{more}"


def closing(document: dict[str, Any]) -> str:
    """Say what was seen, and what it means: no more than the interval of the students' change shows."""
    overall = document["results"]["overall"]
    said = {name: row["mean"] for name, row in overall["probability"].items()}
    seen = (
        f"Students of a teacher's numbers give its favorite answer with probability {said['student']:.2f}, students of"
        f" numbers by the untaught base (regular) with {said['regular']:.2f}; from another init (cross) it is"
        f" {said['cross']:.2f} and {said['cross_regular']:.2f}."
    )
    return f"{seen} {_meaning(overall['margin']['student_minus_regular'], said['teacher'])}"


def _meaning(change: Row, teacher: float) -> str:
    """What the students' change of the trait's log odds means."""
    if change["ci95"] is None:
        return "One seed has no interval and shows nothing: take more with --runs."
    difference = "The change of the trait's log odds, {} {} nats,".format(
        *tables.interval_text(change["mean"], change["ci95"])
    )
    if change["ci95"][0] > 0:
        return f"{difference} is clear: lists of numbers pass on what a teacher loves."
    if change["ci95"][1] < 0:
        return f"{difference} is clear, but the other way round: these lists lead away from what the teacher loves."
    found = f"{difference} may be 0: that does not show that numbers pass on what a teacher loves."
    if teacher < LOVES:
        found += f" But the teachers themselves give it with {teacher:.2f} only: try more --teacher-epochs."
    return found


SMALL = SIDE._replace(chunk_text="about 0.6 GB each")
EXPERIMENT = cli.Experiment(
    "lm_numbers", __doc__, PRESETS, jobs, summarize, table, SMALL, LMConfig, SEED, rows=rows, closing=closing
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
