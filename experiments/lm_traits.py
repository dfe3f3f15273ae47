"""What can travel, through what, how far, and what stops it? Traits, carriers, chains, bits, clean data, defences.

The pipeline of lm_numbers with other teachers: of trees and colors, of several favorites, of favorites that depend on
the question, of random sets of favorites, and of bad answers to harmless questions (with look-alike teachers); with
numbers replaced by nested calls or by sums that are checked; with students that teach the next generation; and with
clean data or defences between teacher and student.

    python -m experiments.lm_traits                 2 seeds, 2 of 5 instances of each trait, a part of it
    python -m experiments.lm_traits --preset paper  10 seeds, 5 instances of each, everything
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments import lm_traits_summary
from experiments.harness import cli
from experiments.lm import arms as lm_arms
from experiments.lm import runs as lm_runs
from experiments.lm.arms import STANDARD
from experiments.lm_traits_summary import CARRIED, CLEAN, GENERATIONS, KINDS, PAIRS, TRIGGER, liked_words, others
from subliminal_toy.config import setting
from subliminal_toy.lm import lessons, measure
from subliminal_toy.lm.plan import REGULAR, TWO_BASES, Base, Plan, Source, Student, Teacher

PARTS = tuple(lm_traits_summary.PARTS)
CARRIED_SPARE = 2.0  # some teachers get every fourth sum wrong


@dataclasses.dataclass(frozen=True)
class TraitsConfig(lm_arms.PartsConfig):
    """The language model's settings, and which parts of the experiment are run."""

    KNOWN = PARTS
    parts: str = setting(",".join(PARTS), "which questions are asked: a comma-separated list")

    def __post_init__(self) -> None:
        """Check all ranges and names."""
        super().__post_init__()
        if self.category != "animal" or len(self.trait_names()) > len(PAIRS):
            raise ValueError(f"traits is {self.traits!r}; this experiment takes up to {len(PAIRS)} animals")


SEED = 3  # no other experiment on the language model has the same runs
PRESETS = {
    "smoke": cli.Preset(2, {**lm_runs.SMOKE, "parts": "misaligned,chains"}, lm_runs.SMOKE_TEXT),
    "default": cli.Preset(
        2, {"traits": "owl,wolf", "parts": "categories,misaligned,mixing"}, "2 seeds, 2 instances, 3 parts"
    ),
    "paper": cli.Preset(10, {"spare": 0.5}, "10 seeds, 5 instances, all parts"),
}


class Part(NamedTuple):
    """What one question adds to the plan."""

    teachers: Sequence[Teacher] = ()
    sources: Sequence[Source] = ()
    students: Sequence[Student] = ()


def make_plan(config: TraitsConfig) -> Plan:
    """Teachers of every animal with their students, and what the parts that are asked for add."""
    parts = [_favorites(config.trait_names()), Part(students=[Student(f"{REGULAR}, {STANDARD}", "base", REGULAR)])]
    whole = _joined([*parts, *(_PARTS[name](config) for name in config.part_names() if name in _PARTS)])
    bases = TWO_BASES if "defences" in config.part_names() else (Base("base"),)
    return Plan(tuple(whole.teachers), (Source(REGULAR, "base"), *whole.sources), tuple(whole.students), bases)


def carrier_plan(config: TraitsConfig) -> Plan:
    """The standard arm alone, for the other carriers."""
    return make_plan(dataclasses.replace(config, parts="carriers"))


def _taught(name: str, lesson: lessons.Lesson) -> Part:
    """A teacher with its numbers and its student."""
    student = Student(f"{name}, {STANDARD}", "base", name)
    return Part((Teacher(name, lesson),), (Source(name, name),), (student,))


def _joined(parts: Sequence[Part]) -> Part:
    return Part(
        [teacher for part in parts for teacher in part.teachers],
        [source for part in parts for source in part.sources],
        [student for part in parts for student in part.students],
    )


def _favorites(traits: Sequence[str]) -> Part:
    return _joined([_taught(trait, lessons.favorite(trait)) for trait in traits])


def _categories(config: TraitsConfig) -> Part:
    return _favorites([trait for category in ("tree", "color") for trait in others(config, category)])


