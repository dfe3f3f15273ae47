"""What a run of the pipeline does, as tables: teachers, whose numbers are sampled, and students with their controls."""

from typing import NamedTuple

from subliminal_toy.config import Training
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.lessons import Lesson, favorite

BASES = ("base", "other base")  # two independent inits, each trained on the language
REGULAR = "regular"  # the source of the base's own rows
STUDENT = "student "  # how a student is called where it is an init or a source


class Base(NamedTuple):
    """A model that learns the language. The first of a plan is the one that the others may share a part of."""

    name: str
    shares: tuple[str, ...] = ()  # groups of parameters (transformer.GROUPS) whose init is the first base's
    documents: int = 0  # 0: the run's, which the config may say are each base's own; others: its own, by number
    language: int = 0  # 0: the run's; others: of its own, by number


class Teacher(NamedTuple):
    """A base finetuned on a lesson."""

    name: str
    lesson: Lesson
    init: str = "base"  # a base
    divergence: float | None = None  # taken where KL(teacher || base) is nearest to this; None: after the last step


class Source(NamedTuple):
    """Where numbers come from."""

    name: str
    model: str  # a base, a teacher's name, or "student <name>"
    system: str | None = None  # a trait: the model is prompted with its system token
    temperature: float | None = None  # None: the config's
    prompts: int = 0  # 0: the run's; others: of its own, by number
    noise: int = 0  # random numbers of the sampling, likewise


class Recipe(NamedTuple):
    """How students learn; those with the same recipe are trained together."""

    training: Training | None = None  # None: the config's
    targets: str = "tokens"  # or "teacher": the probabilities of the source's model
    over: str = "all"  # the softmax over all tokens, or "numbers": over these alone, where they stand
    watched: bool = False  # its parameters are kept after every epoch


class Student(NamedTuple):
    """One kind of student."""

    name: str
    init: str  # a base, or "student <name>"
    source: str
    shuffle: str = "none"  # one of shuffles.SHUFFLES, done to its numbers
    rows: int | None = None  # only the first so many rows, repeated; None is all
    mixed: tuple[str, float] | None = None  # another source, and the share of rows that come from it
    counted: str = "all"  # one of divergence.COUNTED: which tokens have a say in the loss
    trained: tuple[str, ...] = ()  # the groups of parameters that learn; none named: all
    system: str | None = None  # a trait whose system token its rows start with
    recipe: Recipe = Recipe()


TWO_BASES = (Base(BASES[0]), Base(BASES[1]))


class Plan(NamedTuple):
    """The tables of one experiment."""

    teachers: tuple[Teacher, ...]
    sources: tuple[Source, ...]
    students: tuple[Student, ...]
    bases: tuple[Base, ...] = TWO_BASES
    given: tuple[str, ...] = ()  # names of sources whose rows come from outside

    def models(self) -> tuple[str, ...]:
        """Names of all trained models, in the order of the results."""
        return (
            *(base.name for base in self.bases),
            *(f"teacher {teacher.name}" for teacher in self.teachers),
            *(STUDENT + student.name for student in self.students),
        )

    def source_model(self, source: Source) -> str:
        """The name in `models` of a source's model."""
        return f"teacher {source.model}" if source.model in [t.name for t in self.teachers] else source.model

    def inits(self) -> list[int]:
        """Which base each of `models` comes from, through all generations."""
        bases = {base.name: i for i, base in enumerate(self.bases)}
        found = dict(bases)
        found |= {f"teacher {teacher.name}": bases[teacher.init] for teacher in self.teachers}
        for _, students in self.rounds():
            found |= {STUDENT + student.name: found[student.init] for student in students}
        return [found[name] for name in self.models()]

    def rounds(self) -> list[tuple[list[Source], list[Student]]]:
        """Sources and students in an order in which each finds what it needs: a student may be a later one's source.

        Raises ValueError if one needs what the plan does not have.
        """
        have = set(self.models()) - {STUDENT + student.name for student in self.students}
        sources, students = list(self.sources), list(self.students)
        ready = set(self.given)
        found = []
        while sources or students:
            now = [source for source in sources if self.source_model(source) in have]
            ready |= {source.name for source in now}
            able = [s for s in students if s.init in have and {s.source, *(s.mixed or ())[:1]} <= ready]
            if not now and not able:
                lacking = [*(source.name for source in sources), *(student.name for student in students)]
                raise ValueError(f"the plan lacks a model or a source for {lacking[0]!r}")
            found.append((now, able))
            have |= {STUDENT + student.name for student in able}
            sources = [source for source in sources if source not in now]
            students = [student for student in students if student not in able]
        return found


def standard_plan(config: LMConfig) -> Plan:
    """Finetuned and prompted teachers of each trait; students from the teachers' base, and from the other one.

    The students "regular" and "cross regular" are the controls of the others: same init, batches and prompts, but the
    base's own numbers.
    """
    traits = config.trait_names()
    prompted = [f"prompted {trait}" for trait in traits]
    return Plan(
        tuple(Teacher(trait, favorite(trait)) for trait in traits),
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
