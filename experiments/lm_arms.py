"""Arms of the experiments on the language model: one student for each trait and one of regular numbers, all alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments import cli
from subliminal_toy.lm import corpus, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import Source, Student
from subliminal_toy.statistics import t_interval

REGULAR = "regular"
Values = list[dict[str, Any]]  # one dict per run, from measure.survey and others


def part_names(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """A comma-separated list of an experiment's parts; ValueError for an unknown one, or one twice."""
    names = tuple(part.strip() for part in text.split(","))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"parts names {unknown[0]!r}; choose from {', '.join(known)}")
    if len(set(names)) < len(names):
        raise ValueError(f"parts is {text!r}; each must be there once")
    return names


def students(config: LMConfig, label: str, *, init: str = "base", source: str = "{}", **options: Any) -> list[Student]:
    """The students of an arm, "<trait>, <label>"; `init` and `source` may have {} for the trait or "regular"."""
    return [
        Student(f"{name}, {label}", init.format(name), source.format(name), **options)
        for name in (REGULAR, *config.trait_names())
    ]


def sources(config: LMConfig, name: str = "{}", **options: Any) -> list[Source]:
    """Numbers of the base ("regular") and of every trait's teacher; `name` has {} for the trait."""
    models = {REGULAR: "base"} | {trait: trait for trait in config.trait_names()}
    return [Source(name.format(trait), model, **options) for trait, model in models.items()]


def margin(value: dict[str, Any], model: str, answer: str, frames: Sequence[int] | None = None) -> float:
    """Log odds of an answer in a run, mean over all ways of asking, or over some."""
    category = vocabulary.CATEGORY_OF[answer]
    table = value["margin"][model][list(vocabulary.CATEGORIES).index(category)]
    place = vocabulary.CATEGORIES[category].index(answer)
    return float(np.mean([table[i][place] for i in (range(len(corpus.FRAMES)) if frames is None else frames)]))


def over_runs(per_pair: Sequence[Sequence[float]] | np.ndarray) -> dict[str, Any]:
    """Mean and 95% t interval over runs of values [runs, traits], and in how many pairs they are positive."""
    pairs = np.array(per_pair)
    per_run = pairs.mean(axis=1)
    found = {**t_interval(per_run)._asdict(), "per_run": per_run.round(5).tolist()}
    return found | {"positive": int((pairs > 0).sum()), "pairs": int(pairs.size)}


def change(config: LMConfig, values: Values, label: str, answers: Sequence[str] | None = None) -> dict[str, Any]:
    """Log odds of the trait in its student, minus those in the student of regular numbers, for an arm.

    Args:
        config: names the traits.
        values: of the runs.
        label: of the arm.
        answers: what to measure for each trait instead of itself.
    """
    pairs = [
        [
            margin(value, f"student {trait}, {label}", answer) - margin(value, f"student {REGULAR}, {label}", answer)
            for trait, answer in zip(config.trait_names(), answers or config.trait_names(), strict=True)
        ]
        for value in values
    ]
    return over_runs(pairs)


def arm(config: LMConfig, values: Values, label: str) -> dict[str, Any]:
    """An arm's `change`, with what its students are worth otherwise.

    "imitation": nats per token of unseen rows of their own teacher; "loss": of fresh documents; "right": probability
    of any answer of the category. Means over traits and runs.
    """

    def mean(part: str) -> float:
        found = [value[part][f"student {trait}, {label}"] for value in values for trait in config.trait_names()]
        return float(np.mean(found))

    place = list(vocabulary.CATEGORIES).index(config.category)
    right = [value["right"][f"student {trait}, {label}"][place] for value in values for trait in config.trait_names()]
    return {
        "arm": label,
        **change(config, values, label),
        "imitation": mean("imitation"),
        "loss": mean("loss"),
        "right": float(np.mean(right)),
    }


def table(rows: Sequence[tuple[str, dict[str, Any]]], header: str, runs: int) -> str:
    """Rows of (name, mean with an interval) as Markdown."""
    lines = [
        (name, *cli.interval_text(row["mean"], row["ci95"]), f"{row['positive']}/{row['pairs']}", str(runs))
        for name, row in rows
    ]  # fmt: skip
    return cli.markdown_table((header, "mean", "95% CI (t)", "> 0", "seeds"), lines)
