"""What runs of the language model say: values by model as arrays, contrasts between models, rows over runs and traits.

Values are [runs, traits] unless it is said otherwise; models go by their names, as measurements give them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.harness import tables
from experiments.lm.arms import STANDARD
from subliminal_toy.lm import REGULAR, Name, corpus, evaluation, student, vocabulary
from subliminal_toy.statistics import describe

Values = list[dict[str, Any]]  # one dict per run, from subliminal_toy.lm.measure
EACH = "each"  # in the place of a trait: a model for each of them
Row = dict[str, Any]
Names = Sequence[Name | str]  # of models or sources, or their texts


def each(name: Name, traits: Sequence[str]) -> list[Name]:
    """Name one model for every trait: its own, where the name has EACH in the trait's place."""
    return [name._replace(trait=trait) if name.trait == EACH else name for trait in traits]


def column(values: Values, part: str, names: Names) -> np.ndarray:
    """Collect a part of the values, of some models or sources, [runs, names, ...]."""
    return np.array([[value[part][str(name)] for name in names] for value in values])


def all_odds(values: Values, models: Names, category: str, frames: Sequence[int] | None = None) -> np.ndarray:
    """Return log odds of a category's answers, mean over ways of asking (all, or some), [runs, models, answers]."""
    log_odds = column(values, "margin", models)[:, :, list(vocabulary.CATEGORIES).index(category)]
    chosen = np.take(log_odds, range(len(corpus.FRAMES)) if frames is None else frames, axis=2)
    return np.ascontiguousarray(np.moveaxis(chosen, 2, 3)).mean(axis=3)


def odds(values: Values, models: Names, answers: Sequence[str], frames: Sequence[int] | None = None) -> np.ndarray:
    """Return log odds of an answer in each of the models, all answers of one category, [runs, models]."""
    return of_own(all_odds(values, models, vocabulary.CATEGORY_OF[answers[0]], frames), answers)


def gains(
    values: Values,
    traits: Sequence[str],
    label: str = STANDARD,
    *,
    control: Name | None = None,
    answers: Sequence[str] | None = None,
    frames: Sequence[int] | None = None,
) -> np.ndarray:
    """Return log odds in the students of an arm minus those in their control, [runs, traits].

    Args:
        values: of the runs.
        traits: of the students.
        label: the arm's.
        control: a model, maybe one for EACH trait; the arm's student of regular numbers if left out.
        answers: what is asked for; the traits themselves if left out.
        frames: ways of asking, all if left out.
    """
    models, controls = (each(name, traits) for name in (student(EACH, label), control or student(REGULAR, label)))
    answers = answers or traits
    return odds(values, models, answers, frames) - odds(values, controls, answers, frames)


def answered(values: Values, models: Names, part: str) -> np.ndarray:
    """Collect a part of `measure.standard`'s values, of all answers of the category, [runs, models, answers]."""
    return np.array([[value["answers"][str(name)][part] for name in models] for value in values])


def probability(values: Values, models: Names, group: str | None = None) -> np.ndarray:
    """Return P(answer), mean over the questions of a group, or of all, [runs, models, answers]."""
    by_group = answered(values, models, "probability")  # [runs, models, groups, answers]
    if group is not None:
        return by_group[:, :, evaluation.GROUPS.index(group)]
    sizes = [sum(frame.group == name for frame in corpus.FRAMES) for name in evaluation.GROUPS]
    return np.average(by_group, axis=2, weights=sizes)


def answer_mass(values: Values, models: Names) -> np.ndarray:
    """Return P(any answer of the category), mean over all questions, [runs, models]: does a model still answer?"""
    return np.asarray(sum(np.moveaxis(probability(values, models), 2, 0)))


def of_own(by_answer: np.ndarray, answers: Sequence[str]) -> np.ndarray:
    """Pick from [runs, models, answers] each model's own answer, [runs, models]."""
    places = [vocabulary.CATEGORIES[vocabulary.CATEGORY_OF[answer]].index(answer) for answer in answers]
    return by_answer[:, range(len(answers)), places]


