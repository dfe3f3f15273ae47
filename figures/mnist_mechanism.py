"""How much each level of the theory explains of a student on MNIST: levels, steps, interventions, coverage."""

import textwrap
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_LEVELS = {
    "reference": "grey",
    "along": "sky",
    "rest": "purple",
    "linear": "orange",
    "student": "blue",
    "teacher": "green",
}
_STUDENTS = {"student_aux": "blue", "cross_aux": "vermilion", "student_sgd": "green"}
_KEPT = {
    "student_aux": "blue",
    "without delta": "sky",
    "only delta": "sky",
    "without trait": "orange",
    "only trait": "orange",
    "without random": "grey",
    "only random": "grey",
    "shorter rest": "grey",
}
_LOGITS = ("blue", "orange", "green")
_WIDE = 20  # letters of a label


def figure(document: dict[str, Any]) -> Figure:
    """Draw `mnist_mechanism.json`."""
    results = document["results"]
    picture, axes = style.new_figure(2, 2, height=7.0, width=7.6, height_ratios=(6, 8))
    _levels(axes[0, 0], results["levels"])
    _direction(axes[0, 1], results["direction"])
    _cause(axes[1, 0], results["cause"])
    _coverage(axes[1, 1], results["coverage"])
    alone, rest = (style.pick(results["levels"], level=level, quantity="accuracy") for level in ("along", "rest"))
    finding = (
        f"With its part along Delta alone a student reads {alone['mean']:.0%} of digits, with the rest"
        f" {rest['mean']:.0%}"
    )
    data = style.DATASETS[results["dataset"]]
    n = min(len(row["per_run"]) for row in results["coverage"])
    how = (
        f"Delta: the teacher's displacement; {data}, students on auxiliary logits, n = {results['runs']} runs (dots);"
        " circle and bar: mean and 95% t interval; white diamond: median; hollow circle: outlier; curves: means;"
        f" bottom right: n = {n} runs"
    )
    style.title(picture, finding, how)
    return picture


def _rows(ax: Axes, rows: list[dict[str, Any]], colors: Iterable[str]) -> None:
    """Draw rows from top to bottom, each with its runs."""
    ax.set_xlim(0, 1)
    for i, (row, color) in enumerate(zip(rows, colors, strict=True)):
        style.strip(ax, -i, row, color=style.COLORS[color])
    ax.set_yticks([-i for i in range(len(rows))], [textwrap.fill(row["words"], _WIDE) for row in rows])
    ax.set_xlabel("test accuracy (fraction correct)")


def _levels(ax: Axes, rows: list[dict[str, Any]]) -> None:
    _rows(ax, [style.pick(rows, level=level, quantity="accuracy") for level in _LEVELS], _LEVELS.values())
    ax.set_title("Parts of a student, and who else reads digits")


def _direction(ax: Axes, rows: list[dict[str, Any]]) -> None:
    for network, color in _STUDENTS.items():
        row = style.pick(rows, network=network, of="update", along="delta", quantity="cosine")
        steps = [i + 1 for i in row["steps"]]
        ax.plot(steps, row["curve"], color=style.COLORS[color], label=row["words"])
    ax.axhline(0, color="black", lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.set_xlabel("step of the student")
    ax.set_ylabel("cosine of update and Delta")
    ax.legend()
    ax.set_title("Does every step point along Delta?")


def _cause(ax: Axes, rows: list[dict[str, Any]]) -> None:
    _rows(ax, [style.pick(rows, network=network, quantity="accuracy") for network in _KEPT], _KEPT.values())
    ax.set_title("Students trained with a part of every update")


def _coverage(ax: Axes, rows: list[dict[str, Any]]) -> None:
    settings = sorted({(row["aux_logits"], row["images"]) for row in rows if row["quantity"] == "predicted fraction"})
    numbers = sorted({number for number, _ in settings})
    for number, color in zip(numbers, _LOGITS, strict=True):
        predicted, measured = (
            [
                style.pick(rows, aux_logits=number, images=images, quantity=quantity)["mean"]
                for aux_logits, images in settings
                if aux_logits == number
            ]
            for quantity in ("predicted fraction", "measured fraction")
        )
        ax.plot(
            predicted,
            [max(fraction, 1e-9) for fraction in measured],
            "o-",
            ms=4,
            color=style.COLORS[color],
            label=f"{number} auxiliary logits",
        )
    ends = [3e-4, 1.0]
    ax.plot(ends, ends, color="black", lw=0.8, ls=":")
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    ax.set_xlabel("predicted fraction of Delta")
    ax.set_ylabel("recovered fraction of Delta")
    ax.legend(loc="upper left")
    ax.set_title("Part of Delta, predicted and learnt")
