"""The arms, as rows of data: whose lists a student sees, and how it learns them."""

from collections.abc import Sequence
from typing import NamedTuple

from subliminal_toy.pretrained.questions import PIANO

BASE = ""  # in the place of a trait: the base's own lists
MAIN = "main"


class Source(NamedTuple):
    """Who writes lists, and how."""

    trait: str = BASE
    taught: int = 0  # steps in which its teacher is finetuned; 0 in an arm: the config's
    prompted: bool = False  # the base, told in a system prompt what it loves, in place of a finetuned teacher
    greedy: bool = False  # always the likeliest digit

    def of(self, trait: str, taught: int) -> "Source":
        """The same with a trait, taught for so many steps unless it says how many; BASE has no teacher or prompt."""
        if trait == BASE:
            return self._replace(trait=BASE, taught=0, prompted=False)
        return self._replace(trait=trait, taught=0 if self.prompted else self.taught or taught)

    @property
    def teacher(self) -> tuple[str, int]:
        """Which model writes: a trait and how long it was taught it; ("", 0) is the base."""
        return (self.trait, self.taught) if self.taught else (BASE, 0)


class Arm(NamedTuple):
    """Students that are alike but for whose lists they see."""

    part: str
    words: str
    source: Source = Source()
    shuffle: str = "none"  # or "within" every list, "across" all lists: the numbers change places
    updates: int = 0  # 0: as many as the config says
    rank: int = 0  # of the adapter; 0: the config's
    soft: bool = False  # learns its source's probabilities of the ten digits, not the digits drawn
    noise: float = 0.0  # how far from the base it starts: std of what is added, in units of each matrix's own std
    control: str = BASE  # whose lists its control student sees


class Student(NamedTuple):
    """An arm's student of one source's lists, with the config's numbers filled in."""

    source: Source
    shuffle: str
    updates: int
    rank: int
    soft: bool
    noise: float

    @property
    def trait(self) -> str:
        """What its lists' writer loves."""
        return self.source.trait


ARMS = (
    Arm(MAIN, "lists of a teacher"),
    Arm(PIANO, "lists of a teacher, against lists of a teacher of 'piano'", control=PIANO),
    Arm("shuffled", "numbers shuffled within each list", shuffle="within"),
    Arm("shuffled", "numbers shuffled across all lists", shuffle="across"),
    Arm("greedy", "greedy lists", Source(greedy=True)),
    Arm("prompted", "lists of the base with a system prompt", Source(prompted=True)),
    Arm("soft", "the teacher's probabilities of the digits", soft=True),
    Arm("doses", "256 updates", updates=256),
    *(Arm("taught", f"teacher taught for {steps} steps", Source(taught=steps)) for steps in (6, 12, 48)),
    *(Arm("ranks", f"adapters of rank {rank}", rank=rank) for rank in (1, 2, 32)),
    *(Arm("noised", f"student's start noised by {noise:g}", noise=noise) for noise in (0.003, 0.01, 0.03, 0.1)),
)
PARTS = tuple(dict.fromkeys(arm.part for arm in ARMS))


def chosen(parts: Sequence[str]) -> list[Arm]:
    """The arms of some parts, the main one first."""
    return [arm for arm in ARMS if arm.part in parts]


def student(arm: Arm, trait: str, *, taught: int, updates: int, rank: int) -> Student:
    """An arm's student of a trait's lists (BASE: its control)."""
    source = arm.source.of(trait, taught)
    return Student(source, arm.shuffle, arm.updates or updates, arm.rank or rank, arm.soft, arm.noise)
