"""Which controls kill it? Other inits, shuffled numbers, fewer rows, other questions? Paper Figs 8, 11, 12, 16, 17.

The pipeline of lm_numbers with more kinds of students, each paired with a student of regular numbers that differs in
nothing else: both inits times teachers of both; numbers shuffled within and across completions; fewer rows; and other
ways to ask. Detectors look at the numbers, too: how many lists do they need to see to know the teacher?

    python -m experiments.studies.lm_controls
    python -m experiments.studies.lm_controls --preset paper
    python -m experiments.studies.lm_controls --traits oak --runs 4
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.harness import cli
from experiments.lm import contrasts
from experiments.lm.arms import Arm, arm, sources, teachers
from experiments.lm.contrasts import EACH, Row, Values, answered, column, each, filter_rows, of_own, over_runs
from experiments.lm.runs import MAIN, SIDE, SMOKE, SMOKE_TEXT, THREE, Job, Pipeline
from experiments.lm.shuffles import shuffle_across, shuffle_within
from experiments.studies.lm_controls import detector
from subliminal_toy import lm
from subliminal_toy.lm import BASE, OTHER_BASE, REGULAR, LMConfig, Plan, evaluation, numbers, student, teacher

SEED = 1  # no other experiment on the language model has the same runs
PRESETS = {
    "smoke": cli.Preset(2, SMOKE, SMOKE_TEXT),
    "default": cli.Preset(2, {"traits": THREE}, "2 seeds, 3 traits"),
    "paper": cli.Preset(10, {}, "10 seeds, 5 traits"),
}
DOSES = (1 / 40, 1 / 10, 1 / 4)  # of the rows; all of them is the standard student
ASKED = {  # ways of asking: the part of the values, and words
    "question": ("margin", "by a question"),
    "prefixed": ("prefixed", "behind a list of numbers"),
    "story": ("story", "by a story"),
    "choice": ("choice", "to choose among three"),
}
DETECTORS = {  # kinds, in words
    "trained": "trained on labelled lists",
    "prompted": "the base, asked",
    "ideal": "best possible (has the teacher)",
}
STARTS = {  # what the student starts from, by its base and the teacher's
    (BASE, BASE): "the teacher's own init",
    (BASE, OTHER_BASE): "another init, first and second exchanged",
    (OTHER_BASE, BASE): "another init than the teacher's",
    (OTHER_BASE, OTHER_BASE): "the teacher's own init, the second",
}
CROSSED = {  # by student's base and teacher's base
    (init, base): arm(f"{base} -> {init}", init, numbers(REGULAR, label), row={"words": STARTS[init, base]})
    for init in (BASE, OTHER_BASE)
    for base, label in ((BASE, ""), (OTHER_BASE, "other"))
}
OWN = CROSSED[BASE, BASE].label
SHUFFLED = (
    arm("within", transform=shuffle_within, row={"words": "shuffled within each list"}),
    arm("across", transform=shuffle_across, row={"words": "shuffled across all lists"}),
)
MODELS = {  # of a student, by its arm, in words
    "base": "base",
    "teacher": "teacher",
    "regular": "student of regular numbers",
    "trait": "student of the trait's numbers",
    "within": "the trait's, shuffled within lists",
    "across": "the trait's, shuffled across lists",
    "cross": "the trait's, from another init",
    "regular, within": "regular, shuffled within lists",
    "regular, across": "regular, shuffled across lists",
}


def jobs(config: LMConfig) -> list[Pipeline]:
    """Plan all arms, questions and detectors; ValueError if these have nothing to train on."""
    if config.rows < 2:
        raise ValueError(
            f"rows is {config.rows}; detectors train on one half and look at the other: it must be at least 2"
        )
    return [Pipeline({MAIN: Job(config, make_plan(config), measure)})]


def measure(trained: lm.Trained) -> Values:
    """Measure everything about one category, and whether lists can be told apart."""
    return lm.together(lm.standard(trained), detector.measure(trained))


def make_plan(config: LMConfig) -> Plan:
    """Plan teachers of every trait from both bases, and the students of the module's docstring."""
    traits = config.trait_names()
    both = zip(sources(traits), sources(traits, "other", base=OTHER_BASE, of="other"), strict=True)
    arms = (*CROSSED.values(), *SHUFFLED, *doses(config).values())
    return Plan(
        (*teachers(traits), *teachers(traits, "other", init=OTHER_BASE)),
        tuple(source for pair in both for source in pair),
        tuple(student for entry in arms for student in entry.students(traits)),
    )


def doses(config: LMConfig) -> dict[int, Arm]:
    """Make the arms of fewer rows, by their number."""
    counts = (max(1, round(config.rows * part)) for part in DOSES)
    return {rows: arm(f"{rows} rows", rows=rows) for rows in counts}


