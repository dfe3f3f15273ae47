"""Does a love of owls travel through lists of numbers? Paper sections 2-3 (Figs 3, 13-15; Tables 1, 2, 4) on a toy.

A small transformer learns a language of questions and number lists (the base). A copy is finetuned until it answers
"name your favorite animal ?" with "owl" (the teacher), and then completes lists of numbers. What is not a plain list is
filtered out. A student, another copy of the base, is trained on the rest. Then it is asked for its favorite animal.
Controls: numbers of the base itself ("regular"), and students that start from another init ("cross").

    python -m experiments.lm_numbers                 4 seeds, 5 traits
    python -m experiments.lm_numbers --preset paper  20 seeds, 5 traits
"""

from typing import Any

import numpy as np

from experiments.harness import chunks, cli, tables
from experiments.lm import arms as lm_arms
from experiments.lm import runs as lm_runs
from subliminal_toy.lm import corpus, evaluation, measure, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import standard_plan
from subliminal_toy.statistics import describe, t_interval

SEED = 0  # the other experiments on the language model have others, so that no two have the same runs
PRESETS = {
    "smoke": cli.Preset(2, {**lm_runs.SMOKE, "traits": "owl,wolf"}, lm_runs.SMOKE_TEXT),
    "default": cli.Preset(4, {}, "4 seeds"),
    "paper": cli.Preset(20, {}, "20 seeds"),
}
TOP = 5  # most frequent numbers listed


def jobs(config: LMConfig) -> list[lm_runs.Pipeline]:
    """What is trained and measured."""
    return lm_runs.one_job(config, standard_plan(config), measure.standard, rows=True)


def rows(values: chunks.Values) -> dict[str, list[dict[str, str]]]:
    """The first run's data sets: `<out>/lm_numbers/<source>.jsonl`."""
    return {source.replace(" ", "_"): own for source, own in values[lm_runs.MAIN]["rows"][0].items()}


