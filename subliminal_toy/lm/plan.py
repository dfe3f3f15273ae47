"""What a run of the pipeline does, as tables: teachers, whose numbers are sampled, and students with their controls."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.lessons import Lesson, favorite
from subliminal_toy.lm.transformer import Params, Transformer
from subliminal_toy.settings import Training

REGULAR = "regular"  # in the place of a trait: the numbers are the base's own
TARGETS, OVER = ("tokens", "teacher"), ("all", "numbers")  # of a Recipe
_ADJECTIVES = ("cross", "other", "prompted")  # arms that are said before the trait


class Name(NamedTuple):
    """What a model is called, or the rows of a source. The text of it is for people, and no two in a plan are alike."""

    role: str  # "base", "teacher", "student", or "numbers" for rows
    trait: str  # what a teacher loves, and whose numbers a student sees; a base has a name of its own
    arm: str = ""  # which of several with the same role and trait
    job: str = ""  # another plan on the same runs that it comes from

    def __str__(self) -> str:
        """As in results: "owl at greedy", "student owl, standard", "student cross owl"."""
        comma = "" if self.arm.startswith("at ") else ","
        words = f"{self.arm} {self.trait}" if self.arm in _ADJECTIVES else f"{self.trait}{comma} {self.arm}"
        role = "" if self.role in ("base", "numbers") else f"{self.role} "
        return (f"{self.job}: " if self.job else "") + role + (words if self.arm else self.trait)


BASE, OTHER_BASE = Name("base", "base"), Name("base", "other base")


def teacher(trait: str, arm: str = "") -> Name:
    """The name of a teacher."""
    return Name("teacher", trait, arm)


def numbers(trait: str, arm: str = "") -> Name:
    """The name of a source's rows."""
    return Name("numbers", trait, arm)


def student(trait: str, arm: str = "") -> Name:
    """The name of a student."""
    return Name("student", trait, arm)


class Base(NamedTuple):
    """A model that learns the language. The first of a plan is the one that the others may share a part of."""

    name: Name
    shares: tuple[str, ...] = ()  # groups of parameters (transformer.GROUPS) whose init is the first base's
    documents: int = 0  # 0: the run's, which the config may say are each base's own; others: its own, by number
    language: int = 0  # 0: the run's; others: of its own, by number


class Teacher(NamedTuple):
    """A base finetuned on a lesson."""

    name: Name
    lesson: Lesson
    init: Name = BASE
    divergence: float | None = None  # taken where KL(teacher || base) is nearest to this; None: after the last step


class Source(NamedTuple):
    """Where numbers come from."""

    name: Name
    model: Name
    system: str | None = None  # a trait: the model is prompted with its system token
    temperature: float | None = None  # None: the config's
    prompts: int = 0  # 0: the run's; others: of its own, by number
    noise: int = 0  # random numbers of the sampling, likewise
    keep: Callable[[str], bool] | None = None  # a filter of its own, on completions that pass the carrier's, as text


class Recipe(NamedTuple):
    """How students learn; those with the same recipe are trained together."""

    training: Training | None = None  # None: the config's
    targets: str = "tokens"  # one of TARGETS; "teacher": the probabilities of the source's model
    over: str = "all"  # one of OVER: the softmax over all tokens, or "numbers": over these alone, where they stand
    watched: bool = False  # its parameters are kept after every epoch


TOKENS = Recipe()  # the usual one


class Weighing(NamedTuple):
    """What a student's tokens may be weighed by: its rows, and all models that are trained before it."""

    model: Transformer
    mesh: Mesh
    plan: "Plan"
    models: Mapping[Name, Params]  # [runs, ...] each
    tokens: np.ndarray  # [runs, n, T]
    completion: np.ndarray  # [runs, n, T] bool: the tokens of the completions
    keys: jax.Array  # [runs], the same for all students
    memo: dict[Any, Any]  # for results that students of the same rows share


Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # rows of a run [n, T], random numbers -> rows
Weigh = Callable[[Weighing], np.ndarray]  # -> weights [runs, n, T]


class Student(NamedTuple):
    """One kind of student."""

    name: Name
    init: Name  # a base or a student
    source: Name
    transform: Transform | None = None  # what is done to its rows
    rows: int | None = None  # only the first so many rows, repeated; None is all
    mixed: tuple[Name, float] | None = None  # another source, and the share of rows that come from it
    weigh: Weigh | None = None  # which tokens of its rows enter the loss; None: all of the completions'
    trained: tuple[str, ...] = ()  # the groups of parameters that learn; none named: all
    system: str | None = None  # a trait whose system token its rows start with
    recipe: Recipe = TOKENS


TWO_BASES = (Base(BASE), Base(OTHER_BASE))


class Plan(NamedTuple):
    """The tables of one experiment."""

    teachers: tuple[Teacher, ...]
    sources: tuple[Source, ...]
    students: tuple[Student, ...]
    bases: tuple[Base, ...] = TWO_BASES
    given: tuple[Name, ...] = ()  # sources whose rows come from outside

    def models(self) -> tuple[Name, ...]:
        """Names of all trained models, in the order of the results."""
        own = ([model.name for model in models] for models in (self.bases, self.teachers, self.students))
        return tuple(name for names in own for name in names)

    def inits(self) -> list[int]:
        """Which base each of `models` comes from, through all generations."""
        found = {base.name: i for i, base in enumerate(self.bases)}
        found |= {teacher.name: found[teacher.init] for teacher in self.teachers}
        for _, students in self.rounds():
            found |= {student.name: found[student.init] for student in students}
        return [found[name] for name in self.models()]

    def rounds(self) -> list[tuple[list[Source], list[Student]]]:
        """Sources and students in an order in which each finds what it needs: a student may be a later one's source.

        Raises ValueError if one needs what the plan does not have.
        """
        have = {base.name for base in self.bases} | {teacher.name for teacher in self.teachers}
        sources, students = list(self.sources), list(self.students)
        ready = set(self.given)
        found = []
        while sources or students:
            now = [source for source in sources if source.model in have]
            ready |= {source.name for source in now}
            able = [s for s in students if s.init in have and {s.source, *(s.mixed or ())[:1]} <= ready]
            if not now and not able:
                lacking = [*(source.name for source in sources), *(student.name for student in students)]
                raise ValueError(f"the plan lacks a model or a source for '{lacking[0]}'")
            found.append((now, able))
            have |= {student.name for student in able}
            sources = [source for source in sources if source not in now]
            students = [student for student in students if student not in able]
        return found


def standard_plan(config: LMConfig) -> Plan:
    """Finetuned and prompted teachers of each trait; students from the teachers' base, and from the other one.

    The students of regular numbers are the controls of the others: same init, batches and prompts, but the base's own
    numbers.
    """
    traits = config.trait_names()
    own, prompted = (REGULAR, *traits), [numbers(trait, "prompted") for trait in traits]
    return Plan(
        tuple(Teacher(teacher(trait), favorite(trait)) for trait in traits),
        (
            Source(numbers(REGULAR), BASE),
            *(Source(numbers(trait), teacher(trait)) for trait in traits),
            *(Source(name, BASE, name.trait) for name in prompted),
        ),
        (
            *(Student(student(trait), BASE, numbers(trait)) for trait in own),
            *(Student(student(name.trait, "prompted"), BASE, name) for name in prompted),
            *(Student(student(trait, "cross"), OTHER_BASE, numbers(trait)) for trait in own),
        ),
    )
