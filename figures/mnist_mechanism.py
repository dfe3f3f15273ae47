"""How much each level of the theory explains of a student on MNIST: levels, steps, interventions, coverage."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_LEVELS = ("reference", "along Delta alone", "the rest alone", "linearised student", "student", "teacher")
_STUDENTS = {"student_aux": ("teacher's init", "blue"), "cross_aux": ("other init", "vermilion"),
             "student_sgd": ("teacher's init, SGD", "green")}  # fmt: skip
_CAUSE = {
    "student_aux": "all of it",
    "without delta": "not along Delta",
    "only delta": "only along Delta",
    "without trait": "not along the\ndigits' gradient",
    "only trait": "only along the\ndigits' gradient",
    "without random": "not as much along a\nrandom direction",
    "only random": "only as much along a\nrandom direction",
}
_LOGITS = ("blue", "orange", "green")


def figure(document: dict[str, Any]) -> Figure:
    """Draw `mnist_mechanism.json`."""
    results = document["results"]
    picture, axes = style.new_figure(2, 2, height=6.4, width=7.2)
    _levels(axes[0, 0], results["levels"])
    _direction(axes[0, 1], results["direction"])
    _cause(axes[1, 0], results["cause"])
    _coverage(axes[1, 1], results["coverage"])
    picture.suptitle(
        f"{style.DATASETS[results['dataset']]}: students on auxiliary logits, n = {results['runs']} runs (dots);"
        " mean and 95% t interval", fontsize=9,
    )  # fmt: skip
    return picture


def _rows(ax: Axes, rows: list[dict[str, Any]], labels: list[str], colors: list[str]) -> None:
    """Rows from top to bottom, each with its runs."""
    for i, (row, color) in enumerate(zip(rows, colors, strict=True)):
        style.strip(ax, -i, row, color=style.COLORS[color])
    ax.set_yticks([-i for i in range(len(rows))], labels)
    ax.set_xlim(0, 1)
    ax.set_xlabel("test accuracy (fraction correct)")


def _levels(ax: Axes, rows: list[dict[str, Any]]) -> None:
    colors = ["grey", "sky", "purple", "orange", "blue", "green"]
    _rows(ax, rows[: len(_LEVELS)], list(_LEVELS), colors)
    ax.set_title("One direction of a student's\ndisplacement reads its digits")


def _direction(ax: Axes, rows: list[dict[str, Any]]) -> None:
    for name, (label, color) in _STUDENTS.items():
        row = next(row for row in rows if row["name"] == f"{name}: cosine of update and delta")
        steps = [i + 1 for i in row["steps"]]
        ax.plot(steps, row["curve"], color=style.COLORS[color], label=label)
    ax.axhline(0, color="black", lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.set_xlabel("step of the student")
    ax.set_ylabel("cosine of update and Delta")
    ax.legend()
    ax.set_title("Every step points along Delta,\nfrom the teacher's init (mean over runs)")


def _cause(ax: Axes, rows: list[dict[str, Any]]) -> None:
    named = {row["name"]: row for row in rows}
    colors = ["blue", "sky", "sky", "orange", "orange", "grey", "grey"]
    _rows(ax, [named[name] for name in _CAUSE], list(_CAUSE.values()), colors)
    ax.set_title("A student that may not move along Delta\ndoes not learn digits (part of updates kept)")


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
    n = len(fractions["predicted fraction"][0]["per_run"])
    ax.set_title(f"What the images can show is recovered\n(64 to 4,096 images; n = {n} runs)")
