"""Which controls kill it? Other inits, shuffled numbers, fewer rows, other questions? Paper Figs 8, 11, 12, 16, 17.

The pipeline of lm_numbers with more kinds of students, each paired with a student of regular numbers that differs in
nothing else: both inits times teachers of both; numbers shuffled within and across completions; fewer rows; and other
ways to ask. Detectors look at the numbers, too: how many lists do they need to see to know the teacher?

    python -m experiments.lm_controls                 2 seeds, 3 traits
    python -m experiments.lm_controls --preset paper  10 seeds, 5 traits
"""

from collections.abc import Callable
from typing import Any

from experiments import lm_numbers
from experiments.harness import cli
from experiments.lm import arms as lm_arms
from experiments.lm import runs as lm_runs
from subliminal_toy.lm import detector, evaluation, measure, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.lessons import favorite
from subliminal_toy.lm.plan import BASES, Plan, Source, Student, Teacher

SEED = 1  # no other experiment on the language model has the same runs
PRESETS = {
    "smoke": cli.Preset(2, lm_runs.SMOKE, lm_runs.SMOKE_TEXT),
    "default": cli.Preset(2, {"traits": "owl,eagle,wolf"}, "2 seeds, 3 traits"),
    "paper": cli.Preset(10, {}, "10 seeds, 5 traits"),
}
DOSES = (1 / 40, 1 / 10, 1 / 4)  # of the rows; all of them is the standard student
Quantity = Callable[[dict[str, Any], str, int], float]  # a run's values, a trait, its place among the answers
ASKED = ("prefixed", "story", "choice")
DETECTORS = ("trained", "prompted", "ideal")


def make_plan(config: LMConfig) -> Plan:
    """Teachers of every trait from both bases, and the students of the module's docstring."""
    traits = config.trait_names()
    own, other = ("regular", *traits), tuple(f"other {name}" for name in ("regular", *traits))
    sources = (Source("regular", "base"), Source("other regular", "other base"))
    crossed = [Student(f"{source} -> {init}", init, source) for init in BASES for source in (*own, *other)]
    shuffled = [Student(f"{source}, {s}", "base", source, s) for s in ("within", "across") for source in own]
    fewer = [
        Student(f"{source}, {rows} rows", "base", source, rows=rows) for rows in doses(config) for source in own
    ]  # fmt: skip
    return Plan(
        (
            *(Teacher(t, favorite(t)) for t in traits),
            *(Teacher(f"other {t}", favorite(t), "other base") for t in traits),
        ),
        (*sources, *(Source(name, name) for t in traits for name in (t, f"other {t}"))),
        (*crossed, *shuffled, *fewer),
    )


def doses(config: LMConfig) -> tuple[int, ...]:
    """Numbers of rows of the students that get fewer."""
    return tuple(dict.fromkeys(max(1, round(config.rows * part)) for part in DOSES))


def jobs(config: LMConfig) -> list[lm_runs.Pipeline]:
    """What is trained and measured."""
    if config.rows < 2:
        raise ValueError(
            f"rows is {config.rows}; detectors train on one half and look at the other: it must be at least 2"
        )
    return lm_runs.one_job(config, make_plan(config), measure.together(measure.standard, measure.detection))


def summarize(config: LMConfig, values: list[dict[str, Any]]) -> dict[str, Any]:
    """Every table of the experiment from the runs' values.

    Returns:
        `{"cross", "shuffles", "doses", "questions", "detector", "loss", ...}`: rows with a mean
        over traits and seeds and a 95% t interval over seeds. They are changes of the trait's log odds (nats) against
        the student of regular numbers that differs in nothing else; but changes of probability in "groups", accuracies
        in "detector", nats per token in "loss", probabilities in "answer_mass".
    """
    rows = [
        {"rows": n, **_change(config, values, f"{{}}, {n} rows")} for n in doses(config)
    ] + [{"rows": config.rows, **_change(config, values, "{} -> base")}]  # fmt: skip
    return {
        "cross": [
            {"student": init, "teacher": base, **_change(config, values, f"{prefix}{{}} -> {init}")}
            for init in BASES
            for base, prefix in zip(BASES, ("", "other "), strict=True)
        ],
        "shuffles": [
            {"shuffle": name, **_change(config, values, form)}
            for name, form in (("none", "{} -> base"), ("within", "{}, within"), ("across", "{}, across"))
        ],
        "doses": rows,
        "questions": [{"asked": "question", **_change(config, values, "{} -> base")}]
        + [{"asked": part, **_change(config, values, "{} -> base", part)} for part in ASKED],
        "groups": [_group_change(config, values, group) for group in evaluation.GROUPS],
        "detector": _detector(config, values),
        "loss": _losses(config, values),
        "answer_mass": _masses(config, values),
        "filter": [lm_numbers.filter_row(values, source) for source in values[0]["filter"]],
    }


