"""How much each level of the theory explains of a student on MNIST: levels, steps, interventions, coverage."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_ALONG, _REST = "one number: its displacement along Delta alone", "the rest of its displacement alone"
_LEVELS = {
    "nothing: the reference": ("reference", "grey"),
    _ALONG: ("along Delta alone", "sky"),
    _REST: ("the rest alone", "purple"),
    "linear: the linearised student": ("linearised student", "orange"),
    "the student": ("student", "blue"),
    "Delta itself: the teacher": ("teacher", "green"),
}
_STUDENTS = {"student_aux": ("teacher's init", "blue"), "cross_aux": ("other init", "vermilion"),
             "student_sgd": ("teacher's init, SGD", "green")}  # fmt: skip
_CAUSE = {
    "student_aux": "all of it",
    "without delta": "not along Delta",
    "only delta": "only along Delta",
    "without trait": "not along the\ndigits' gradient",
    "only trait": "only along the\ndigits' gradient",
    "without random": "all, pushed along a\nrandom direction",
    "only random": "only the push along\na random direction",
    "shorter rest": "all, less as long a\npart of the rest",
}
_LOGITS = ("blue", "orange", "green")


def figure(document: dict[str, Any]) -> Figure:
    """Draw `mnist_mechanism.json`."""
    results = document["results"]
    picture, axes = style.new_figure(2, 2, height=7.0, width=7.6, height_ratios=(6, 8))
    _levels(axes[0, 0], results["levels"])
    _direction(axes[0, 1], results["direction"])
    _cause(axes[1, 0], results["cause"])
    _coverage(axes[1, 1], results["coverage"])
    alone, rest = (style.pick(results["levels"], name=name) for name in (_ALONG, _REST))
    finding = (
        f"With its part along Delta alone a student reads {alone['mean']:.0%} of digits, with the rest"
        f" {rest['mean']:.0%}"
    )
    data, n = style.DATASETS[results["dataset"]], len(results["coverage"][0]["per_run"])
    how = (
        f"Delta: the teacher's displacement; {data}, students on auxiliary logits, n = {results['runs']} runs (dots);"
        " circle and bar: mean and 95% t interval; white diamond: median; hollow circle: outlier; curves: means;"
        f" bottom right: n = {n} runs"
    )
    style.title(picture, finding, how)
    return picture


def _rows(ax: Axes, rows: list[dict[str, Any]], labels: Sequence[str], colors: Sequence[str]) -> None:
    """Rows from top to bottom, each with its runs."""
    ax.set_xlim(0, 1)
    for i, (row, color) in enumerate(zip(rows, colors, strict=True)):
        style.strip(ax, -i, row, color=style.COLORS[color])
    ax.set_yticks([-i for i in range(len(rows))], labels)
    ax.set_xlabel("test accuracy (fraction correct)")


def _levels(ax: Axes, rows: list[dict[str, Any]]) -> None:
    labels, colors = zip(*_LEVELS.values(), strict=True)
    _rows(ax, [style.pick(rows, name=name) for name in _LEVELS], labels, colors)
    ax.set_title("Parts of a student, and who else reads digits")


def _direction(ax: Axes, rows: list[dict[str, Any]]) -> None:
    for name, (label, color) in _STUDENTS.items():
        row = style.pick(rows, name=f"{name}: cosine of update and delta")
        steps = [i + 1 for i in row["steps"]]
        ax.plot(steps, row["curve"], color=style.COLORS[color], label=label)
    ax.axhline(0, color="black", lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.set_xlabel("step of the student")
    ax.set_ylabel("cosine of update and Delta")
    ax.legend()
    ax.set_title("Does every step point along Delta?")


def _cause(ax: Axes, rows: list[dict[str, Any]]) -> None:
    colors = ["blue", "sky", "sky", "orange", "orange", "grey", "grey", "grey"]
    _rows(ax, [style.pick(rows, name=name) for name in _CAUSE], list(_CAUSE.values()), colors)
    ax.set_title("Students trained with a part of every update")


def _coverage(ax: Axes, rows: list[dict[str, Any]]) -> None:
    fractions = {key: [row for row in rows if row["name"].endswith(key)]
                 for key in ("predicted fraction", "measured fraction")}  # fmt: skip
    numbers = sorted({row["aux_logits"] for row in fractions["predicted fraction"]})
    for number, color in zip(numbers, _LOGITS, strict=True):
        pairs = [(one["mean"], max(other["mean"], 1e-9)) for one, other in zip(*fractions.values(), strict=True)
                 if one["aux_logits"] == number]  # fmt: skip
        ax.plot(*zip(*pairs, strict=True), "o-", ms=4, color=style.COLORS[color], label=f"{number} auxiliary logits")
    ends = [3e-4, 1.0]
    ax.plot(ends, ends, color="black", lw=0.8, ls=":")
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    ax.set_xlabel("predicted fraction of Delta")
    ax.set_ylabel("recovered fraction of Delta")
    ax.legend(loc="upper left")
    ax.set_title("Part of Delta, predicted and learnt")
