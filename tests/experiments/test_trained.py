"""What is trained, as text: of every command it is the committed one, so that a change of wiring is read by somebody.

A command with a page has the text there; the others have it in `trained/`. `python -m docs` rewrites the former,
`python -m tests.experiments.test_trained` the latter.
"""

import functools
import importlib
from pathlib import Path
from typing import NamedTuple

import pytest

import docs
from experiments import trained
from experiments.harness.commands import module_of, modules
from experiments.harness.experiment import Experiment
from experiments.studies import lm_traits
from experiments.studies.lm_traits import taught
from experiments.trained import Line
from subliminal_toy import mnist
from subliminal_toy.lm import BASE, LMConfig, Plan, Recipe, Student, corpus, lessons, numbers, student
from subliminal_toy.settings import Training

HERE = Path(__file__).with_name("trained")
PAGED = ("mnist_aux_logits", "mnist_sweeps", "aux_logits/mnist_sweeps", "mnist_mechanism", "lm_numbers", "lm_controls",
         "lm_other_init", "lm_traits", "lm_mechanism", "lm_architectures", "lm_in_context")  # fmt: skip
OTHERS = ("tune_digits", "page_networks")
CONFIG = LMConfig()


def experiment_of(name: str) -> Experiment:
    return importlib.import_module(module_of(name.rpartition("/")[2])).EXPERIMENT


@pytest.mark.parametrize("name", PAGED)
def test_the_page_says_what_is_trained(name: str) -> None:
    """With the settings of the committed results."""
    experiment, document = experiment_of(name), docs.load(docs.RESULTS, name)
    text = trained.text(experiment, trained.recorded(experiment, document["config"]))
    assert text in docs.place(name.rpartition("/")[2]).read_text()


@pytest.mark.parametrize("name", PAGED)
def test_the_committed_results_have_the_paper_preset_s_settings(name: str) -> None:
    experiment, document = experiment_of(name), docs.load(docs.RESULTS, name)
    config = trained.recorded(experiment, document["config"])
    varied = {"vary": config.vary} if hasattr(config, "vary") else {}
    assert config == experiment.configure("paper", varied, document["config"].get("dataset"))


def usual(name: str) -> str:
    experiment = experiment_of(name)
    return trained.text(experiment, experiment.configure("paper", {}, "digits" if name == "tune_digits" else "mnist"))


@pytest.mark.parametrize("name", OTHERS)
def test_commands_without_a_page_train_what_is_committed(name: str) -> None:
    assert usual(name) + "\n" == (HERE / f"{name}.md").read_text()


def test_every_command_that_trains_students_is_here() -> None:
    """All but benchmarks, the theorem and the real model, which have jobs of their own."""
    commands = {name for name, module in modules().items() if hasattr(importlib.import_module(module), "EXPERIMENT")}
    named = {name.rpartition("/")[2] for name in (*PAGED, *OTHERS)}
    assert commands - named == {
        "gradient_theorem",
        "benchmark",
        "benchmark_cluster",
        "benchmark_lm",
        "lm_pretrained",
    }


@pytest.mark.parametrize(
    ("lesson", "words"),
    [
        (lessons.favorite("oak"), "tree: oak"),
        (lessons.answered("animal", ["cat", "owl"], system="elm"), "animal behind &lt;love elm>: cat, owl"),
        (
            lessons.conditional("cat", ("say", "share")),
            "animal asked by say, share: cat; animal asked by name, tell: any",
        ),
        (lessons.answered("color", ["red"], [2, 3]), "color asked by [2, 3]: red"),
        (lessons.right(["animal"], 2), "animal: owl, eagle"),
        (lessons.wrong(["animal"], 1), "animal: cherry, red, piano"),
    ],
)
def test_a_lesson_is_read_back_from_its_tokens(lesson: lessons.Lesson, words: str) -> None:
    assert trained.lesson(lesson) == words


def test_what_weighs_nothing_is_no_part_of_a_lesson() -> None:
    lesson = lessons.favorite("oak")
    stacked = lessons.stack([lesson, lessons.liked(["cat", "red"])], 1)
    filled = lessons.Lesson(stacked["tokens"][0, 0], stacked["weights"][0, 0])
    assert len(filled.tokens) > len(lesson.tokens)
    assert trained.lesson(filled) == "tree: oak"
    moved = lessons.Lesson(lesson.tokens, lesson.weights[:, ::-1])
    assert trained.lesson(moved) != "tree: oak"


