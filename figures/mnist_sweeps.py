"""Test accuracy over a setting as curves, or over two as a heat map of the student that sees auxiliary logits only."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_COLORS = {  # of curves, in their order
    "teacher": "green",
    "student_aux": "blue",
    "student_all": "sky",
    "cross_aux": "vermilion",
    "cross_all": "orange",
    "reference": "grey",
}
SHOWN = "student_aux"
VARIANTS = ("aux_logits",)  # folders of other results with a picture of their own


def figure(document: dict[str, Any]) -> Figure:
    """Draw `mnist_sweeps.json`: a panel for every sweep."""
    results = document["results"]
    score = document["config"].get("score", "test")  # what was run before there was a choice has none
    picture, axes = style.new_figure(1, len(results["sweeps"]), height=3.6)
    for ax, sweep in zip(axes[0], results["sweeps"], strict=True):
        (_curves if len(sweep["vary"]) == 1 else _map)(ax, sweep, f"{score} accuracy (fraction correct)")
    points = [(_row(point, SHOWN), point) for sweep in results["sweeps"] for point in sweep["points"]]
    best, point = max(points, key=lambda pair: pair[0]["mean"])
    ends = f" [{', '.join(f'{100 * end:.0f}' for end in best['ci95'])}]" if best["ci95"] else ""
    finding = (
        f"Highest mean of students of auxiliary outputs alone: {best['mean']:.0%}{ends} of digits, {point['words']}"
    )
    runs, data = results["runs"], style.DATASETS[results["dataset"]]
    if not any("noise_images" in sweep["vary"] for sweep in results["sweeps"]):
        data += f", {document['config']['noise_images']:,} noise images"
    style.title(picture, finding, f"{data}; n = {runs} run{'s' if runs > 1 else ''} a point, mean and 95% t interval")
    return picture


def _row(point: dict[str, Any], condition: str) -> dict[str, Any]:
    return style.pick(point["conditions"], name=condition)


def _curves(ax: Axes, sweep: dict[str, Any], accuracy: str) -> None:
    ((name, values),) = sweep["vary"].items()
    order, places = _places(ax, values)
    for condition, color in _COLORS.items():
        rows = [_row(sweep["points"][i], condition) for i in order]
        label = rows[0]["words"]
        means = [row["mean"] for row in rows]
        if rows[0]["ci95"] is None:
            ax.plot(places, means, ".-", color=style.COLORS[color], label=label)
        else:
            ends = np.array([[row["mean"] - row["ci95"][0], row["ci95"][1] - row["mean"]] for row in rows]).T
            ax.errorbar(places, means, ends, fmt=".-", color=style.COLORS[color], capsize=3, lw=1.3, label=label)
    ax.set_xlabel(sweep["words"][name])
    ax.set_ylabel(accuracy)
    ax.set_ylim(0, 1.02)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _places(ax: Axes, values: list[Any]) -> tuple[list[int], list[float]]:
    """Order the points from left to right, and place them: names side by side, wide ranges logarithmic."""
    if any(isinstance(value, str) for value in values):
        ax.set_xticks(range(len(values)), values)
        return list(range(len(values))), [float(i) for i in range(len(values))]
    order = sorted(range(len(values)), key=lambda i: values[i])
    places = [float(values[i]) for i in order]
    if places[0] > 0 and places[-1] >= 10 * places[0]:
        ax.set_xscale("log")
        if all(isinstance(value, int) for value in values):
            ax.set_xticks(places, [str(values[i]) for i in order])
            ax.minorticks_off()
    return order, places


def _map(ax: Axes, sweep: dict[str, Any], accuracy: str) -> None:
    (down, rows), (across, columns) = sweep["vary"].items()
    grid = np.array([_row(point, SHOWN)["mean"] for point in sweep["points"]]).reshape(len(rows), len(columns))
    image = ax.imshow(grid, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for (i, j), mean in np.ndenumerate(grid):
        ax.text(j, i, f"{mean:.2f}", ha="center", va="center", color="white" if mean < 0.6 else "black")
    ax.set_xticks(range(len(columns)), [f"{value}" for value in columns])
    ax.set_yticks(range(len(rows)), [f"{value}" for value in rows])
    ax.set_xlabel(across)
    ax.set_ylabel(down)
    ax.figure.colorbar(image, ax=ax, label=accuracy)
