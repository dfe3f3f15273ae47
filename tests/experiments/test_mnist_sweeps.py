"""Sweeps: what is more students and what other runs, every accuracy at its own point, and errors that help."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import mnist_sweeps
from experiments.harness import cli
from experiments.harness.chunks import Chunk
from experiments.mnist.runs import Job
from experiments.mnist_sweeps import SweepConfig
from figures import mnist_sweeps as picture
from subliminal_toy import engine, mnist
from subliminal_toy.mnist import data


def config(vary: str, **settings: Any) -> SweepConfig:
    return mnist_sweeps.EXPERIMENT.configure("default", {"vary": vary, **settings}, "digits")


def test_students_settings_are_more_students_and_others_other_runs() -> None:
    (one,) = mnist_sweeps.jobs(config("student.learning_rate=1e-4,1e-3;temperature=1,2"))
    assert one.name == "main"
    assert len(one.conditions) == len({condition.name for condition in one.conditions}) == 4 * 4
    settings = {tuple(dict(c.settings).values()) for c in one.conditions}
    assert settings == {(1e-4, 1.0), (1e-4, 2.0), (1e-3, 1.0), (1e-3, 2.0)}
    wide, narrow = mnist_sweeps.jobs(config("width=8,4;loss=kl,mse"))
    assert [(job.name, job.config.width, len(job.conditions)) for job in (wide, narrow)] == [
        ("width=8", 8, 8), ("width=4", 4, 8)
    ]  # fmt: skip
    assert type(wide.config) is mnist.Config
    assert [own.loss for own in (c.config(wide.config) for c in wide.conditions)] == ["kl"] * 4 + ["mse"] * 4


def number(point: dict[str, Any], name: str, run: int) -> float:
    """What no other point, network or run has; reference and teacher know nothing of the students' settings."""
    own = point if name not in ("reference", "teacher") else {k: v for k, v in point.items() if "student" not in k}
    return (sum(v * p for v, p in zip(own.values(), (7.0, 131.0), strict=False)) + len(name) + 3 * run) ** 0.5 % 1


def fake_values(config: SweepConfig, runs: int) -> dict[str, Any]:
    """What the jobs would measure."""
    values: dict[str, dict[str, list[float]]] = {}
    for job in mnist_sweeps.jobs(config):
        columns = values.setdefault(job.name, {})
        width = {"width": job.config.width} if job.name != "main" else {}
        for name in ("reference", "teacher"):
            columns[name] = [number(width, name, run) for run in range(runs)]
        for c in job.conditions:
            short = c.name.split(",")[0]
            columns[c.name] = [number({**width, **dict(c.settings)}, short, run) for run in range(runs)]
    return values


@pytest.mark.parametrize("vary", ["student.learning_rate=0.5,0.25,1", "width=8,4;student.learning_rate=0.5,0.25"])
def test_every_accuracy_is_at_its_own_point(vary: str) -> None:
    sweep = config(vary)
    results = {"dataset": "digits", "runs": 3, **mnist_sweeps.summarize(sweep, fake_values(sweep, 3))}
    ((found,),) = (results["sweeps"],)
    assert found["vary"] == sweep.axes()
    assert [point["settings"] for point in found["points"]] == mnist_sweeps.points(sweep)
    for point in found["points"]:
        assert [row["name"] for row in point["conditions"]] == list(mnist_sweeps.NAMES)
        for row in point["conditions"]:
            wanted = [number(point["settings"], row["name"], run) for run in range(3)]
            assert row["accuracy"] == wanted
            assert row["mean"] == pytest.approx(np.mean(wanted))
    document = {"config": {"score": "validation", "noise_images": 1234}, "results": results}
    text = mnist_sweeps.table(document)
    assert text.count("\n|") == 1 + len(found["points"])
    assert "validation accuracy" in text
    assert "1,234 noise images" in text
    drawn = picture.figure(document).axes[0]
    means = {row["name"]: [p["conditions"][i]["mean"] for p in found["points"]]
             for i, row in enumerate(found["points"][0]["conditions"])}  # fmt: skip
    if ";" in vary:
        np.testing.assert_allclose(drawn.images[0].get_array(), np.reshape(means["student_aux"], (2, 2)))
    else:
        curves = {container.get_label(): container[0] for container in drawn.containers}
        student = curves["student (aux. only)"]
        assert student.get_xdata().tolist() == [0.25, 0.5, 1.0]
        assert student.get_ydata().tolist() == [means["student_aux"][i] for i in (1, 0, 2)]


