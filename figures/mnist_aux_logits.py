"""Bars of test accuracy per condition with every run as a dot, after the paper's Fig. 10b."""

from typing import Any

from matplotlib.figure import Figure

from figures import style

_BARS = {
    "reference": ("Reference", "grey"),
    "teacher": ("Teacher", "green"),
    "student_aux": ("Student\n(aux. only)", "blue"),
    "student_all": ("Student\n(all logits)", "sky"),
    "cross_aux": ("Cross-model\n(aux. only)", "vermilion"),
    "cross_all": ("Cross-model\n(all logits)", "orange"),
    "untrained_teacher_aux": ("Control:\nuntrained\nteacher", "grey"),
    "shuffled_targets_aux": ("Control:\nshuffled\ntargets", "grey"),
}


def figure(document: dict[str, Any]) -> Figure:
    """Draw `mnist_aux_logits.json`: means, 95% t intervals, runs, and a dotted line at the reference's mean."""
    results = document["results"]
    picture, axes = style.new_figure(height=3.5)
    ax = axes[0, 0]
    for x, row in enumerate(results["conditions"]):
        _, color = _BARS[row["name"]]
        ax.bar(x, row["mean"], width=0.72, color=style.COLORS[color], alpha=0.75, zorder=2)
        style.points(ax, x, row["accuracy"])
        if row["ci95"] is not None:
            low, high = row["mean"] - row["ci95"][0], row["ci95"][1] - row["mean"]
            ax.errorbar(x, row["mean"], [[low], [high]], color="black", capsize=4, lw=1.4, zorder=4)
        ax.text(x, 1.03, f"{row['mean']:.3f}", ha="center", va="bottom")
    ax.axhline(
        style.pick(results["conditions"], name="reference")["mean"], color="black", linestyle=":", lw=1, zorder=1
    )
    ax.set_xticks(
        range(len(results["conditions"])), [_BARS[row["name"]][0] for row in results["conditions"]], fontsize=7.5
    )
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
