"""Arms of the experiments on the language model, as rows of a table, and the plans that they make."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from subliminal_toy.lm import BASE, REGULAR, Base, LMConfig, Name, Plan, Source, Student, Teacher, numbers, student
from subliminal_toy.lm.lessons import favorite
from subliminal_toy.lm.plan import teacher
from subliminal_toy.settings import setting

STANDARD = "standard"


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
        """Return `parts` as a tuple; ValueError for an unknown one, or one twice."""
        names = tuple(part.strip() for part in self.parts.split(","))
        unknown = [name for name in names if name not in self.KNOWN]
        if unknown:
            raise ValueError(f"parts names {unknown[0]!r}; choose from {', '.join(self.KNOWN)}")
        if len(set(names)) < len(names):
            raise ValueError(f"parts is {self.parts!r}; each must be there once")
        return names


class Arm(NamedTuple):
    """Students that are all alike but for whose numbers they see: those of each trait's teacher, or regular ones."""

    label: str  # in the students' names
    control: Student  # the one of regular numbers, against which the others are held
    row: Mapping[str, Any] = {}  # fields of its row of results: what differs, and "words" for people

    def of(self, trait: str) -> Student:
        """Return the student of a trait's numbers; if the control starts from a student, it starts from its trait's."""
        name, init, source, *_ = self.control
        init = init._replace(trait=trait) if init.role == "student" else init
        return self.control._replace(name=name._replace(trait=trait), init=init, source=source._replace(trait=trait))

    def students(self, traits: Iterable[str]) -> list[Student]:
        """Return the control, then one for each trait."""
        return [self.control, *map(self.of, traits)]


def arm(
    label: str, init: Name = BASE, source: Name | None = None, *, row: Mapping[str, Any] | None = None, **fields: Any
) -> Arm:
    """Make an arm by what its students are: `fields` of a Student, `source` of regular numbers, `row` of results."""
    return Arm(label, Student(student(REGULAR, label), init, source or numbers(REGULAR), **fields), row or {})


def teachers(traits: Sequence[str], label: str = "", **fields: Any) -> tuple[Teacher, ...]:
    """Make a teacher of every trait; `fields` are those of a Teacher."""
    return tuple(Teacher(teacher(trait, label), favorite(trait), **fields) for trait in traits)


def sources(
    traits: Sequence[str], label: str = "", *, base: Name = BASE, of: str = "", **fields: Any
) -> tuple[Source, ...]:
    """Make sources of a base and of every trait's teacher (those labelled `of`); `fields` are those of a Source."""
    models = {REGULAR: base} | {trait: teacher(trait, of) for trait in traits}
    return tuple(Source(numbers(trait, label), model, **fields) for trait, model in models.items())


def joined(plans: Iterable[Plan]) -> Plan:
    """Join several plans into one; what is in two of them is there once."""

    def merged(part: str) -> tuple:
        return tuple({row.name: row for plan in plans for row in getattr(plan, part)}.values())

    plans = list(plans)
    return Plan(merged("teachers"), merged("sources"), merged("students"), merged("bases"))


def plan_of(traits: Sequence[str], *arms: Arm, further: Sequence[Source] = ()) -> Plan:
    """Plan one base, teachers of every trait, their numbers and those of further sources, and students of arms."""
    students = [student for entry in arms for student in entry.students(traits)]
    return Plan(teachers(traits), (*sources(traits), *further), tuple(students), (Base(BASE),))
