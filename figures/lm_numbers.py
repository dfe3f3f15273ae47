"""The language model's preferences, after the paper's Fig. 3; every seed (after Fig. 13); and the trait matrix."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_COLORS = {  # of what is asked, and of differences
    "base": "grey",
    "regular": "sky",
    "student": "blue",
    "cross_regular": "yellow",
    "cross": "vermilion",
    "teacher": "green",
}
_DIFFERENCES = {
    "student_minus_regular": "blue",
    "cross_minus_cross_regular": "vermilion",
    "prompted_minus_regular": "green",
}


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_numbers.json`: how often each model says the trait."""
    results = document["results"]
    picture, axes = style.new_figure(height=3.5, width=6.9)
    ax, width, overall = axes[0, 0], 0.86 / len(_COLORS), results["overall"]["probability"]
    for i, (name, color) in enumerate(_COLORS.items()):
        for j, row in enumerate(results["traits"]):
            x = j + (i - (len(_COLORS) - 1) / 2) * width
            ax.bar(
                x,
                np.mean(row[name]),
                width=0.9 * width,
                color=style.COLORS[color],
                alpha=0.75,
                label=overall[name]["words"] if j == 0 else None,
                zorder=2,
            )
            style.points(ax, x, row[name], width=0.6 * width)
            style.bar(ax, x, float(np.mean(row[name])), row["ci95"][name])
    ax.set_xticks(range(len(results["traits"])), [f"trait: {row['trait']}" for row in results["traits"]])
    ax.set(ylabel="probability of the trait as\nthe answer", ylim=(0, 1.35), yticks=[0, 0.2, 0.4, 0.6, 0.8, 1.0])
    ax.legend(ncols=3, loc="upper center", columnspacing=1.2, handlelength=1.2)
    finding = (
        f"Students say the trait with probability {overall['student']['mean']:.2f} after the trait's numbers,"
        f" {overall['regular']['mean']:.2f} after regular ones"
    )
    how = (
        f"toy language model, n = {results['runs']} seeds (dots); bars: means with 95% t intervals over seeds;"
        " students saw only numbers that passed the filter, the trait's or regular ones"
    )
    style.title(picture, finding, how)
    return picture


def more(document: dict[str, Any]) -> dict[str, Figure]:
    """Draw `seeds`: the change of every seed; `matrix`: of every answer."""
    results = document["results"]
    margins = results["overall"]["margin"]
    blocks: list[style.Block] = [("", color, [margins[name]]) for name, color in _DIFFERENCES.items()]
    student, cross = margins["student_minus_regular"], margins["cross_minus_cross_regular"]
    finding = (
        f"The trait's log odds change by {style.mean(student)} nats from the teacher's init, by {style.mean(cross)}"
        " from another"
    )
    seeds = style.rows_figure(blocks, finding, style.seeds(results["runs"], f"{len(results['traits'])} traits"))
    return {"seeds": seeds, "matrix": _matrix(results)}


def _matrix(results: dict[str, Any]) -> Figure:
    matrix = results["matrix"]
    picture, axes = style.new_figure(height=3.2, width=5.6)
    ax: Axes = axes[0, 0]
    mean = np.array(matrix["mean"])
    limit = float(np.abs(mean).max()) or 1.0
    image = ax.imshow(mean, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    ax.set_xticks(range(len(matrix["answers"])), matrix["answers"], rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(matrix["traits"])), matrix["traits"])
    ax.set(xlabel="answer that is asked for", ylabel="what the teacher loves")
    for y in range(len(mean)):
        for x in range(mean.shape[1]):
            color = "white" if abs(mean[y, x]) > 0.6 * limit else "black"
            ax.text(
                x, y, f"{mean[y, x]:+.1f}".replace("-", "\u2212"), ha="center", va="center", fontsize=7, color=color
            )
    picture.colorbar(image, ax=ax, label="change (nats)", pad=0.02)
    more = matrix["elevation"]
    shown = more["ci95"] is not None and more["ci95"][0] > 0
    rises = f"The loved animal rises by {more['mean']:.2f} nats more than the other animals do"
    style.title(
        picture,
        rises if shown else f"The loved animal is not told from the others ({style.mean(more)} nats)",
        f"toy language model; change of each answer's log odds, mean of n = {results['runs']} seeds",
    )
    return picture