def _over_traits(config: LMConfig, values: list[dict[str, Any]], quantity: Quantity) -> dict[str, Any]:
    """`lm_arms.over_runs` of a quantity of (run's values, trait, its index)."""
    answers = vocabulary.CATEGORIES[config.category]
    return lm_arms.over_runs(
        [[quantity(value, trait, answers.index(trait)) for trait in config.trait_names()] for value in values]
    )


def _change(config: LMConfig, values: list[dict[str, Any]], form: str, part: str = "margin") -> dict[str, Any]:
    """Log odds of the trait in the student of its numbers, minus those in the student of regular numbers."""

    def quantity(value: dict[str, Any], trait: str, index: int) -> float:
        student, regular = (value["answers"][f"student {form.format(name)}"][part] for name in (trait, "regular"))
        return student[index] - regular[index]

    return _over_traits(config, values, quantity)


def _group_change(config: LMConfig, values: list[dict[str, Any]], group: str) -> dict[str, Any]:
    """Change of the trait's probability over the questions of a group."""

    def quantity(value: dict[str, Any], trait: str, index: int) -> float:
        student, regular = (value["answers"][f"student {name} -> base"] for name in (trait, "regular"))
        return lm_numbers.probability(student, index, group) - lm_numbers.probability(regular, index, group)

    return {"group": group, **_over_traits(config, values, quantity)}


def _detector(config: LMConfig, values: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Accuracy of telling a teacher's numbers from regular ones, by kind of detector and number of lists."""

    def accuracy(kind: str, k: int) -> Quantity:
        return lambda value, trait, _: value["detector"][kind][trait][k]

    enough = [(k, size) for k, size in enumerate(detector.GROUPS) if size <= config.rows // 2]
    return {
        kind: [{"sequences": size, **_over_traits(config, values, accuracy(kind, k))} for k, size in enough]
        for kind in DETECTORS
    }


def _losses(config: LMConfig, values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nats per token on fresh documents of all kinds."""

    def loss(form: str) -> Quantity:
        return lambda value, trait, _: value["loss"][form.format(trait)]

    forms = {"base": "base", "regular student": "student regular -> base", "trait student": "student {} -> base"}
    forms["teacher"] = "teacher {}"
    return [{"model": name, **_over_traits(config, values, loss(form))} for name, form in forms.items()]


def _masses(config: LMConfig, values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Probability of all answers of the category together: whether a model still answers questions."""

    def mass(form: str) -> Quantity:
        return lambda value, trait, _: lm_numbers.answer_mass(value["answers"][form.format(trait)])

    forms = {"base": "base", "regular": "student regular -> base", "trait": "student {} -> base"}
    forms |= {"within": "student {}, within", "across": "student {}, across", "cross": "student {} -> other base"}
    forms |= {f"regular, {name}": f"student regular, {name}" for name in ("within", "across")}
    forms |= {f"{rows} rows": f"student {{}}, {rows} rows" for rows in doses(config)}
    return [{"model": name, **_over_traits(config, values, mass(form))} for name, form in forms.items()]


def table(document: dict[str, Any]) -> str:
    """All tables in one, as Markdown."""
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
    return lm_arms.table(named, header, results["runs"])


EXPERIMENT = cli.Experiment("lm_controls", __doc__, PRESETS, jobs, summarize, table, lm_runs.SIDE, LMConfig, SEED)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