BAD = [
    ("student.learning_rte=1", "'student.learning_rte'; it is no setting, the nearest is 'student.learning_rate'"),
    ("learning_rate=1", "is no setting; it may be 'teacher.learning_rate' or 'student.learning_rate'; see --list"),
    ("learning-rate=1", "is no setting; it may be 'teacher.learning_rate' or 'student.learning_rate'; see --list"),
    ("noise=gausian", "noise=gausian; there is no such value, the nearest is 'gaussian'"),
    ("width=many", "width=many; it takes whole numbers"),
    ("width", "it must be NAME=VALUE,VALUE,..."),
    ("width=4,4", "a value of width twice"),
    ("teacher.learning_rate=0.00012345671,0.00012345672", "twice, to six digits"),
    ("width=4;width=5", "each once"),
    ("width=4;depth=1;temperature=2", "up to 2 settings"),
    ("width=0", "a point that cannot be: width is 0; it must be at least 1"),
    ("dataset=mnist", "it is no setting"),
    ("subspace_dim=2,4", "a point that cannot be: subspace_dim makes no difference: noise is uniform"),
]


@pytest.mark.parametrize("name", ["aux-logits", "--aux-logits", "aux_logits"])
def test_a_flag_names_a_setting(name: str) -> None:
    assert config(f"{name}=1,3").axes() == {"aux_logits": [1, 3]}
    assert config("student-learning-rate=1e-3").axes() == {"student.learning_rate": [1e-3]}


@pytest.mark.parametrize(("vary", "words"), BAD)
def test_what_cannot_be_varied_is_one_line(
    vary: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    flags = [flag for part in vary.split(";") for flag in ("--vary", part)]
    with pytest.raises(SystemExit) as stopped:
        cli.command(mnist_sweeps.EXPERIMENT, ["--out", str(tmp_path), *flags])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --vary ")
    assert error.count("\n") == 1
    assert words in error


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        (("--subspace-dim", "8", "--vary", "noise=uniform,subspace"), ""),
        (("--temperature", "2", "--loss", "mse"), "--temperature makes no difference: loss is mse; it needs kl"),
        (("--vary", "subspace_dim=2,4", "--vary", "noise=uniform,subspace"), ""),
    ],
)
def test_flags_count_if_they_do_at_any_point(
    flags: tuple[str, ...], refused: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    try:
        status = cli.command(mnist_sweeps.EXPERIMENT, ["--out", str(tmp_path), "--dry-run", *flags])
    except SystemExit as stopped:
        status = stopped.code
    assert (status, capsys.readouterr().err) == ((2, f"error: {refused}\n") if refused else (0, ""))


def test_settings_are_chosen_without_the_test_images(digits: data.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[mnist.Dataset] = []

    def train(_config: mnist.Config, dataset: mnist.Dataset, *_rest: Any, **_more: Any) -> None:
        seen.append(dataset)

    monkeypatch.setattr(mnist, "train", train)
    chunk = Chunk("mnist_sweeps", "main", None, 0, 0, 1, 1)
    for score in ("validation", "test"):
        (job,) = mnist_sweeps.jobs(config("student.learning_rate=1e-3", score=score))
        job._replace(measure=lambda *_: {}).compute(chunk, digits, lambda *_: None)
    held_out, usual = seen
    assert usual is digits or np.array_equal(usual.test_images, digits.test_images)
    images = len(held_out.train_images)
    np.testing.assert_array_equal(held_out.train_images, digits.train_images[:images])
    np.testing.assert_array_equal(held_out.test_images, digits.train_images[images:])
    np.testing.assert_array_equal(held_out.test_labels, digits.train_labels[images:])
    assert len(held_out.test_images) == pytest.approx(len(digits.train_images) / 5, rel=0.01)


def test_list_has_every_setting() -> None:
    lines = mnist_sweeps.listing().splitlines()
    assert [line.split()[0] for line in lines] == mnist_sweeps.varied()
    by_name = {line.split()[0]: line for line in lines}
    assert "default 0.0003" in by_name["student.learning_rate"]
    assert "same runs" in by_name["temperature"]
    assert "other runs" in by_name["teacher.epochs"]


def test_a_sweeps_students_are_those_of_single_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: data.Dataset
) -> None:
    """The command, tiny; one of its points is what an experiment of its own finds."""
    monkeypatch.setattr(engine, "use_cpu_cores", lambda *_: None)  # the tests' devices stay
    tiny = {"width": 8, "depth": 1, "noise_images": 256, "student.epochs": 1, "teacher.epochs": 1}
    flags = [f"--{name.replace('.', '-').replace('_', '-')}={value}" for name, value in tiny.items()]
    vary = ["--vary", "student.learning_rate=1e-3,1e-2", "--runs", "2"]
    assert cli.command(mnist_sweeps.EXPERIMENT, ["--out", str(tmp_path), *flags, *vary]) == 0
    assert (tmp_path / "mnist_sweeps.png").stat().st_size > 10_000
    results = mnist_sweeps.run(config("student.learning_rate=1e-2", **tiny), runs=2, dataset=digits)
    (point,) = results["sweeps"][0]["points"]
    one = Job("main", mnist.config_for("digits", {**tiny, "student.learning_rate": 1e-2}), mnist.STUDENTS)
    request = cli.Request(mnist_sweeps.EXPERIMENT._replace(jobs=lambda _: [one]), config("width=8"), digits, 2, 0)
    alone = request.values()["main"]
    assert {row["name"]: row["accuracy"] for row in point["conditions"]} == alone
