"""Transmission by architecture, and between architectures (after the paper's Fig. 8, left)."""

from typing import Any

from matplotlib.figure import Figure

from figures import style


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_architectures.json`."""
    results = document["results"]
    picture, axes = style.new_figure(1, 2 if results["matrix"] else 1, height=4.0, width=6.9)
    style.headline(picture, results["runs"])
    ax, rows = axes[0, 0], [*results["shapes"], *results["other_init"]]
    for y, row in enumerate(rows):
        style.strip(ax, y, row, color=style.COLORS["blue" if y < len(results["shapes"]) else "vermilion"])
    ax.axvline(0, color="black", lw=1, ls=":")
    names = [row["name"] + (f"\n({row['parameters']:,} params)" if "parameters" in row else "") for row in rows]
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set(xlabel="change of trait's log odds (nats)", title="teacher and student of one shape")
    if results["matrix"]:
        style.matrix(axes[0, 1], picture, results["matrix"])
        axes[0, 1].set(xlabel="teacher", ylabel="student", title="between shapes, which share\nno init (Fig. 8)")
    return picture
