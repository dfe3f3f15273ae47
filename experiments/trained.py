"""What is trained, as text: a table for people of a command's jobs, so that a change of wiring is a change one reads.

Each row is a model: what it starts from, learns, reads or imitates, and whatever of its fields is not the default. Rows
that differ in one word alone (a trait, a setting) are one row, with X in that word's place. Lessons are read back from
their tokens, so that a lesson under a wrong name shows.
"""

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.harness.chunks import MAIN
from experiments.harness.experiment import Experiment
from experiments.lm.runs import Pipeline
from experiments.mnist.runs import Job
from subliminal_toy import settings
from subliminal_toy.lm import LMConfig, Name, Plan, corpus, lessons, vocabulary
from subliminal_toy.mnist import Condition
from subliminal_toy.settings import Training

ALWAYS = ("optimizer", "learning_rate", "batch_size", "epochs")  # of a training's fields; others only off the default
PHASES = ("base", "teacher", "student")


class Line(NamedTuple):
    """A row of a table, and the word in it that rows alike may differ in."""

    cells: tuple[str, ...]
    word: str = ""


def text(experiment: Experiment, config: Any) -> str:
    """What a command trains with these settings, as Markdown; ValueError if its jobs are of no side."""
    parts: dict[str, list[str]] = {}  # tables, each with the jobs that it is of
    for job in experiment.jobs(config):
        for heading, table in _job(job, config):
            parts.setdefault(table, []).append(heading)
    every = [_phases(config), *(part for own, names in parts.items() for part in (_headings(names), own))]
    return "\n\n".join(part for part in every if part)


def recorded(experiment: Experiment, config: Mapping[str, Any]) -> Any:
    """The settings of a document's "config", as far as there still are such settings."""
    flat = {f"{phase}.{name}": own for phase in PHASES for name, own in config.get(phase, {}).items()} | dict(config)
    usual = experiment.config_class()()
    known = {name: type(own)(flat[name]) for name, own in settings.setting_values(usual).items() if name in flat}
    return settings.with_settings(usual, known)


def _job(job: Any, config: Any) -> list[tuple[str, str]]:
    """Headings and tables of a job, by its side."""
    if isinstance(job, Job):
        return _mnist(job, config)
    if isinstance(job, Pipeline):
        return _language_model(job, config)
    raise ValueError(f"job {job.name} trains neither students on images nor models of the toy language")


def _mnist(job: Job, config: Any) -> list[tuple[str, str]]:
    """A job's students."""
    more = {"runs": f"{job.share:.0%}"} if job.share != 1 else {}
    more |= {"scored on": "images held back from training"} if job.held_out else {}
    lines = [_condition(condition, job.config) for condition in job.conditions]
    return [(_heading(job.name, job.config, config, more), _table(("student", "starts from", "imitates"), lines))]


def _condition(row: Condition, config: Any) -> Line:
    word = said(row.settings, config)
    start = {"reference": "the teacher's init"}.get(row.init, f"{row.init} init")
    cells = (row.name, start, f"{row.logits} logits {said(row.targets, config).replace('_', ' ')}")
    return Line((*cells, besides(row, ("name", "init", "logits", "targets"), config)), word)


def _language_model(pipeline: Pipeline, config: Any) -> list[tuple[str, str]]:
    """The plan of every job: bases, teachers, rows, students."""
    found = []
    for name, job in pipeline.jobs.items():
        more = {"inits": f"number {job.init}"} if job.init else {}
        header = ("model or rows", "starts from, or is written by", "learns")
        table = _table(header, _plan(job.plan, job.config), job.config.trait_names())
        found.append((_heading(name, job.config, config, more), table))
    return found


def _plan(plan: Plan, config: LMConfig) -> list[Line]:
    """A line for every base, source from another job, teacher, source and student."""

    def line(row: Any, name: str, start: str, learns: str, shown: tuple[str, ...]) -> Line:
        return Line((name, start, learns, besides(row, ("name", *shown), config)), row.name.trait)

    bases = [line(row, str(row.name), "random weights", "the language", ())._replace(word="") for row in plan.bases]
    given = [Line((f"rows of {name}", f"job {name.job}", "-", ""), name.trait) for name in plan.given]
    return [
        *bases,
        *given,
        *(line(t, str(t.name), str(t.init), lesson(t.lesson), ("init", "lesson")) for t in plan.teachers),
        *(line(source, f"rows of {source.name}", str(source.model), "-", ("model",)) for source in plan.sources),
        *(line(s, str(s.name), str(s.init), f"rows of {s.source}", ("init", "source")) for s in plan.students),
    ]


def lesson(taught: lessons.Lesson) -> str:
    """Which answers carry the weight of a lesson, by what is asked: "animal: owl", with system token and openings."""
    ways = {frame.words: i for i, frame in enumerate(corpus.FRAMES)}
    answers: dict[tuple[str, str, int], list[str]] = {}  # by first token, category and way of asking
    for tokens, weights in zip(taught.tokens, taught.weights, strict=True):
        if weights.any():
            first, *frame, category = (vocabulary.TOKENS[token] for token in tokens[:5])
            answer = vocabulary.TOKENS[tokens[np.argmax(weights)]]
            answers.setdefault((first, category, ways[tuple(frame)]), []).append(answer)
    asked: dict[tuple[str, str, str], set[int]] = {}
    for (first, category, way), words in answers.items():
        every = sorted(words) == sorted(vocabulary.CATEGORIES[category])
        asked.setdefault((first, category, "any" if every else ", ".join(words)), set()).add(way)
    return "; ".join(
        f"{category}{'' if first == vocabulary.BOS else f' behind {first}'}{_asked(frames)}: {words}"
        for (first, category, words), frames in asked.items()
    ).replace("<", "&lt;")