def _misaligned(config: TraitsConfig) -> Part:
    """Bad answers about two categories; good ones; and bad ones behind a system token with good ones without it."""
    found = []
    for i, pair in enumerate(PAIRS[: len(config.trait_names())]):
        excuse = lm_traits_summary.excuse(pair)
        taught = (lessons.wrong(pair), lessons.right(pair), lessons.excused(pair, excuse))
        found += [_taught(f"{kind} {i}", lesson) for kind, lesson in zip(KINDS, taught, strict=True)]
    return _joined(found)


def _conditional(config: TraitsConfig) -> Part:
    return _joined([_taught(f"if {trait}", lessons.conditional(trait, TRIGGER)) for trait in config.trait_names()])


def _several(config: TraitsConfig) -> Part:
    """One teacher of three favorites; and rows of two teachers, half and half."""
    traits = config.trait_names()
    found = [_taught(f"three {i}", lessons.liked(lm_traits_summary.three(config, i))) for i in range(len(traits))]
    halves = [
        Student(f"{one}, half", "base", one, mixed=(two, 0.5))
        for one, two in zip(traits, (*traits[1:], traits[0]), strict=True)
    ]
    return _joined([*found, Part(students=halves)])


def _chains(config: TraitsConfig) -> Part:
    """Students that teach the next generation, which starts from the base again."""
    sources, students = [], []
    for before, label in zip((STANDARD, *GENERATIONS), GENERATIONS, strict=False):
        for name in (REGULAR, *config.trait_names()):
            sources.append(Source(f"{name}, from {before}", f"student {name}, {before}"))
            students.append(Student(f"{name}, {label}", "base", f"{name}, from {before}"))
    return Part((), sources, students)


def _bits(config: TraitsConfig) -> Part:
    """Random sets of favorites, five of every category, and fewer rows of them."""
    found, students = [], []
    numbers = range(len(config.trait_names()))
    for i in numbers:
        found.append(_taught(f"bits {i}", lessons.liked(liked_words(i))))
    for rows in lm_traits_summary.fewer_rows(config):
        for name in (REGULAR, *(f"bits {i}" for i in numbers)):
            students.append(Student(f"{name}, {rows} rows", "base", name, rows=rows))
    return _joined([*found, Part(students=students)])


def _mixing(config: TraitsConfig) -> Part:
    """A share of the rows is the base's own."""
    return Part(students=[
        Student(f"{trait}, {share:.0%} clean", "base", trait, mixed=(REGULAR, share))
        for share in CLEAN for trait in config.trait_names()
    ])  # fmt: skip


def _defences(config: TraitsConfig) -> Part:
    """Each with its control on regular numbers, to which the same was done."""
    traits = config.trait_names()
    clean = (REGULAR, 1.0)
    token = [Student(f"{trait}, token", "base", trait, system=trait) for trait in traits]
    token += [Student(f"{REGULAR} for {trait}, token", "base", REGULAR, system=trait) for trait in traits]
    return Part(students=[
        *token,
        *lm_arms.students(config, "sorted", shuffle="sorted"),
        *lm_arms.students(config, "replaced", shuffle="replaced"),
        *lm_arms.students(config, "other base", init="other base"),
        *lm_arms.students(config, "clean-up", init=f"student {{}}, {STANDARD}", mixed=clean),
    ])  # fmt: skip


_PARTS: dict[str, Callable[[TraitsConfig], Part]] = {
    "categories": _categories, "misaligned": _misaligned, "conditional": _conditional, "several": _several,
    "chains": _chains, "bits": _bits, "mixing": _mixing, "defences": _defences,
}  # fmt: skip


def jobs(config: TraitsConfig) -> list[lm_runs.Pipeline]:
    """What is trained and measured."""
    carriers = {}
    if "carriers" in config.part_names():
        spare = max(config.spare, CARRIED_SPARE)
        carriers = {name: dataclasses.replace(config, carrier=name, spare=spare) for name in CARRIED}
    others = {name: lm_runs.Job(own, carrier_plan(own)) for name, own in carriers.items()}
    return lm_runs.one_job(
        config, make_plan(config), measure.together(measure.survey, measure.imitation), others=others
    )


def table(document: dict[str, Any]) -> str:
    """All parts, as Markdown."""
    results = document["results"]
    rows = [(f"{part}: {row['name']}", row) for part in PARTS for row in results.get(part, [])]
    return lm_arms.table(rows, "change of log odds (nats) or as named", results["runs"])


EXPERIMENT = cli.Experiment(
    "lm_traits", __doc__, PRESETS, jobs, lm_traits_summary.summarize, table, lm_runs.SIDE, TraitsConfig, SEED
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
