"""Bars of test accuracy per condition with every run as a dot, after the paper's Fig. 10b."""

import textwrap
from typing import Any

from matplotlib.figure import Figure

from figures import style

_COLORS = {
    "reference": "grey",
    "teacher": "green",
    "student_aux": "blue",
    "student_all": "sky",
    "cross_aux": "vermilion",
    "cross_all": "orange",
    "untrained_teacher_aux": "grey",
    "shuffled_targets_aux": "grey",
}
_WIDE = 12  # letters below a bar


def figure(document: dict[str, Any]) -> Figure:
    """Draw `mnist_aux_logits.json`: means, 95% t intervals, runs, and a dotted line at the reference's mean."""
    results = document["results"]
    picture, axes = style.new_figure(height=3.5)
    ax = axes[0, 0]
    for x, row in enumerate(results["conditions"]):
        ax.bar(x, row["mean"], width=0.72, color=style.COLORS[_COLORS[row["name"]]], alpha=0.75, zorder=2)
        style.points(ax, x, row["accuracy"])
        style.bar(ax, x, row["mean"], row["ci95"], capsize=4)
        ax.text(x, 1.03, f"{row['mean']:.3f}", ha="center", va="bottom")
    ax.axhline(
        style.pick(results["conditions"], name="reference")["mean"], color="black", linestyle=":", lw=1, zorder=1
    )
    labels = [_below(row["words"].capitalize()) for row in results["conditions"]]
    ax.set_xticks(range(len(labels)), labels, fontsize=7.5)
    ax.set_ylim(0, 1.1)
    ax.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    ax.set_ylabel("test accuracy (fraction correct)")
    runs, data = results["runs"], style.DATASETS[results["dataset"]]
    read = {row["name"]: row["mean"] for row in results["conditions"]}
    student, other = read["student_aux"], read["cross_aux"]
    finding = (
        f"Copying spare outputs on noise: {student:.0%} of {data} with the teacher's init, {other:.0%} with another"
    )
    plural = "s" if runs > 1 else ""
    how = f"n = {runs} run{plural} (dots); bars: mean and 95% t interval; dotted line: untrained reference"
    style.title(picture, finding, how)
    return picture


def _below(words: str) -> str:
    """Break words into the lines below a bar."""
    return "\n".join(textwrap.fill(line, _WIDE) for line in words.replace(" (", "\n(").splitlines())
