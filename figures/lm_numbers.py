"""The language model's preferences, after the paper's Fig. 3; the trait matrix; and every run (after Fig. 13)."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_BARS = {
    "base": ("base", "grey"),
    "regular": ("student, regular numbers", "sky"),
    "student": ("student, trait's numbers", "blue"),
    "cross": ("other init, trait's numbers", "vermilion"),
}
_DIFFERENCES = {
    "student_minus_regular": ("finetuned\nteacher", "blue"),
    "prompted_minus_regular": ("prompted\nteacher", "green"),
    "cross_minus_cross_regular": ("other\ninit", "vermilion"),
}


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_numbers.json`."""
    results = document["results"]
    picture = style.empty_figure(height=5.8, width=6.6)
    grid = picture.add_gridspec(2, 2, width_ratios=(1.35, 1), height_ratios=(1, 1))
    _preferences(picture.add_subplot(grid[0, :]), results)
    _matrix(picture.add_subplot(grid[1, 0]), picture, results)
    _runs(picture.add_subplot(grid[1, 1]), results)
    return picture


def _preferences(ax: Axes, results: dict[str, Any]) -> None:
    width = 0.8 / len(_BARS)
    for i, (name, (label, color)) in enumerate(_BARS.items()):
        for j, row in enumerate(results["traits"]):
            x = j + (i - (len(_BARS) - 1) / 2) * width
            ax.bar(x, np.mean(row[name]), width=0.92 * width, color=style.COLORS[color], alpha=0.75,
                   label=label if j == 0 else None, zorder=2)  # fmt: skip
            style.points(ax, x, row[name], width=0.6 * width)
            style.t_bar(ax, x, row[name])
    ax.set_xticks(range(len(results["traits"])), [row["trait"] for row in results["traits"]])
    ax.set_ylabel(f"P(trait | favorite {results['category']}?)")
    ax.set_ylim(0, 1.35 * max(max(row[name]) for row in results["traits"] for name in _BARS))
    ax.legend(ncols=2, loc="upper center")
    ax.set_title(
        f"toy language model: students see only filtered numbers\n"
        f"n = {results['runs']} seeds (dots); mean and 95% t interval over seeds"
    )


def _matrix(ax: Axes, picture: Figure, results: dict[str, Any]) -> None:
    matrix = results["matrix"]
    mean = np.array(matrix["mean"])
    limit = float(np.abs(mean).max()) or 1.0
    image = ax.imshow(mean, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    ax.set_xticks(range(len(matrix["answers"])), matrix["answers"], rotation=60, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(matrix["traits"])), matrix["traits"])
    ax.set(xlabel="answer asked for", ylabel="teacher's trait",
           title="change of log odds against\nthe regular-numbers student (mean)")  # fmt: skip
    picture.colorbar(image, ax=ax, label="nats", pad=0.02)


def _runs(ax: Axes, results: dict[str, Any]) -> None:
    margins = results["overall"]["margin"]
    for x, (name, (_, color)) in enumerate(_DIFFERENCES.items()):
        style.points(ax, x, margins[name]["per_run"])
        style.t_bar(ax, x, margins[name]["per_run"], color=style.COLORS[color], marker="o")
    ax.axhline(0, color="black", lw=1, ls=":")
    ax.set_xticks(range(len(_DIFFERENCES)), [label for label, _ in _DIFFERENCES.values()], fontsize=7.5)
    ax.set_xlim(-0.6, len(_DIFFERENCES) - 0.4)
    ax.set(ylabel="change of trait's\nlog odds (nats)",
           title=f"each seed (n = {results['runs']}), mean\n"
                 f"over {len(results['traits'])} traits; 95% t interval")  # fmt: skip
