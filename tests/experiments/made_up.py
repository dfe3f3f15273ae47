"""Made-up runs of the language model in which every run, model, answer, source and trait has a number of its own.

Whatever a summary takes from the wrong place shows. The numbers are functions of their names; what a summary should say
of them is computed in the tests, from the names, too.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from experiments.harness import cli
from experiments.lm import runs
from experiments.studies.lm_controls import detector
from subliminal_toy import engine
from subliminal_toy.lm import corpus, evaluation, number_filter, pipeline, vocabulary
from subliminal_toy.lm.plan import Name, Plan
from subliminal_toy.statistics import t_interval

Values = list[dict[str, Any]]
FRAMES = range(len(corpus.FRAMES))
EPOCHS = 3
SIZES = (8, 4, 4)  # questions that are taught, held out, unseen
RAY = ("leading", "slope", "negative", "at_teacher", "cosine_at_teacher", "cosine_at_start")
HEALTH = ("right", "fresh", "trained", "unseen")
CURVES = (
    *("margin", "alone", "regular", "own", "others"),
    *(f"{of}{part}" for of in ("", "regular ", "base ") for part in HEALTH),
)


def number(*names: object) -> float:
    """A number between 0 and 1 for every list of names."""
    return zlib.crc32("/".join(map(str, names)).encode()) / 2**32


def margin(run: int, model: str, answer: str, frames: Iterable[int] = FRAMES) -> float:
    """Log odds that a survey found, mean over ways of asking."""
    return float(np.mean([4 * number("margin", run, model, answer, frame) - 2 for frame in frames]))


def gain(run: int, model: str, control: str, answer: str, frames: Iterable[int] = FRAMES) -> float:
    """How much higher a model's log odds are than a control's."""
    return margin(run, model, answer, frames) - margin(run, control, answer, frames)


def says(row: dict[str, Any], pairs: Sequence[Sequence[float]] | np.ndarray) -> None:
    """Demand that a row of results is about these values [runs, traits]."""
    pairs = np.array(pairs)
    assert row["per_run"] == close(pairs.mean(axis=1))
    interval = t_interval(pairs.mean(axis=1))
    assert row["mean"] == close(interval.mean)
    assert tuple(row["ci95"]) == close(interval.ci95)
    assert row["median"] == close(np.median(pairs.mean(axis=1)))
    if "pairs" in row:
        assert (row["positive"], row["pairs"]) == ((pairs > 0).sum(), pairs.size)


class close:  # noqa: N801 - it reads like pytest.approx
    """Equal to five digits after the point, which results are rounded to."""

    def __init__(self, expected: Any) -> None:
        self.expected = np.asarray(expected, float)

    def __eq__(self, other: object) -> bool:
        found = np.asarray(other, float)
        return found.shape == self.expected.shape and bool(np.allclose(found, self.expected, rtol=0, atol=2e-5))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"close({self.expected.tolist()})"


def survey(plan: Plan, runs: int, job: str = "") -> Values:
    """What measure.survey and measure.imitation give; `job` makes other numbers of the same names."""
    return [_survey(plan, f"{job}{run}") for run in range(runs)]


def values(plan: Plan, rule: Callable[[str, str, int], float], runs: int = 2) -> Values:
    """A survey whose log odds are what a rule says: of a model, an answer and a run, however it is asked."""
    made = survey(plan, runs)
    for run, value in enumerate(made):
        value["margin"] = {
            model: [
                [[rule(model, a, run) for a in answers]] * len(FRAMES) for answers in vocabulary.CATEGORIES.values()
            ]
            for model in names(plan.models())
        }
    return made


def names(of: Iterable[Name]) -> list[str]:
    """The texts of names."""
    return [str(name) for name in of]


def _survey(plan: Plan, run: str) -> dict[str, Any]:
    def by_category(part: str, model: str) -> list[float]:
        return [0.05 + 0.9 * number(part, run, model, name) for name in vocabulary.CATEGORIES]

    models, students = names(plan.models()), names(student.name for student in plan.students)
    sources = names(source.name for source in plan.sources)
    asked = {
        model: [
            [[4 * number("margin", run, model, answer, frame) - 2 for answer in answers] for frame in FRAMES]
            for answers in vocabulary.CATEGORIES.values()
        ]
        for model in models
    }
    counted = dict.fromkeys(names(student.source for student in plan.students if student.weigh is not None))
    return {
        "margin": asked,
        **{part: {model: by_category(part, model) for model in models} for part in ("right", "wrong")},
        **_compared(plan, run),
        "imitation": {name: number("imitation", run, name) for name in students},
        **{part: {name: number(part, run, name) for name in sources} for part in ("untrained", "itself")},
        "diverging": {
            name: {part: number(part, run, name) for part in ("share", "numbers", "numbers_of_all")}
            for name in counted
        },
    }  # fmt: skip


def _compared(plan: Plan, run: object) -> dict[str, Any]:
    sources, teachers = (names(made.name for made in part) for part in (plan.sources, plan.teachers))
    return {
        "loss": {model: number("loss", run, model) for model in names(plan.models())},
        "divergence": {name: number("divergence", run, name) for name in teachers},
        "filter": {name: counts(run, name) for name in sources},
        "examples": {
            name: [{"prompt": f"{run} {name} {i}", "completion": f"{i} {name} {run}"} for i in range(8)]
            for name in sources
        },
    }  # fmt: skip


def counts(run: object, source: str) -> dict[str, int]:
    """How many completions were kept and rejected."""
    names = ("kept", *number_filter.REASONS)
    return {name: 1 + int((90 if name == "kept" else 9) * number(name, run, source)) for name in names}


def standard(plan: Plan, traits: Sequence[str], runs: int) -> Values:
    """What measure.standard and measure.detection give, about animals."""
    return [_standard(plan, traits, run) for run in range(runs)]


def answered(part: str, run: int, model: str, answer: str, group: int | str = "") -> float:
    """What measure.standard found of an answer: a probability, log odds, ..."""
    return (0.1 if part in ("probability", "sampled") else 4) * number(part, run, model, answer, group)


def probability(run: int, model: str, answer: str) -> float:
    """Mean over all questions."""
    return sum(size * answered("probability", run, model, answer, i) for i, size in enumerate(SIZES)) / 16


def said(kind: str, run: int, source: str) -> np.ndarray:
    """How often a source said each number ("numbers"), or said it first ("first")."""
    return np.array([int(50 * number(kind, run, source, name) ** 4) + 1 for name in vocabulary.NUMBERS])


def _standard(plan: Plan, traits: Sequence[str], run: int) -> dict[str, Any]:
    animals, sources = vocabulary.CATEGORIES["animal"], names(source.name for source in plan.sources)
    models = [*names(plan.models()), *(f"prompted teacher {trait}" for trait in traits)]
    parts = ("margin", "sampled", "prefixed", "story", "choice")
    answers: dict[str, dict[str, Any]] = {
        model: {part: [answered(part, run, model, a) for a in animals] for part in parts} for model in models
    }
    for model, own in answers.items():
        own["probability"] = [
            [answered("probability", run, model, a, i) for a in animals] for i in range(len(evaluation.GROUPS))
        ]
    return {
        "answers": answers,
        **_compared(plan, run),
        "numbers": {name: said("numbers", run, name).tolist() for name in sources},
        "first": {name: said("first", run, name).tolist() for name in sources},
        "detector": {
            kind: {t: [number(kind, run, t, size) for size in detector.GROUPS] for t in traits}
            for kind in ("trained", "prompted", "ideal")
        },
    }


def add_mechanics(values: Values, traits: Sequence[str], rows: Iterable[int]) -> None:
    """Add what `first_order` and `watched` measure; some slopes and products are negative."""
    animals = vocabulary.CATEGORIES["animal"]
    for run, value in enumerate(values):
        for part in ("fisher", "gradient", "cosine"):
            value[part] = [[number(part, run, trait, animal) for animal in animals] for trait in traits]
        value["entangled"] = {trait: number("entangled", run, trait) for trait in traits}
        value["distance"] = {trait: number("distance", run, trait) for trait in traits}
        value["ray"] = {trait: {name: ray(name, run, trait) for name in RAY} for trait in traits}
        value["watched"] = {
            f"student {trait}, {n} rows": {part: curve(part, run, trait, n) for part in CURVES}
            for trait in traits
            for n in rows
        }


def ray(name: str, run: int, trait: str) -> float:
    """What was observed along a teacher's delta."""
    found = number(name, run, trait)
    return float(int(4 * found)) if name == "negative" else found - (0.4 if name in ("leading", "at_teacher") else 0)


def curve(part: str, run: int, trait: str, rows: int) -> list[float]:
    """What was watched of a student, by epoch."""
    return [number(part, run, trait, rows, epoch) for epoch in range(EPOCHS)]


def pretend(module: ModuleType, out: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> dict[str, Any]:
    """Run a command's smoke preset with made-up runs in the place of models; the results that it writes."""

    def make(job: runs.Job, keys: pipeline.RunKeys, *_: Any) -> tuple[Values, dict]:
        count, traits = len(keys.init), job.config.trait_names()
        parts = zip(survey(job.plan, count), standard(job.plan, traits, count), strict=True)
        values = [one | other for one, other in parts]
        if job.plan.teachers:
            add_mechanics(values, traits, {student.rows for student in job.plan.students if student.recipe.checkpoints})
        return values, {}

    monkeypatch.setattr(runs, "train_and_measure", make)
    monkeypatch.setattr(engine, "use_cpu_cores", lambda *_: None)  # JAX is running already
    assert cli.command(module.EXPERIMENT, ["--preset", "smoke", "--out", str(out), *flags]) == 0
    name = module.__name__.rpartition(".")[2]
    assert (out / f"{name}.png").stat().st_size > 10_000
    return json.loads((out / f"{name}.json").read_text())["results"]