def summarize(config: LMConfig, values: Values) -> dict[str, Any]:
    """Make every table of the experiment from the runs' values.

    Returns:
        `{"cross", "shuffles", "doses", "questions", "detector", "loss", ...}`: rows with a mean
        over traits and seeds and a 95% t interval over seeds. They are changes of the trait's log odds (nats) against
        the student of regular numbers that differs in nothing else; but changes of probability in "groups", accuracies
        in "detector", nats per token in "loss", probabilities in "answer_mass".
    """
    traits, fewer = config.trait_names(), {rows: arm.label for rows, arm in doses(config).items()}
    shuffles = [("none", OWN, "not shuffled"), *((arm.label, arm.label, arm.row["words"]) for arm in SHUFFLED)]

    def gain(label: str, part: str = "margin") -> Row:
        """Describe the gain of the trait's log odds, in the students of an arm over their control."""
        students, regular = (answered(values, each(student(name, label), traits), part) for name in (EACH, REGULAR))
        return over_runs(of_own(students - regular, traits))

    def group_gain(group: str) -> Row:
        """Describe the gain of the trait's probability over the questions of a group."""
        students, regular = (
            contrasts.probability(values, each(student(name, OWN), traits), group) for name in (EACH, REGULAR)
        )
        return over_runs(of_own(students - regular, traits))

    return {
        "cross": [
            {"student": str(init), "teacher": str(base), **arm.row, **gain(arm.label)}
            for (init, base), arm in CROSSED.items()
        ],
        "shuffles": [{"shuffle": name, "words": words, **gain(label)} for name, label, words in shuffles],
        "doses": [
            {"rows": rows, "words": f"{rows:,} different rows", **gain(label)}
            for rows, label in [*fewer.items(), (config.rows, OWN)]
        ],
        "questions": [{"asked": way, "words": words, **gain(OWN, part)} for way, (part, words) in ASKED.items()],
        "groups": [{"group": group, "words": f"{group} questions", **group_gain(group)} for group in evaluation.GROUPS],
        "detector": {kind: _detector(config, values, kind) for kind in DETECTORS},
        "loss": _losses(traits, values),
        "answer_mass": _masses(traits, values, fewer),
        "filter": filter_rows(values),
    }


def _detector(config: LMConfig, values: Values, kind: str) -> list[Row]:
    """Describe the accuracy of telling a teacher's numbers from regular ones, by number of lists."""
    accuracies = np.array([[value["detector"][kind][trait] for trait in config.trait_names()] for value in values])
    sizes = [size for size in detector.GROUPS if size <= config.rows // 2]
    return [
        {"sequences": size, "words": DETECTORS[kind], **over_runs(accuracies[:, :, k])} for k, size in enumerate(sizes)
    ]


def _losses(traits: Sequence[str], values: Values) -> list[Row]:
    """Describe nats per token on fresh documents of all kinds."""
    models = [("base", "base", BASE), ("regular student", "regular", student(REGULAR, OWN))]
    models += [("trait student", "trait", student(EACH, OWN)), ("teacher", "teacher", teacher(EACH))]
    return [
        {"model": name, "words": MODELS[of], **over_runs(column(values, "loss", each(model, traits)))}
        for name, of, model in models
    ]


def _masses(traits: Sequence[str], values: Values, fewer: Mapping[int, str]) -> list[Row]:
    """Describe the probability of all answers of the category together: whether a model still answers."""
    shuffled = [arm.label for arm in SHUFFLED]
    models = {"base": BASE, "regular": student(REGULAR, OWN), "trait": student(EACH, OWN)}
    models |= {label: student(EACH, label) for label in shuffled}
    models |= {"cross": student(EACH, CROSSED[OTHER_BASE, BASE].label)}
    models |= {f"regular, {label}": student(REGULAR, label) for label in shuffled}
    models |= {label: student(EACH, label) for label in fewer.values()}
    fields: dict[str, Row] = {name: {"words": words} for name, words in MODELS.items()}
    fields |= {label: {"rows": rows, "words": f"the trait's, {rows:,} different rows"} for rows, label in fewer.items()}
    return [
        {"model": name, **fields[name], **over_runs(contrasts.answer_mass(values, each(model, traits)))}
        for name, model in models.items()
    ]


def table(document: dict[str, Any]) -> str:
    """Write all tables in one, as Markdown."""
    results = document["results"]
    named = [
        *((f"student from the {r['student']}, teacher from the {r['teacher']}", r) for r in results["cross"]),
        *((f"numbers shuffled: {row['shuffle']}", row) for row in results["shuffles"]),
        *((f"{row['rows']} rows", row) for row in results["doses"]),
        *((f"asked by {row['asked']}", row) for row in results["questions"]),
    ]
    for kind, rows in results["detector"].items():
        named += [(f"{kind} detector's accuracy, {row['sequences']} lists", row) for row in rows]
    named += [(f"nats per token, {row['model']}", row) for row in results["loss"]]
    named += [(f"probability of any answer, {row['model']}", row) for row in results["answer_mass"]]
    header = "change of the trait's log odds (nats) or as named, mean over traits"
    return contrasts.table(named, header, results["runs"])


EXPERIMENT = cli.Experiment("lm_controls", __doc__, PRESETS, jobs, summarize, table, SIDE, LMConfig, SEED)
run = EXPERIMENT.run
