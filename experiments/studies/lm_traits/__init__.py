"""What can travel, through what, how far, and what stops it? Traits, carriers, chains, bits, clean data, defences.

The pipeline of lm_numbers with other teachers: of trees and colors, of several favorites, of favorites that depend on
the question, of random sets of favorites, and of bad answers to harmless questions (with look-alike teachers); with
numbers replaced by nested calls or by sums that are checked; with students that teach the next generation; and with
clean data or defences between teacher and student.

    python -m experiments.studies.lm_traits
    python -m experiments.studies.lm_traits --preset paper
    python -m experiments.studies.lm_traits --parts chains
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.harness import cli
from experiments.lm import contrasts
from experiments.lm.arms import STANDARD, PartsConfig, arm, joined, plan_of
from experiments.lm.contrasts import EACH, Row, Values, filter_row, filter_rows, gains, mean_of, row
from experiments.lm.runs import MAIN, SIDE, SMOKE, SMOKE_TEXT, TWO, Job, Pipeline
from experiments.lm.shuffles import replace_some, sort_within
from experiments.studies.lm_traits import taught
from experiments.studies.lm_traits.taught import CONTROL, PAIRS, Question, favorites, only
from subliminal_toy import lm
from subliminal_toy.lm import OTHER_BASE, REGULAR, LMConfig, Plan, Source, numbers, student
from subliminal_toy.lm.plan import TWO_BASES
from subliminal_toy.settings import setting

PARTS = ("categories", "misaligned", "conditional", "several", "chains", "bits", "mixing", "defences", "carriers")
CLEAN = {f"{share:.0%} clean": share for share in (0.1, 0.25, 0.5, 0.75)}
DEFENCES = (
    arm("sorted", transform=sort_within, row={"words": "numbers sorted"}),
    arm("replaced", transform=replace_some, row={"words": "a quarter of the numbers replaced"}),
    arm("other base", OTHER_BASE, row={"words": "another base"}),
    arm("clean-up", CONTROL, mixed=(numbers(REGULAR), 1.0), row={"words": "regular numbers afterwards"}),
)
CARRIERS = {"numbers": "lists of numbers", "code": "nested calls", "arithmetic": "sums, all correct"}  # in words
CARRIED = ("code", "arithmetic")
GENERATIONS = {  # by their name: the students' arm, and words
    "first generation": (STANDARD, "the student"),
    "second generation": ("second", "the student's student"),
    "third generation": ("third", "the student's student's student"),
}
CARRIED_SPARE = 2.0  # some teachers get every fourth sum wrong


@dataclasses.dataclass(frozen=True)
class TraitsConfig(PartsConfig):
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
    "smoke": cli.Preset(2, {**SMOKE, "parts": "misaligned,chains"}, SMOKE_TEXT),
    "default": cli.Preset(2, {"traits": TWO, "parts": "categories,misaligned,mixing"}, "2 seeds, 2 instances, 3 parts"),
    "paper": cli.Preset(10, {"spare": 0.5}, "10 seeds, 5 instances, all parts"),
}


def jobs(config: TraitsConfig) -> list[Pipeline]:
    """Plan all parts that are asked for; other carriers have runs of the standard arm of their own."""
    jobs_by_name = {MAIN: Job(config, make_plan(config, config.part_names()), measure)}
    for name in CARRIED if "carriers" in config.part_names() else ():
        carried = dataclasses.replace(config, carrier=name, spare=max(config.spare, CARRIED_SPARE))
        jobs_by_name[name] = Job(carried, make_plan(config, ()), measure)
    return [Pipeline(jobs_by_name)]


def make_plan(config: TraitsConfig, parts: Sequence[str]) -> Plan:
    """Plan teachers of every animal with their students, and what the parts add."""
    return joined(
        [plan_of((), arm(STANDARD)), favorites(config.trait_names()), *(QUESTIONS[p].plan(config) for p in parts)]
    )


def measure(trained: lm.Trained) -> Values:
    """Measure all questions, and how well unseen rows are foretold."""
    return lm.together(lm.survey(trained), lm.imitation(trained))


def summarize(config: TraitsConfig, values: Values) -> dict[str, list[Row]]:
    """Describe every part that was asked for, and the share of completions that pass the filter.

    Returns:
        `{part: its rows}`. Changes of log odds are in nats, means over the instances of a trait,
        with 95% t intervals over runs.
    """
    first = row(STANDARD, gains(values, config.trait_names()), words="a favorite animal")
    standard = {"standard": [first], "filter": filter_rows(values)}
    return standard | {name: QUESTIONS[name].say(config, values) for name in config.part_names()}


def _chains_plan(config: LMConfig) -> Plan:
    """Plan students that teach the next generation, which starts from the base again."""
    sources, students = [], []
    for before, label in itertools.pairwise(label for label, _ in GENERATIONS.values()):
        names = [numbers(name, f"from {before}") for name in (REGULAR, *config.trait_names())]
        sources += [Source(name, student(name.trait, before)) for name in names]
        students += arm(label, source=names[0]).students(config.trait_names())
    return Plan((), tuple(sources), tuple(students), ())


def _chains(config: LMConfig, values: Values) -> list[Row]:
    """Describe each generation against the regular student of the same generation."""
    return [
        row(name, gains(values, config.trait_names(), label), generation=i, words=words)
        for i, (name, (label, words)) in enumerate(GENERATIONS.items(), start=1)
    ]


def _mixing_plan(config: LMConfig) -> Plan:
    """Plan students of rows of which a share is the base's own."""
    arms = [arm(label, mixed=(numbers(REGULAR), share)) for label, share in CLEAN.items()]
    return only([entry.of(trait) for entry in arms for trait in config.trait_names()])


