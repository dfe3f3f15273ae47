"""Figures are drawn from JSON alone, name what they show, and fail with one line."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import figures
from experiments.harness.provenance import ROOT
from experiments.mnist_aux_logits import CONDITIONS, summarize
from figures import mnist_aux_logits as bars
from figures import style
from subliminal_toy import statistics
from subliminal_toy.mnist.config import Config

LOGITS = ("aux. only", "all logits")


def document(runs: int = 4) -> dict:
    accuracy = {name: [0.1 * (i + 1) + 0.01 * r for r in range(runs)] for i, name in enumerate(CONDITIONS)}
    return {
        "experiment": "mnist_aux_logits",
        "results": {"dataset": "digits", "runs": runs, **summarize(Config(), {"main": accuracy})},
    }


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
    assert [patch.get_x() + patch.get_width() / 2 for patch in ax.patches] == pytest.approx(range(8))
    assert [text.get_text() for text in ax.texts] == [f"{mean:.3f}" for mean in means]
    labels = ["Reference", "Teacher", *(f"{who} ({what})" for who in ("Student", "Cross-model") for what in LOGITS),
              "Control: untrained teacher", "Control: shuffled targets"]  # fmt: skip
    assert [label.get_text().replace("\n", " ") for label in ax.get_xticklabels()] == labels
    bars_of_error = [segment.ravel().tolist() for lines in ax.collections for segment in lines.get_segments()]
    wanted = [[x, row["ci95"][0], x, row["ci95"][1]] for x, row in enumerate(conditions)] if runs > 1 else []
    assert bars_of_error == [pytest.approx(ends) for ends in wanted]
    dots = [line for line in ax.lines if line.get_marker() == "."]
    assert [sorted(line.get_ydata()) for line in dots] == [sorted(row["accuracy"]) for row in conditions]
    assert [np.mean(line.get_xdata()) for line in dots] == pytest.approx(range(8))
    dotted = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert dotted[0].get_ydata()[0] == pytest.approx(means[0])
    assert f"{means[2]:.0%} of 8x8 digits" in picture.get_suptitle()
    for words in (f"n = {runs} run", "95% t interval"):
        assert words in picture.get_supxlabel()
    assert "test accuracy" in ax.get_ylabel()


def test_same_results_same_picture(results: Path) -> None:
    first, second = (
        figures.draw("mnist_aux_logits", results=results, out=results / name, svg=True) for name in ("a", "b")
    )
    assert [path.name for path in first] == ["mnist_aux_logits.png", "mnist_aux_logits.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


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


def changed(document: dict, path: tuple, value: object) -> dict:
    copy = json.loads(json.dumps(document))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


@pytest.mark.parametrize("name", figures.names())
@pytest.mark.parametrize("results", [None, [], {}, "text", 7])
def test_a_wrong_result_is_a_figure_error(name: str, results: object, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({"experiment": name, "results": results}))
    with pytest.raises(figures.FigureError, match=f"{path} does not hold what this figure shows") as refused:
        figures.draw(name, results=tmp_path, out=tmp_path)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", [("runs",), ("conditions", 0, "accuracy"), ("conditions", 5, "mean"), ("dataset",)])
@pytest.mark.parametrize("value", [None, {}])
def test_a_wrong_part_of_a_result_is_a_figure_error(place: tuple, value: object, tmp_path: Path) -> None:
    content = changed(document(), ("results", *place), value)
    (tmp_path / "mnist_aux_logits.json").write_text(json.dumps(content))
    with pytest.raises(figures.FigureError):
        figures.draw("mnist_aux_logits", results=tmp_path, out=tmp_path)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[" * 100_000])
def test_what_is_not_json_is_a_figure_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "mnist_aux_logits.json").write_text(json.dumps(document()).replace("0.1,", f"{text},", 1))
    with pytest.raises(figures.FigureError, match="is not JSON"):
        figures.draw("mnist_aux_logits", results=tmp_path, out=tmp_path)


def test_numbers_that_cannot_be_drawn_are_a_figure_error(tmp_path: Path) -> None:
    content = changed(document(), ("results", "conditions", 0, "mean"), 1e400)
    (tmp_path / "mnist_aux_logits.json").write_text(json.dumps(content).replace("Infinity", "1e400"))
    with pytest.raises(figures.FigureError, match="does not hold what this figure shows"):
        figures.draw("mnist_aux_logits", results=tmp_path, out=tmp_path)
    assert not list(tmp_path.glob("*.png"))


def test_a_picture_that_cannot_be_written_is_no_wrong_result(results: Path) -> None:
    (results / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        figures.draw("mnist_aux_logits", results=results, out=results / "taken")
    assert sorted(path.name for path in results.iterdir()) == ["mnist_aux_logits.json", "taken"]


def test_ctrl_c_ends_with_130_and_one_line() -> None:
    code = (
        "import runpy, sys, figures; sys.argv = ['figures']\n"
        "def stop(*_, **__): raise KeyboardInterrupt\n"
        "figures.draw = stop; runpy.run_module('figures', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)
    assert done.stderr.startswith("stopped")


def test_the_diagram_is_valid_and_uses_only_what_it_defines() -> None:
    """It is written by hand: the one picture of no results."""
    tree = ElementTree.parse(figures.HERE / "pipeline.svg")
    named = {own.get("id") for own in tree.iter() if own.get("id")}
    used = {own.get("href", "").removeprefix("#") for own in tree.iter() if own.tag.endswith("}use")}
    assert used == named
    words = " ".join("".join(own.itertext()) for own in tree.iter() if own.tag.endswith("}text"))
    assert all(name in words for name in ("reference", "teacher", "student", "ten class", "three auxiliary"))
    assert "pipeline" not in figures.names()


SEEDS = (
    [*(0.1 * i for i in range(9)), 9.0],
    [1.0, 1.1, 0.9, 1.05, 0.95, 5.0, 5.2],  # two that would widen a standard deviation
    [0.0] * 6 + [1e-9],
    [0.0, 0.0, 0.1, 9.0],  # too few
)


def row(values: list[float]) -> dict:
    return {"per_run": values, **statistics.describe(values)}


@pytest.mark.parametrize("values", SEEDS)
def test_outliers_are_those_that_results_name(values: list[float]) -> None:
    named = row(values)
    picture = style.rows_figure([("", "blue", [{"words": "a", **named}])], "", "")
    (ax,) = picture.axes
    low, high = ax.get_xlim()
    hollow = [x for line in ax.lines if line.get_mfc() == "none" for x in line.get_xdata() if low <= x <= high]
    arrows = [text.get_text() for text in ax.texts]
    far = [values[i] for i in named["outliers"]]
    assert sorted(hollow) == sorted(value for value in far if low <= value <= high)
    assert sorted(arrows) == sorted(f"{value:.1f}" for value in far if not low <= value <= high)
    other = style.rows_figure([("", "blue", [{"words": "a", **named, "outliers": [0]}])], "", "")
    assert values[0] in [x for line in other.axes[0].lines if line.get_mfc() == "none" for x in line.get_xdata()]


def test_a_far_outlier_is_named_at_the_end_of_an_axis_that_it_does_not_stretch() -> None:
    near = [[0.1 * i for i in range(10)], [0.1 * i for i in range(9)] + [1.2]]
    assert style.limits([row(near[1])])[1] > 1.2
    picture = style.rows_figure(
        [("heading", "blue", [{"words": "a", **row(near[0])}, {"words": "b", **row([0.4, 0.45] * 5 + [40.0])}])], "", ""
    )
    (ax,) = picture.axes
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["heading", "40.0"]
    drawn = sorted(x for line in ax.lines if line.get_marker() == "." for x in line.get_xdata())
    assert drawn == pytest.approx(sorted([*near[0], *([0.4, 0.45] * 5)]))
    medians = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "D"]
    assert medians == pytest.approx([0.45, 0.45])


def committed() -> list[str]:
    return [name for name in figures.names() if (figures.COMMITTED_RESULTS / f"{name}.json").exists()]


@pytest.mark.parametrize("name", committed())
def test_committed_results_have_their_pictures(name: str, tmp_path: Path) -> None:
    """At most four panels each, with a sentence above; the very files that are committed."""
    module = importlib.import_module(f"figures.{name}")
    document = figures.load(name, figures.COMMITTED_RESULTS)
    more = module.more(document) if hasattr(module, "more") else {}
    for stem, picture in (
        {name: module.figure(document)} | {f"{name}.{part}": own for part, own in more.items()}
    ).items():
        assert (figures.HERE / f"{stem}.png").exists()
        assert len([ax for ax in picture.axes if ax.get_label() != "<colorbar>"]) <= 4
        assert len(picture.get_suptitle()) > 30


def test_an_installed_package_draws_beside_the_users_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redraw = importlib.import_module("figures.__main__")
    assert redraw.in_checkout()
    assert redraw.default_results() == figures.COMMITTED_RESULTS
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mnist_aux_logits.json").write_text(json.dumps(document()))
    monkeypatch.setattr(redraw, "in_checkout", lambda: False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["python -m figures"])
    redraw.main()
    assert (tmp_path / "results" / "mnist_aux_logits.png").exists()