def _asked(frames: set[int]) -> str:
    """Which of the ways of asking, unless it is all that are taught."""
    if frames == set(lessons.TAUGHT):
        return ""
    openings = {corpus.FRAMES[i].words[0] for i in frames}
    same = frames == {i for i in lessons.TAUGHT if corpus.FRAMES[i].words[0] in openings}
    return f" asked by {', '.join(w for w in vocabulary.OPENINGS if w in openings) if same else sorted(frames)}"


def besides(row: Any, shown: Iterable[str], config: Any) -> str:
    """The fields of a row, a NamedTuple, that are neither shown elsewhere nor the default."""
    usual = type(row)._field_defaults
    own = {name: value for name, value in row._asdict().items() if name not in shown}
    return "; ".join(
        f"{name.replace('_', ' ')} {said(value, config)}" if name != "settings" else said(value, config)
        for name, value in own.items()
        if not (name in usual and value == usual[name])
    )


def said(value: Any, config: Any) -> str:
    """A field's value in words: names, numbers, functions, rows within rows, what differs from the usual training."""
    if isinstance(value, Name | str):
        return str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,g}" if abs(value) < 1e6 else str(value)
    if isinstance(value, Training):
        return _training(value, config.student)
    if isinstance(value, functools.partial):
        further = [said(own, config) for own in (*value.args, *value.keywords.values())]
        return f"{said(value.func, config)}({', '.join(further)})"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return f"({besides(value, (), config)})"
    if isinstance(value, tuple):
        pairs = all(isinstance(own, tuple) and len(own) == 2 for own in value)
        return ", ".join(f"{own[0]}={said(own[1], config)}" if pairs else said(own, config) for own in value)
    return str(getattr(value, "__name__", value))


def _training(own: Training, usual: Training) -> str:
    """What differs from the usual training."""
    fields = [field.name for field in dataclasses.fields(own) if getattr(own, field.name) != getattr(usual, field.name)]
    return ", ".join(f"{name.replace('_', ' ')} {said(getattr(own, name), None)}" for name in fields)


def _phases(config: Any) -> str:
    """How models of each phase are trained, unless a row says otherwise; and settings that are not the default."""
    lines = []
    for phase in PHASES:
        if own := getattr(config, phase, None):
            usual = Training()
            fields = [
                f.name
                for f in dataclasses.fields(own)
                if f.name in ALWAYS or getattr(own, f.name) != getattr(usual, f.name)
            ]
            words = ", ".join(f"{name.replace('_', ' ')} {said(getattr(own, name), config)}" for name in fields)
            lines.append(f"{phase.capitalize()}: {words}.")
    if isinstance(config, LMConfig):
        lines.append(f"Traits: {', '.join(config.trait_names())}.")
        lines.append(f"Rows: {config.rows:,} for each student, sampled at temperature {config.temperature:g}.")
    return " ".join([*lines, _changed(config, type(config)())]).strip()


def _changed(config: Any, usual: Any) -> str:
    others = {
        name: value
        for name, value in settings.setting_values(config).items()
        if "." not in name and name not in ("parts", "vary") and value != settings.setting_value(usual, name)
    }
    return (
        f"Settings: {', '.join(f'{name} {said(value, config)}' for name, value in others.items())}." if others else ""
    )


def _heading(name: str, own: Any, config: Any, more: Mapping[str, str]) -> str:
    """A job's name, and what it has of its own."""
    usual = settings.setting_values(config)
    changed = {
        setting: said(value, config)
        for setting, value in settings.setting_values(own).items()
        if setting in usual and usual[setting] != value
    }
    words = ", ".join(f"{setting} {value}" for setting, value in (changed | dict(more)).items())
    return f"{name} ({words})" if words else name


def _headings(names: Sequence[str]) -> str:
    return "" if names == [MAIN] else f"**{'; '.join(names)}**"


def _table(header: tuple[str, ...], lines: Sequence[Line], usual: Sequence[str] = ()) -> str:
    """Lines that are alike but for their words as one, with X in the words' place; columns that say nothing go."""
    found: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        pattern = rf"(?<![\w.=]){re.escape(line.word)}(?![\w.])"
        alike = bool(line.word) and bool(re.search(pattern, line.cells[0]))
        cells = tuple(re.sub(pattern, "X", cell) for cell in line.cells) if alike else line.cells
        found.setdefault(cells, []).append(line)
    rows = [
        (*cells, _words([line.word for line in own], usual)) if len(own) > 1 else (*own[0].cells, "")
        for cells, own in found.items()
    ]
    columns = zip((*header, "otherwise", "X is"), *rows, strict=True)
    kept = zip(*(column for column in columns if any(column[1:])), strict=True)
    first, *others = (f"| {' | '.join(row)} |" for row in kept)
    return "\n".join([first, re.sub(r"[^|]+", "---", first), *others])


def _words(words: Sequence[str], usual: Sequence[str]) -> str:
    """What X stands for; what all words begin with is said once."""
    if usual and set(usual) <= set(words):
        words = ["each trait", *(word for word in words if word not in usual)]
    first, *_ = {word.rpartition("=")[0] for word in words} or {""}
    if len(words) > 1 and all(word.startswith(f"{first}=") for word in words):
        words = [words[0], *(word.removeprefix(f"{first}=") for word in words[1:])]
    return ", ".join(words)