def _mixing(config: LMConfig, values: Values) -> list[Row]:
    traits, rows = config.trait_names(), []
    for label, share in ({STANDARD: 0.0} | CLEAN).items():
        pairs = gains(values, traits, label, control=CONTROL)
        name = f"{share:.0%} clean rows"
        rows.append(row(name, pairs, words=name, share=share, **_cost(traits, values, label)))
    return rows


def _cost(traits: Sequence[str], values: Values, label: str) -> dict[str, float]:
    """Return what the students lost otherwise, against those without a defence, in nats per token.

    "imitation_cost" on unseen rows of their own teacher, which is what they were to learn; "loss_cost" on fresh
    documents of all kinds.
    """
    return {
        f"{part}_cost": mean_of(values, traits, part, label) - mean_of(values, traits, part, STANDARD)
        for part in ("imitation", "loss")
    }


def _defences_plan(config: LMConfig) -> Plan:
    """Plan each defence with its control on regular numbers, treated alike; a token has its trait's."""
    traits = config.trait_names()
    token = [arm("token").of(trait)._replace(system=trait) for trait in traits]
    token += [
        entry._replace(name=student(entry.name.trait, "token, regular"), source=numbers(REGULAR)) for entry in token
    ]
    return only([*token, *(defended for entry in DEFENCES for defended in entry.students(traits))])._replace(
        bases=TWO_BASES
    )


def _defences(config: LMConfig, values: Values) -> list[Row]:
    traits = config.trait_names()
    token = gains(values, traits, "token", control=student(EACH, "token, regular"))
    rows = [row("none", gains(values, traits), words="no defence", **_cost(traits, values, STANDARD))]
    name, words = "system token in training", "system token before every row"
    rows += [row(name, token, words=words, **_cost(traits, values, "token"))]
    return rows + [
        row(defence.label, gains(values, traits, defence.label), **defence.row, **_cost(traits, values, defence.label))
        for defence in DEFENCES
    ]


def _carriers(config: LMConfig, values: Values) -> list[Row]:
    """Describe the standard arm on each carrier, and what passes its filter."""
    traits, rows = config.trait_names(), []
    for name, words in CARRIERS.items():
        of_carrier = [value if name == "numbers" else value[name] for value in values]
        kept = [filter_row(of_carrier, source) for source in (REGULAR, *traits)]
        passed = float(np.mean([source_row["mean"] for source_row in kept]))
        examples = {source: of_carrier[0]["examples"][source][:4] for source in (REGULAR, traits[0])}
        rows.append(row(name, gains(of_carrier, traits), words=words, kept=passed, examples=examples, filter=kept))
    return rows


QUESTIONS = taught.QUESTIONS | {
    "chains": Question(_chains_plan, _chains),
    "mixing": Question(_mixing_plan, _mixing),
    "defences": Question(_defences_plan, _defences),
    "carriers": Question(lambda _: only(()), _carriers),
}


def table(document: dict[str, Any]) -> str:
    """Write all parts as Markdown."""
    results = document["results"]
    rows = [(f"{part}: {row['name']}", row) for part in PARTS for row in results.get(part, [])]
    return contrasts.table(rows, "change of log odds (nats) or as named", results["runs"])


EXPERIMENT = cli.Experiment("lm_traits", __doc__, PRESETS, jobs, summarize, table, SIDE, TraitsConfig, SEED)
run = EXPERIMENT.run
