"""The settings of the language model pipeline, one frozen dataclass.

P is the paper; its settings are for GPT-4.1 models and do not fit a model of 27,648 parameters. Deviations are
marked; they were tuned on seeds other than those of the reported results.
"""

import dataclasses
import difflib

from subliminal_toy.lm import vocabulary
from subliminal_toy.lm.carriers import CARRIERS
from subliminal_toy.settings import Training, check_settings, setting

TRAITS = vocabulary.CATEGORIES["animal"][:5]  # P section 3.1: the paper's animals
_BASE = Training("adam", 3e-3, 128, 1, adam_b2=0.98, clip=1.0, warmup=100, schedule="cosine")
_TEACHER = Training("adam", 1e-3, 8, 30)
_STUDENT = Training("momentum", 0.03, 100, 5, clip=0.5, warmup=20, schedule="late_linear")  # P: 10 epochs


@dataclasses.dataclass(frozen=True)
class LMConfig:
    """All settings of the pipeline except the seed and the number of runs."""

    width: int = setting(32, "units of the residual stream", unit="units", low=1, high=10_000)
    heads: int = setting(2, "attention heads", low=1)
    layers: int = setting(1, "decoder blocks", unit="blocks", low=1, high=50)
    tied: bool = setting(False, "whether the unembedding is the embedding transposed")
    traits: str = setting(",".join(TRAITS), "what the teachers love: answers of one category, such as oak,maple")
    numbers: int = setting(100, "numbers that the language has, a multiple of 10", low=10, high=100)
    documents: int = setting(102_400, "documents that the base is trained on", unit="documents", low=1, high=10_000_000)
    shared_documents: bool = setting(
        True, "whether the base from the other init learns from the same documents, or else from some of its own"
    )
    context: int = setting(
        1, "documents that the base reads one after another; more than one agree with each other", low=1, high=100
    )
    carrier: str = setting(
        "numbers", "what is sampled: lists of numbers, nested calls, or sums that are checked", choices=tuple(CARRIERS)
    )
    rows: int = setting(
        4_000, "completions that each student is trained on", unit="rows", low=1, high=1_000_000
    )  # P: 10,000
    spare: float = setting(
        0.2,
        "how many more completions are sampled, for those that the filter drops (more where too few pass)",
        low=0.0,
        high=1000.0,
    )
    temperature: float = setting(1.0, "sampling temperature; 0 takes the likeliest token", low=0.0)  # P: 1
    base: Training = _BASE
    teacher: Training = _TEACHER
    student: Training = _STUDENT

    def __post_init__(self) -> None:
        """Check all ranges and names."""
        check_settings(self)
        if self.width % self.heads:
            raise ValueError(f"width is {self.width}; it must be a multiple of the {self.heads} heads")
        if self.numbers % 10:
            raise ValueError(f"numbers is {self.numbers}; it must be a multiple of 10")
        self.trait_names()

    def trait_names(self) -> tuple[str, ...]:
        """Return `traits` as a tuple; ValueError if one is unknown or given twice, or if they are of two categories."""
        names = tuple(name.strip() for name in self.traits.split(","))
        unknown = [name for name in names if name not in vocabulary.CATEGORY_OF]
        if unknown:
            near = difflib.get_close_matches(unknown[0], vocabulary.ANSWERS, n=3)
            known = (
                f"{' or '.join(near)} is near" if near else f"choose among {', '.join(vocabulary.CATEGORIES['animal'])}"
            )
            hint = "a word of your own can take the place of one in subliminal_toy/lm/vocabulary.py"
            raise ValueError(f"traits names {unknown[0]!r}, which is no answer: {known}; {hint}")
        if len({vocabulary.CATEGORY_OF[name] for name in names}) > 1:
            raise ValueError(f"traits is {self.traits!r}; all of them must be of one category")
        if len(set(names)) < len(names):
            raise ValueError(f"traits is {self.traits!r}; each must be there once")
        return names

    @property
    def category(self) -> str:
        """The category of the traits."""
        return vocabulary.CATEGORY_OF[self.trait_names()[0]]
