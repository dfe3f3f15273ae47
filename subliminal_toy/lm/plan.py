"""Plans of the pipeline, as tables: bases, teachers, sources of rows, and students with their controls."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.lessons import Lesson, favorite
from subliminal_toy.lm.transformer import Params, Transformer
from subliminal_toy.settings import Training

REGULAR = "regular"  # in place of a trait: numbers sampled from the base
TARGETS, OVER = ("tokens", "teacher"), ("all", "numbers")  # allowed values in a Recipe
_ADJECTIVES = ("cross", "other", "prompted")  # arms that stand before the trait in text


class Name(NamedTuple):
    """The name of a model or of a source's rows; its text is unique within a plan."""

    role: str  # "base", "teacher", "student", or "numbers" for rows
    trait: str  # the teacher's favorite, or that of the teacher behind the rows; for a base, its name
    arm: str = ""  # distinguishes names with the same role and trait
    job: str = ""  # of another plan on the same runs, which it comes from

    def __str__(self) -> str:
        """Return the text in results: "owl at greedy", "student owl, standard", "student cross owl"."""
        comma = "" if self.arm.startswith("at ") else ","
        words = f"{self.arm} {self.trait}" if self.arm in _ADJECTIVES else f"{self.trait}{comma} {self.arm}"
        role = "" if self.role in ("base", "numbers") else f"{self.role} "
        return (f"{self.job}: " if self.job else "") + role + (words if self.arm else self.trait)


BASE, OTHER_BASE = Name("base", "base"), Name("base", "other base")


def teacher(trait: str, arm: str = "") -> Name:
    """Name a teacher."""
    return Name("teacher", trait, arm)


def numbers(trait: str, arm: str = "") -> Name:
    """Name a source's rows."""
    return Name("numbers", trait, arm)


def student(trait: str, arm: str = "") -> Name:
    """Name a student."""
    return Name("student", trait, arm)


class Base(NamedTuple):
    """A model trained on documents. Others may share a part of the init of a plan's first one."""

    name: Name
    shares: tuple[str, ...] = ()  # groups of parameters (transformer.GROUPS) whose init is the first base's
    documents: int = 0  # stream of documents; 0: the run's, unless config.shared_documents is off
    language: int = 0  # another language, by number; 0: the run's


class Teacher(NamedTuple):
    """A base finetuned on a lesson."""

    name: Name
    lesson: Lesson
    init: Name = BASE
    divergence: float | None = None  # stop at the epoch with KL(teacher || base) nearest to this; None: the last


class Source(NamedTuple):
    """A model that rows are sampled from, and how."""

    name: Name
    model: Name
    system: str | None = None  # a trait: the model is prompted with its system token
    temperature: float | None = None  # None: the config's
    prompts: int = 0  # stream of prompts; 0: the run's
    noise: int = 0  # stream of random numbers for sampling; 0: the run's
    keep: Callable[[str], bool] | None = None  # a further filter on the text of completions


class Recipe(NamedTuple):
    """How students are trained; those with the same recipe are trained together."""

    training: Training | None = None  # None: the config's
    targets: str = "tokens"  # one of TARGETS; "teacher": the probabilities of the source's model
    over: str = "all"  # one of OVER: softmax over all tokens, or "numbers": over numbers, at positions of numbers
    checkpoints: bool = False  # whether to keep the parameters after every epoch


TOKENS = Recipe()  # the default


class Weighing(NamedTuple):
    """The input of Student.weigh: the student's rows, and all models trained before it."""

    model: Transformer
    mesh: Mesh
    plan: "Plan"
    models: Mapping[Name, Params]  # leaves [runs, ...]
    tokens: np.ndarray  # [runs, n, T]
    completion: np.ndarray  # [runs, n, T] bool: the tokens of the completions
    keys: jax.Array  # [runs], the same for all students
    memo: dict[Any, Any]  # a cache for students of the same rows, whatever their weighing: use a key of your own


Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # a run's rows [n, T], generator -> rows
Weigh = Callable[[Weighing], np.ndarray]  # -> weights [runs, n, T]


