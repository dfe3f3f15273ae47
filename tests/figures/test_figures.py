"""Figures are drawn from JSON alone, name what they show, and fail with one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import figures
from experiments.harness.provenance import ROOT
from experiments.mnist_aux_logits import CONDITIONS, summarize
from figures import mnist_aux_logits as bars

LOGITS = ("aux. only", "all logits")


def document(runs: int = 4) -> dict:
    accuracy = {name: [0.1 * (i + 1) + 0.01 * r for r in range(runs)] for i, name in enumerate(CONDITIONS)}
    return {"experiment": "mnist_aux_logits", "results": {"dataset": "digits", "runs": runs, **summarize(accuracy)}}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "mnist_aux_logits.json").write_text(json.dumps(document()))
    return tmp_path


@pytest.mark.parametrize("runs", [1, 4])
def test_bars_have_the_means_and_every_run(runs: int) -> None:
    picture = bars.figure(document(runs))
    (ax,) = picture.axes
    conditions = document(runs)["results"]["conditions"]
    means = [row["mean"] for row in conditions]
    assert [patch.get_height() for patch in ax.patches] == pytest.approx(means)
    assert [patch.get_x() + patch.get_width() / 2 for patch in ax.patches] == pytest.approx(range(6))
    assert [text.get_text() for text in ax.texts] == [f"{mean:.3f}" for mean in means]
    labels = ["Reference", "Teacher", *(f"{who} ({what})" for who in ("Student", "Cross-model") for what in LOGITS)]
    assert [label.get_text().replace("\n", " ") for label in ax.get_xticklabels()] == labels
    bars_of_error = [segment.ravel().tolist() for lines in ax.collections for segment in lines.get_segments()]
    wanted = [[x, row["ci95"][0], x, row["ci95"][1]] for x, row in enumerate(conditions)] if runs > 1 else []
    assert bars_of_error == [pytest.approx(ends) for ends in wanted]
    dots = [line for line in ax.lines if line.get_marker() == "."]
    assert [sorted(line.get_ydata()) for line in dots] == [sorted(row["accuracy"]) for row in conditions]
    assert [np.mean(line.get_xdata()) for line in dots] == pytest.approx(range(6))
    dotted = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert dotted[0].get_ydata()[0] == pytest.approx(means[0])
    for words in ("8x8 digits", f"n = {runs} run", "95% t interval"):
        assert words in ax.get_title()
    assert "test accuracy" in ax.get_ylabel()


def test_same_results_same_picture(results: Path) -> None:
    first = figures.draw("mnist_aux_logits", results=results, out=results / "a").read_bytes()
    assert first == figures.draw("mnist_aux_logits", results=results, out=results / "b").read_bytes()


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "figures", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_command_redraws_what_there_is(results: Path) -> None:
    done = command("--results", str(results))
    assert (done.returncode, done.stdout) == (0, f"wrote {results / 'mnist_aux_logits.png'}\n")


@pytest.mark.parametrize("content", [None, "not json", "[]", '{"experiment": "other"}'])
def test_missing_or_wrong_results_are_one_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "mnist_aux_logits.json").write_text(content)
    done = command("mnist_aux_logits", "--results", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("no_such_figure",), ("--results", "/nowhere"), ("--colour",)])
def test_bad_arguments_are_one_line(arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