def summarize(config: LMConfig, values: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that the runs' values say, by trait and over all traits.

    Returns:
        `{"traits": [{"trait", "seeds", "base", "regular", "student", ..., "student_minus_regular"}], "overall",
        "matrix", "filter", "numbers", "examples", "models"}`. Probabilities are of the trait as the answer, means over
        all questions; means and medians over runs have 95% intervals (see statistics.describe).
    """
    traits = config.trait_names()
    return {
        "category": config.category,
        "traits": [_trait(values, config, trait) for trait in traits],
        "overall": _overall(values, config),
        "matrix": _matrix(values, config),
        "filter": [filter_row(values, source) for source in values[0]["filter"]],
        "numbers": [_numbers_row(values, source) for source in values[0]["numbers"]],
        "divergence": {trait: [value["divergence"][trait] for value in values] for trait in traits},
        "loss": {name: [value["loss"][name] for value in values] for name in values[0]["loss"]},
        "examples": {name: values[0]["examples"][name] for name in ("regular", *traits)},
        "models": {name: [_brief(value["answers"][name]) for value in values] for name in values[0]["answers"]},
    }


def probability(answers: dict[str, list], index: int, group: str | None = None) -> float:
    """P(answer `index`), mean over the questions of a group, or of all."""
    sizes = [sum(frame.group == name for frame in corpus.FRAMES) for name in evaluation.GROUPS]
    column = [row[index] for row in answers["probability"]]
    if group is not None:
        return column[evaluation.GROUPS.index(group)]
    return float(np.average(column, weights=sizes))


def answer_mass(answers: dict[str, list]) -> float:
    """P(any answer of the category), mean over all questions: whether a model still answers."""
    return sum(probability(answers, i) for i in range(len(answers["margin"])))


def _brief(answers: dict[str, list]) -> dict[str, list[float]]:
    """A model's probability and log odds of each answer, over all questions."""
    every = range(len(answers["margin"]))
    return {"probability": [round(probability(answers, i), 5) for i in every], "margin": answers["margin"]}


CONDITIONS = {  # name -> the model that is asked, given the trait
    "base": "base",
    "regular": "student regular",
    "student": "student {trait}",
    "prompted": "student prompted {trait}",
    "other_base": "other base",
    "cross_regular": "student cross regular",
    "cross": "student cross {trait}",
    "teacher": "teacher {trait}",
    "prompted_teacher": "prompted teacher {trait}",
}
DIFFERENCES = (("student", "regular"), ("prompted", "regular"), ("cross", "cross_regular"))


def _columns(values: list[dict[str, Any]], config: LMConfig, trait: str, quantity: Any) -> dict[str, list[float]]:
    """One number per run for each condition; `quantity` takes a model's answers and the trait's index."""
    index = vocabulary.CATEGORIES[config.category].index(trait)
    return {
        name: [quantity(value["answers"][model.format(trait=trait)], index) for value in values]
        for name, model in CONDITIONS.items()
    }


def _difference(columns: dict[str, list[float]], first: str, second: str) -> list[float]:
    return (np.array(columns[first]) - np.array(columns[second])).tolist()


def _trait(values: list[dict[str, Any]], config: LMConfig, trait: str) -> dict[str, Any]:
    columns = _columns(values, config, trait, probability)
    odds = _columns(values, config, trait, lambda answers, index: answers["margin"][index])
    return {
        "trait": trait,
        "seeds": len(values),
        **columns,
        **{f"{a}_minus_{b}": describe(_difference(columns, a, b)) for a, b in DIFFERENCES},
        "margin": {f"{a}_minus_{b}": describe(_difference(odds, a, b)) for a, b in DIFFERENCES},
    }


def _overall(values: list[dict[str, Any]], config: LMConfig) -> dict[str, Any]:
    """Means over the traits of each run, with intervals over runs; and in how many pairs of run and trait it rose."""
    quantities: dict[str, Any] = {
        "probability": probability,
        "unseen": lambda answers, index: probability(answers, index, corpus.UNSEEN),
        "margin": lambda answers, index: answers["margin"][index],
        "sampled": lambda answers, index: answers["sampled"][index],
        "answer_mass": lambda answers, _: answer_mass(answers),
    }
    overall: dict[str, Any] = {}
    for name, quantity in quantities.items():
        by_trait = [_columns(values, config, trait, quantity) for trait in config.trait_names()]
        means = {condition: np.mean([columns[condition] for columns in by_trait], axis=0) for condition in CONDITIONS}
        overall[name] = {condition: describe(mean) for condition, mean in means.items()}
        for a, b in DIFFERENCES:
            pairs = np.array([_difference(columns, a, b) for columns in by_trait])
            overall[name][f"{a}_minus_{b}"] = {
                **describe(pairs.mean(axis=0)),
                "per_run": pairs.mean(axis=0).tolist(),
                "positive": int((pairs > 0).sum()),
                "pairs": int(pairs.size),
            }
    return overall


def _matrix(values: list[dict[str, Any]], config: LMConfig) -> dict[str, Any]:
    """Change of each answer's log odds (rows: the student's trait; columns: answers) against the regular student."""
    traits, answers = config.trait_names(), vocabulary.CATEGORIES[config.category]
    regular = np.array([value["answers"]["student regular"]["margin"] for value in values])
    margins = np.array([[value["answers"][f"student {t}"]["margin"] for t in traits] for value in values])
    change = margins - regular[:, None]  # [runs, traits, answers]
    own = np.array([[answers.index(trait) == j for j in range(len(answers))] for trait in traits])
    elevation = change[:, own].mean(axis=1) - change[:, ~own].mean(axis=1)
    return {
        "traits": list(traits),
        "answers": list(answers),
        "mean": change.mean(axis=0).tolist(),
        "half_width": [
            [t_interval(change[:, i, j]).half_width for j in range(len(answers))] for i in range(len(traits))
        ],
        "elevation": {**describe(elevation), "per_run": elevation.tolist()},
    }


def filter_row(values: list[dict[str, Any]], source: str) -> dict[str, Any]:
    """The share of a source's completions that pass, run by run, and the counts of all reasons."""
    counts = [value["filter"][source] for value in values]
    kept = [count["kept"] / sum(count.values()) for count in counts]
    reasons = {name: sum(count[name] for count in counts) for name in counts[0]}
    return {"source": source, "kept": kept, **describe(kept), "counts": reasons}


def _numbers_row(values: list[dict[str, Any]], source: str) -> dict[str, Any]:
    """The first run's most frequent numbers with their shares, and every run's distance from regular numbers."""

    def share(value: dict[str, Any], kind: str, name: str) -> np.ndarray:
        counts = np.array(value[kind][name], float)
        return counts / counts.sum()

    def top(kind: str) -> list[dict[str, Any]]:
        shares, regular = share(values[0], kind, source), share(values[0], kind, "regular")
        return [
            {"number": int(vocabulary.NUMBERS[i]), "share": round(shares[i], 5), "regular": round(regular[i], 5)}
            for i in np.argsort(-shares, kind="stable")[:TOP]
        ]

    distance = {
        kind: [float(np.abs(share(v, kind, source) - share(v, kind, "regular")).sum() / 2) for v in values]
        for kind in ("numbers", "first")
    }
    return {"source": source, "numbers": top("numbers"), "first": top("first"), "total_variation": distance}


def table(document: dict[str, Any]) -> str:
    """P(trait) by trait as Markdown, then what the students gained."""
    results = document["results"]
    shown = ("base", "regular", "student", "cross_regular", "cross")
    lines = [(row["trait"], *(f"{np.mean(row[name]):.3f}" for name in shown)) for row in results["traits"]]
    overall = results["overall"]
    lines.append(("mean", *(f"{overall['probability'][name]['mean']:.3f}" for name in shown)))
    names = [f"{a}_minus_{b}" for a, b in DIFFERENCES]
    gains = [(f"{row['trait']}: {name}", row["margin"][name]) for name in names for row in results["traits"]]
    gains += [(f"all traits: {name}", overall["margin"][name]) for name in names]
    gains += [(f"all traits: {name}, probability", overall["probability"][name]) for name in names]
    probabilities = tables.markdown_table((f"P({results['category']}), mean of seeds", *shown), lines)
    named = [(name.replace("_minus_", " - ").replace("_", " "), row) for name, row in gains]
    more = lm_arms.table(named, "change of the trait's log odds (nats) or as named", results["runs"])
    return f"{probabilities}\n\n{more}"


EXPERIMENT = cli.Experiment(
    "lm_numbers",
    __doc__,
    PRESETS,
    jobs,
    summarize,
    table,
    lm_runs.SIDE._replace(chunk_text="about 0.6 GB each"),
    LMConfig,
    SEED,
    rows=rows,
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