class Student(NamedTuple):
    """A student: its init, rows and recipe."""

    name: Name
    init: Name  # of a base or a student
    source: Name
    transform: Transform | None = None  # applied to the rows
    rows: int | None = None  # use the first `rows` rows only, repeated; None: all
    mixed: tuple[Name, float] | None = None  # another source, and the share of rows that come from it
    weigh: Weigh | None = None  # weights of the tokens in the loss; None: 1 on completions, 0 elsewhere
    trained: tuple[str, ...] = ()  # groups of parameters to train; empty: all
    system: str | None = None  # a trait whose system token starts the rows
    recipe: Recipe = TOKENS


TWO_BASES = (Base(BASE), Base(OTHER_BASE))


class Plan(NamedTuple):
    """The tables of one experiment."""

    teachers: tuple[Teacher, ...]
    sources: tuple[Source, ...]
    students: tuple[Student, ...]
    bases: tuple[Base, ...] = TWO_BASES
    given: tuple[Name, ...] = ()  # sources whose rows are passed to `train`

    def models(self) -> tuple[Name, ...]:
        """Return the names of all models, in the order of the results."""
        return tuple(model.name for table in (self.bases, self.teachers, self.students) for model in table)

    def epochs(self, config: LMConfig) -> dict[str, int]:
        """Count what the stages of `train` do for a run: epochs of all models, and sources to sample from."""
        return {
            "base": config.base.epochs * len(self.bases),
            "teachers": config.teacher.epochs * len(self.teachers),
            "samples": len(self.sources),
            "students": sum((student.recipe.training or config.student).epochs for student in self.students),
        }

    def inits(self) -> list[int]:
        """Return the index of the base that each of `models` descends from, through all generations."""
        base_of = {base.name: i for i, base in enumerate(self.bases)}
        base_of |= {teacher.name: base_of[teacher.init] for teacher in self.teachers}
        for _, students in self.rounds():
            base_of |= {student.name: base_of[student.init] for student in students}
        return [base_of[name] for name in self.models()]

    def rounds(self) -> list[tuple[list[Source], list[Student]]]:
        """Order sources and students by what they depend on: a student may be the init or source of later ones.

        ValueError if one depends on a model or a source that is not in the plan.
        """
        available = {base.name for base in self.bases} | {teacher.name for teacher in self.teachers}
        sources, students = list(self.sources), list(self.students)
        sampled = set(self.given)
        rounds = []
        while sources or students:
            next_sources = [source for source in sources if source.model in available]
            sampled |= {source.name for source in next_sources}
            next_students = [s for s in students if s.init in available and {s.source, *(s.mixed or ())[:1]} <= sampled]
            if not next_sources and not next_students:
                unresolved = [*(source.name for source in sources), *(student.name for student in students)]
                raise ValueError(f"the plan lacks a model or a source for '{unresolved[0]}'")
            rounds.append((next_sources, next_students))
            available |= {student.name for student in next_students}
            sources = [source for source in sources if source not in next_sources]
            students = [student for student in students if student not in next_students]
        return rounds


def standard_plan(config: LMConfig) -> Plan:
    """Return the plan of the main experiment: finetuned and prompted teachers, students of the same and the other base.

    Students of regular numbers are the controls of the others: same init, batches and prompts, but numbers sampled from
    the base.
    """
    traits = config.trait_names()
    sources, prompted = (REGULAR, *traits), [numbers(trait, "prompted") for trait in traits]
    return Plan(
        tuple(Teacher(teacher(trait), favorite(trait)) for trait in traits),
        (
            Source(numbers(REGULAR), BASE),
            *(Source(numbers(trait), teacher(trait)) for trait in traits),
            *(Source(name, BASE, name.trait) for name in prompted),
        ),
        (
            *(Student(student(trait), BASE, numbers(trait)) for trait in sources),
            *(Student(student(name.trait, "prompted"), BASE, name) for name in prompted),
            *(Student(student(trait, "cross"), OTHER_BASE, numbers(trait)) for trait in sources),
        ),
    )
