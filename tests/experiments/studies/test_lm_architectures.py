"""Architectures: who learns from whom, and that every quantity comes from where it should."""

import functools
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.lm.runs import MAIN
from experiments.studies import lm_architectures as experiment
from figures import lm_architectures as picture
from subliminal_toy import lm
from subliminal_toy.lm import Trained, numbers, vocabulary
from subliminal_toy.lm.rows import Rows
from tests.experiments import made_up
from tests.experiments.made_up import close, gain, number, says

CONFIG = experiment.ArchitecturesConfig(traits="owl,wolf", parts="tied,matrix")
TRAITS, RUNS = ("owl", "wolf"), range(3)
JOBS = experiment.jobs(CONFIG)[0].jobs
VALUES = made_up.survey(JOBS[MAIN].plan, len(RUNS))
for _name, _job in JOBS.items():
    if _name != MAIN:
        for _value, _own in zip(VALUES, made_up.survey(_job.plan, len(RUNS), f"{_name}: "), strict=True):
            _value[_name] = _own


@functools.cache
def results() -> dict:
    return experiment.summarize(CONFIG, VALUES)


def gains(job: str, label: str) -> list[list[float]]:
    """How much the students of an arm of a job gained over its regular one, [runs, traits]."""
    own = "" if job == MAIN else f"{job}: "
    return [
        [gain(f"{own}{run}", f"student {t}, {label}", f"student regular, {label}", t) for t in TRAITS] for run in RUNS
    ]


def test_shapes_differ_in_one_setting_and_share_no_init() -> None:
    crossed = (MAIN, "width 16", "2 layers")
    assert list(JOBS) == [MAIN, "width 16", "2 layers", "tied", *(f"students of {name}" for name in crossed)]
    assert (JOBS["width 16"].config.width, JOBS["2 layers"].config.layers, JOBS["tied"].config.tied) == (16, 2, 1)
    assert len({job.init for job in JOBS.values()}) == 7
    assert JOBS[MAIN].init == 0
    for name in experiment.CROSSED:
        assert JOBS[f"students of {name}"].config == JOBS[name].config
    mixed = JOBS["students of 2 layers"].plan
    assert [str(name) for name in mixed.given] == [f"{s}: {own}" for s in crossed for own in ("regular", "owl", "wolf")]
    assert [len(students) for _, students in mixed.rounds()] == [9]
    assert all(s.source == numbers(s.name.trait)._replace(job=s.name.arm) for s in mixed.students)


def test_parameters_are_counted() -> None:
    rows = {row["name"]: row["parameters"] for row in results()["shapes"]}
    assert (rows["width 32"], rows["tied"]) == (27_648, 27_648 - 32 * vocabulary.SIZE)


def test_shapes_have_their_own_runs() -> None:
    rows = {row["name"]: row for row in results()["shapes"]}
    assert list(rows) == ["width 32", "width 16", "2 layers", "tied"]
    for name, row in rows.items():
        job = MAIN if name == "width 32" else name
        own = "" if job == MAIN else f"{job}: "
        says(row, gains(job, "standard"))
        counts = [made_up.counts(f"{own}{run}", "regular") for run in RUNS]
        assert row["kept"] == close(np.mean([count["kept"] / sum(count.values()) for count in counts]))
        divergence = [[number("divergence", f"{own}{run}", f"teacher {trait}") for trait in TRAITS] for run in RUNS]
        assert row["divergence"]["mean"] == close(np.mean(divergence))
        nats = [number("loss", f"{own}{run}", f"student {trait}, standard") for run in RUNS for trait in TRAITS]
        assert row["loss"] == close(np.mean(nats))


def test_every_cell_of_the_matrix_is_that_student_on_that_teachers_rows() -> None:
    cells = {(row["student"], row["teacher"]): row for row in results()["matrix"]}
    names = {"width 32": MAIN, "width 16": "width 16", "2 layers": "2 layers"}
    assert set(cells) == {(student, teacher) for student in names for teacher in names}
    for (student, teacher), row in cells.items():
        if student == teacher:
            says(row, gains(names[student], "standard"))
        else:
            says(row, gains(f"students of {names[student]}", names[teacher]))
    others = {row["name"]: row for row in results()["other_init"]}
    for name, job in names.items():
        says(others[f"{name}, other init"], gains(f"students of {job}", job))


def test_figure_names_n_and_intervals() -> None:
    drawn = picture.figure({"results": {"runs": 3, **results()}})
    text = drawn.get_supxlabel().replace("\n", " ") + " ".join(ax.get_xlabel() for ax in drawn.axes)
    for words in ("toy language model", "n = 3 seeds", "95% t interval", "log odds"):
        assert words in text


def test_unknown_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="parts names 'width 17'"):
        experiment.ArchitecturesConfig(parts="width 17")


def test_jobs_get_the_rows_and_inits_that_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pipeline that trains nothing: whose rows go where, and which inits differ."""
    inits: dict[tuple, list] = {}

    def train(config, table, keys, *, on_stage, given):
        shape = (config.width, config.layers, config.tied)
        inits.setdefault(shape, []).append(np.asarray(jax.random.key_data(keys.init))[0].tolist())
        for name in table.given:
            shape_of = {"main": 33, "width 16": 17, "2 layers": 34}[name.job]
            assert [own.tokens[0, 0] - run for run, own in enumerate(given[name])] == [shape_of] * 2
        rows = {source.name: [Rows(np.full((1, 24), config.width + config.layers + run), None, {}) for run in range(2)]
                for source in table.sources}  # fmt: skip
        return Trained(config, table, keys, None, None, None, rows, {})

    def measure(trained):
        return [{"run": run} for run in range(len(trained.keys.init))]

    monkeypatch.setattr(lm, "train", train)
    monkeypatch.setattr(experiment, "measure", measure)
    bare = experiment.EXPERIMENT._replace(summarize=lambda _config, values: {"values": values})
    values = bare.run(CONFIG, runs=2)["values"]
    assert [value["run"] for value in values] == [value["students of main"]["run"] for value in values] == [0, 1]
    for shape in ((32, 1, 0), (16, 1, 0), (32, 2, 0)):
        own, other = inits[shape]
        assert own != other
    assert len({tuple(init) for found in inits.values() for init in found}) == 7


def test_command_writes_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    written = made_up.pretend(experiment, tmp_path, monkeypatch)
    assert [row["name"] for row in written["shapes"]] == ["width 32", "30 numbers"]
    assert "| 30 numbers (" in capsys.readouterr().out