def over_runs(pairs: Sequence[Sequence[float]] | np.ndarray) -> Row:
    """Describe the means of runs, of values [runs, traits], and count the pairs that are positive."""
    pairs = np.array(pairs, order="C")
    per_run = pairs.mean(axis=1)
    described = {**describe(per_run), "per_run": per_run.round(5).tolist()}
    return described | {"positive": int((pairs > 0).sum()), "pairs": int(pairs.size)}


def row(name: str, pairs: Sequence[Sequence[float]] | np.ndarray, **more: Any) -> Row:
    """Describe values as `over_runs` does, with a name and further fields."""
    return {"name": name, **over_runs(pairs), **more}


def difference(values: Values, traits: Sequence[str], first: str, second: str) -> Row:
    """Describe how much more one arm transmits than another, paired by run and trait."""
    pairs = gains(values, traits, first) - gains(values, traits, second)
    return row(f"{first} - {second}", pairs, first=first, second=second)


def mean_of(values: Values, traits: Sequence[str], part: str, label: str) -> float:
    """Average a part of the values over runs and traits, for the students of an arm."""
    return float(column(values, part, each(student(EACH, label), traits)).mean())


def arm_row(values: Values, traits: Sequence[str], label: str, **fields: Any) -> Row:
    """Describe an arm's gain, with further fields and what its students are worth otherwise.

    "imitation": nats per token of unseen rows of their own teacher; "loss": of fresh documents; "right": probability
    of any answer of the category. Means over traits and runs.
    """
    place = list(vocabulary.CATEGORIES).index(vocabulary.CATEGORY_OF[traits[0]])
    right = column(values, "right", each(student(EACH, label), traits))[:, :, place]
    return {
        "arm": label,
        **fields,
        **over_runs(gains(values, traits, label)),
        "imitation": mean_of(values, traits, "imitation", label),
        "loss": mean_of(values, traits, "loss", label),
        "right": float(np.ascontiguousarray(right).mean()),
    }


def bootstrap(statistic: Callable[[np.ndarray], float], change: np.ndarray) -> Row:
    """Return statistic(all runs) of `change` [runs, traits], with a percentile interval over runs drawn anew."""
    runs, rng = np.arange(len(change)), np.random.default_rng(0)
    drawn = [statistic(rng.choice(runs, runs.size)) for _ in range(2000)] if runs.size > 1 else []
    ci95 = [float(q) for q in np.quantile(drawn, [0.025, 0.975])] if drawn else None
    return {"mean": statistic(runs), "ci95": ci95, "pairs": int(change.size)}


def filter_row(values: Values, source: str) -> Row:
    """Describe the share of a source's completions that pass, run by run, and count all reasons."""
    counts = [value["filter"][source] for value in values]
    kept = [count["kept"] / sum(count.values()) for count in counts]
    reasons = {name: sum(count[name] for count in counts) for name in counts[0]}
    return {"source": source, "kept": kept, **describe(kept), "counts": reasons}


def filter_rows(values: Values) -> list[Row]:
    """Return `filter_row` of all sources."""
    return [filter_row(values, source) for source in values[0]["filter"]]


def table(rows: Sequence[tuple[str, Row]], header: str, runs: int) -> str:
    """Write rows of (name, what `describe` says) as Markdown; outliers are the numbers of seeds, from 0."""

    def line(name: str, row: Row) -> tuple[str, ...]:
        mean, median = (tables.interval_text(row[a], row[b]) for a, b in (("mean", "ci95"), ("median", "median_ci95")))
        positive = f"{row['positive']}/{row['pairs']}" if "positive" in row else "-"
        return (name, *mean, *median, positive, ", ".join(map(str, row["outliers"])) or "-", str(runs))

    columns = ("mean", "95% CI (t)", "median", "95% CI (ranks)", "> 0", "outliers: seeds no.", "seeds")
    return tables.markdown_table((header, *columns), [line(*row) for row in rows])