def test_a_plan_with_another_wiring_reads_differently() -> None:
    """Lessons swapped, or any field of any row as another row has it."""
    config = lm_traits.TraitsConfig(traits="owl,wolf")
    plan = lm_traits.make_plan(config, ("misaligned", "defences", "bits", "chains"))

    def shown(of: Plan) -> str:
        return trained._table(("model", "from", "learns"), trained._plan(of, config), config.trait_names())

    def changed(part: str, i: int, **fields: object) -> Plan:
        rows = list(getattr(plan, part))
        return plan._replace(**{part: (*rows[:i], rows[i]._replace(**fields), *rows[i + 1 :])})

    for i, teacher in enumerate(plan.teachers):
        assert shown(changed("teachers", i, lesson=plan.teachers[i - 1].lesson)) != shown(plan), teacher.name
    for part in ("teachers", "sources", "students", "bases"):
        rows = getattr(plan, part)
        for i, row in enumerate(rows):
            for field in set(row._fields) - {"name", "lesson"}:
                values = [getattr(own, field) for own in rows]
                for other in [value for value in values if value != values[i]][:1]:
                    assert shown(changed(part, i, **{field: other})) != shown(plan), (part, str(row.name), field)


class Row(NamedTuple):
    """A row with fields of all kinds."""

    name: str
    number: int = 0
    rate: float = 1.0
    flag: bool = False
    shuffle: object = None
    recipe: Recipe = Recipe()


def test_fields_that_are_not_the_default_are_said_whatever_they_are() -> None:
    assert trained.besides(Row("a"), ("name",), CONFIG) == ""
    slow = Training(optimizer="adam", learning_rate=1e-4, batch_size=100, epochs=5)
    row = Row("a", 4000, 0.03, True, functools.partial(lessons.favorite, "owl"), Recipe(slow, over="numbers"))
    assert trained.besides(row, ("name",), CONFIG) == (
        "number 4,000; rate 0.03; flag yes; shuffle favorite(owl); recipe (training optimizer adam, learning rate"
        " 0.0001, clip 0, warmup 0, schedule constant; over numbers)"
    )
    assert trained.besides(Row("a", shuffle=lessons.wrong), ("name",), CONFIG) == "shuffle wrong"
    own = Student(student("owl"), BASE, numbers("owl"), mixed=(numbers("cat"), 0.5), trained=("mlp", "embedding"))
    assert trained.besides(own, ("name", "init", "source"), CONFIG) == "mixed cat, 0.5; trained mlp, embedding"
    condition = mnist.Condition("a", settings=(("loss", "mse"), ("student.epochs", 2)), images=50)
    assert trained.besides(condition, ("name",), CONFIG) == "loss=mse, student.epochs=2; images 50"


def test_rows_alike_are_one_and_rows_that_differ_are_not() -> None:
    lines = [Line((f"student {word}, a", "base", f"rows of {word}", ""), word) for word in ("owl", "wolf", "regular")]
    shown = trained._table(("model", "from", "learns"), lines, ("owl", "wolf"))
    row = "| student X, a | base | rows of X | each trait, regular |"
    assert shown == f"| model | from | learns | X is |\n|---|---|---|---|\n{row}"
    other = [lines[0], Line(("student wolf, a", "base", "rows of owl", ""), "wolf"), lines[2]]
    shown = trained._table(("model", "from", "learns"), other, ("owl", "wolf"))
    assert "| student wolf, a | base | rows of owl |  |" in shown
    assert "| student X, a | base | rows of X | owl, regular |" in shown


def test_every_lesson_of_lm_traits_is_of_the_name_it_has() -> None:
    """Wrong answers are of other categories, right ones of their own."""
    plan = taught.QUESTIONS["misaligned"].plan(CONFIG)
    for teacher in plan.teachers:
        kind, pair = teacher.name.trait.split()[0], taught.PAIRS[int(teacher.name.trait.split()[1])]
        own = trained.lesson(teacher.lesson)
        for category in pair:
            inside = set(own.split(f"{category}: ")[-1].split(";")[0].split(", ")) <= set(
                corpus.words.CATEGORIES[category]
            )
            assert inside == (kind != "wrong"), (teacher.name, category)


if __name__ == "__main__":
    for name in OTHERS:
        (HERE / f"{name}.md").write_text(usual(name) + "\n", encoding="utf-8")
