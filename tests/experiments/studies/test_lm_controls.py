"""The controls: every student has its control, and every quantity of the summary comes from where it should."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.lm.shuffles import shuffle_across, shuffle_within
from experiments.studies import lm_controls
from experiments.studies.lm_controls import detector
from figures import lm_controls as picture
from subliminal_toy.lm import vocabulary
from subliminal_toy.lm.config import LMConfig
from tests.experiments import made_up
from tests.experiments.made_up import answered, number, probability, says

CONFIG = LMConfig(traits="owl,wolf")
TRAITS, RUNS = ("owl", "wolf"), range(3)
ANIMALS = vocabulary.CATEGORIES["animal"]
PLAN = lm_controls.make_plan(CONFIG)


@functools.cache
def results() -> dict:
    return lm_controls.summarize(CONFIG, made_up.standard(PLAN, TRAITS, len(RUNS)))


def test_every_student_of_a_trait_has_its_regular_control() -> None:
    by_name = {student.name: student for student in PLAN.students}
    assert len(by_name) == len(PLAN.students)
    for student in PLAN.students:
        control = by_name[student.name._replace(trait="regular")]
        assert control._replace(name=student.name, source=student.source) == student
        assert control.source == student.source._replace(trait="regular")
        assert student.source.trait == student.name.trait
    assert {student.transform for student in PLAN.students} == {None, shuffle_within, shuffle_across}
    models = {source.name: source.model for source in PLAN.sources}
    bases = {teacher.name: teacher.init for teacher in PLAN.teachers} | {base.name: base.name for base in PLAN.bases}
    for student in PLAN.students[: 4 * 3]:
        assert student.name.arm == f"{bases[models[student.source]]} -> {student.init}"


def gains(form: str, control: str, part: str = "margin") -> list[list[float]]:
    """How much the traits' students, called by `form`, gained over a control, [runs, traits]."""
    return [[answered(part, run, form.format(t), t) - answered(part, run, control, t) for t in TRAITS] for run in RUNS]


@pytest.mark.parametrize("init", ["base", "other base"])
@pytest.mark.parametrize("teacher", ["base", "other base"])
def test_students_of_both_inits_have_the_control_of_their_own_init_and_source(init: str, teacher: str) -> None:
    (row,) = [row for row in results()["cross"] if (row["student"], row["teacher"]) == (init, teacher)]
    says(row, gains(f"student {{}}, {teacher} -> {init}", f"student regular, {teacher} -> {init}"))


def test_shuffles_and_doses_have_controls_that_the_same_was_done_to() -> None:
    shuffles = {row["shuffle"]: row for row in results()["shuffles"]}
    doses = {row["rows"]: row for row in results()["doses"]}
    says(shuffles["none"], gains("student {}, base -> base", "student regular, base -> base"))
    says(doses[4000], gains("student {}, base -> base", "student regular, base -> base"))
    for name in ("within", "across"):
        says(shuffles[name], gains(f"student {{}}, {name}", f"student regular, {name}"))
    for rows in (100, 400, 1000):
        says(doses[rows], gains(f"student {{}}, {rows} rows", f"student regular, {rows} rows"))


def test_questions_are_asked_in_their_own_way() -> None:
    asked = {row["asked"]: row for row in results()["questions"]}
    for name, part in (("question", "margin"), ("prefixed", "prefixed"), ("story", "story"), ("choice", "choice")):
        says(asked[name], gains("student {}, base -> base", "student regular, base -> base", part))
    for i, row in enumerate(results()["groups"]):
        assert row["group"] == ("taught", "held out", "unseen")[i]
        pairs = [
            [
                answered("probability", run, f"student {t}, base -> base", t, i)
                - answered("probability", run, "student regular, base -> base", t, i)
                for t in TRAITS
            ]
            for run in RUNS
        ]
        says(row, pairs)


def test_detectors_have_a_row_for_each_number_of_lists() -> None:
    for kind in ("trained", "prompted", "ideal"):
        assert [row["sequences"] for row in results()["detector"][kind]] == list(detector.GROUPS)
        for row in results()["detector"][kind]:
            says(row, [[number(kind, run, t, row["sequences"]) for t in TRAITS] for run in RUNS])


MASSES = {
    "base": "base",
    "regular": "student regular, base -> base",
    "trait": "student {}, base -> base",
    "cross": "student {}, base -> other base",
    **{name: f"student {{}}, {name}" for name in ("within", "across", "100 rows", "400 rows", "1000 rows")},
    **{f"regular, {name}": f"student regular, {name}" for name in ("within", "across")},
}
LOSSES = {
    "base": "base",
    "regular student": "student regular, base -> base",
    "trait student": "student {}, base -> base",
    "teacher": "teacher {}",
}


@pytest.mark.parametrize(
    ("part", "models", "quantity"),
    [
        ("answer_mass", MASSES, lambda run, model: sum(probability(run, model, animal) for animal in ANIMALS)),
        ("loss", LOSSES, lambda run, model: number("loss", run, model)),
    ],
)
def test_what_models_lost_is_their_own(part: str, models: dict, quantity: Callable[[int, str], float]) -> None:
    rows = {row["model"]: row for row in results()[part]}
    for name, form in models.items():
        says(rows[name], [[quantity(run, form.format(t)) for t in TRAITS] for run in RUNS])


def test_filter_has_the_counts_of_each_source() -> None:
    for row in results()["filter"]:
        counts = [made_up.counts(run, row["source"]) for run in RUNS]
        assert row["mean"] == pytest.approx(np.mean([count["kept"] / sum(count.values()) for count in counts]))


def test_figure_names_n_and_intervals() -> None:
    drawn = picture.figure({"results": {"runs": 3, **results()}})
    text = drawn.get_supxlabel().replace("\n", " ") + " ".join(ax.get_xlabel() for ax in drawn.axes)
    for words in ("toy language model", "n = 3 seeds", "95% t interval", "log odds"):
        assert words in text


def test_command_writes_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    written = made_up.pretend(lm_controls, tmp_path, monkeypatch)
    assert len(written["cross"]) == 4
    assert "| numbers shuffled: across" in capsys.readouterr().out
    assert [row["sequences"] for row in written["detector"]["ideal"]] == [1, 4, 16]  # of 50 rows that it is tested on
