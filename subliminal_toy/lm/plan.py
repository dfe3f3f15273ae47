"""What a run of the pipeline does, as tables: teachers, whose numbers are sampled, and students with their controls."""

from typing import NamedTuple

from subliminal_toy.lm.config import LMConfig

BASES = ("base", "other base")  # two independent inits, each trained on the language


class Teacher(NamedTuple):
    """A base finetuned to answer with a trait."""

    name: str
    trait: str
    init: str = "base"  # one of BASES


class Source(NamedTuple):
    """Where numbers come from."""

    name: str
    model: str  # one of BASES or a teacher's name
    system: str | None = None  # a trait: the model is prompted with its system token


class Student(NamedTuple):
    """One kind of student."""

    name: str
    init: str  # one of BASES
    source: str
    shuffle: str = "none"  # one of shuffles.SHUFFLES, done to its numbers
    rows: int | None = None  # only the first so many rows, repeated; None is all


class Plan(NamedTuple):
    """The tables of one experiment."""

    teachers: tuple[Teacher, ...]
    sources: tuple[Source, ...]
    students: tuple[Student, ...]

    def models(self) -> tuple[str, ...]:
        """Names of all trained models, in the order of the results."""
        return (*BASES, *(f"teacher {t.name}" for t in self.teachers), *(f"student {s.name}" for s in self.students))

    def inits(self) -> list[int]:
        """Which base each of `models` started from."""
        inits = [*(teacher.init for teacher in self.teachers), *(student.init for student in self.students)]
        return [0, 1, *(BASES.index(init) for init in inits)]


def standard_plan(config: LMConfig) -> Plan:
    """Finetuned and prompted teachers of each trait; students from the teachers' base, and from the other one.

    The students "regular" and "cross regular" are the controls of the others: same init, batches and prompts, but the
    base's own numbers.
    """
    traits = config.trait_names()
    prompted = [f"prompted {trait}" for trait in traits]
    return Plan(
        tuple(Teacher(trait, trait) for trait in traits),
        (
            Source("regular", "base"),
            *(Source(trait, trait) for trait in traits),
            *(Source(name, "base", trait) for name, trait in zip(prompted, traits, strict=True)),
        ),
        (
            *(Student(name, "base", name) for name in ("regular", *traits, *prompted)),
            *(Student(f"cross {name}", "other base", name) for name in ("regular", *traits)),
        ),
    )
