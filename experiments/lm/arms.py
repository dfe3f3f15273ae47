"""Arms of the experiments on the language model: one student for each trait and one of regular numbers, all alike."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from experiments.harness import tables
from subliminal_toy.config import setting
from subliminal_toy.lm import corpus, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import REGULAR, Source, Student
from subliminal_toy.statistics import describe

STANDARD = "standard"
Values = list[dict[str, Any]]  # one dict per run, from measure.survey and others


@dataclasses.dataclass(frozen=True)
class PartsConfig(LMConfig):
    """The language model's settings, and which parts of an experiment are run; each experiment says which there are."""

    KNOWN: ClassVar[Sequence[str]] = ()
    parts: str = setting("", "which questions are asked: a comma-separated list")

    def __post_init__(self) -> None:
        """Check all ranges and names."""
        super().__post_init__()
        self.part_names()

    def part_names(self) -> tuple[str, ...]:
        """`parts` as a tuple; ValueError for an unknown one, or one twice."""
        names = tuple(part.strip() for part in self.parts.split(","))
        unknown = [name for name in names if name not in self.KNOWN]
        if unknown:
            raise ValueError(f"parts names {unknown[0]!r}; choose from {', '.join(self.KNOWN)}")
        if len(set(names)) < len(names):
            raise ValueError(f"parts is {self.parts!r}; each must be there once")
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
    """What `describe` says of the means of runs, of values [runs, traits], and in how many pairs they are positive."""
    pairs = np.array(per_pair)
    per_run = pairs.mean(axis=1)
    found = {**describe(per_run), "per_run": per_run.round(5).tolist()}
    return found | {"positive": int((pairs > 0).sum()), "pairs": int(pairs.size)}


def changes(
    values: Values, answers: Sequence[str], form: str = f"{{}}, {STANDARD}", *, names: Sequence[str] | None = None,
    control: str = f"student {REGULAR}, {STANDARD}", frames: Sequence[int] | None = None,
) -> list[list[float]]:  # fmt: skip
    """Log odds of answers in their students, minus those in controls, [runs, answers].

    Args:
        values: of the runs.
        answers: what is asked for.
        form: the students' names, {} being one of `names`.
        names: one for each answer; the answers themselves if left out.
        control: the model that is compared with, maybe with {}, too.
        frames: ways of asking, all if left out.
    """
    return [
        [
            margin(value, f"student {form.format(name)}", answer, frames)
            - margin(value, control.format(name), answer, frames)
            for name, answer in zip(names or answers, answers, strict=True)
        ]
        for value in values
    ]


def arm_changes(config: LMConfig, values: Values, label: str) -> list[list[float]]:
    """`changes` of the traits in an arm against its student of regular numbers, [runs, traits]."""
    return changes(values, config.trait_names(), f"{{}}, {label}", control=f"student {REGULAR}, {label}")


def change(config: LMConfig, values: Values, label: str) -> dict[str, Any]:
    """`arm_changes` over runs."""
    return over_runs(arm_changes(config, values, label))


def difference(config: LMConfig, values: Values, first: str, second: str) -> dict[str, Any]:
    """How much more one arm transmits than another, paired by run and trait."""
    one, other = (np.array(arm_changes(config, values, label)) for label in (first, second))
    return {"name": f"{first} - {second}", **over_runs(one - other)}


def mean_of(config: LMConfig, values: Values, part: str, label: str) -> float:
    """Mean over runs and traits of a part of the values, for the students of an arm."""
    return float(
        np.mean([value[part][f"student {trait}, {label}"] for value in values for trait in config.trait_names()])
    )


def arm(config: LMConfig, values: Values, label: str) -> dict[str, Any]:
    """An arm's `change`, with what its students are worth otherwise.

    "imitation": nats per token of unseen rows of their own teacher; "loss": of fresh documents; "right": probability
    of any answer of the category. Means over traits and runs.
    """
    place = list(vocabulary.CATEGORIES).index(config.category)
    right = [value["right"][f"student {trait}, {label}"][place] for value in values for trait in config.trait_names()]
    return {
        "arm": label,
        **change(config, values, label),
        "imitation": mean_of(config, values, "imitation", label),
        "loss": mean_of(config, values, "loss", label),
        "right": float(np.mean(right)),
    }


def table(rows: Sequence[tuple[str, dict[str, Any]]], header: str, runs: int) -> str:
    """Rows of (name, what `describe` says) as Markdown; outliers are the indices of seeds."""

    def line(name: str, row: dict[str, Any]) -> tuple[str, ...]:
        mean, median = (tables.interval_text(row[a], row[b]) for a, b in (("mean", "ci95"), ("median", "median_ci95")))
        positive = f"{row['positive']}/{row['pairs']}" if "positive" in row else "-"
        return (name, *mean, *median, positive, " ".join(map(str, row["outliers"])) or "-", str(runs))

    columns = ("mean", "95% CI (t)", "median", "95% CI (ranks)", "> 0", "outliers", "seeds")
    return tables.markdown_table((header, *columns), [line(*row) for row in rows])
