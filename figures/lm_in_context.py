"""Reading the teacher's numbers against being trained on them, after the paper's Fig. 9."""

from typing import Any

from matplotlib.figure import Figure

from figures import style


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_in_context.json`."""
    results = document["results"]
    picture, axes = style.new_figure(height=2.8, width=6.6)
    style.headline(picture, results["runs"])
    ax, rows = axes[0, 0], results["rows"]
    for y, row in enumerate(rows):
        style.strip(ax, y, row, color=style.COLORS["blue"])
    ax.axvline(0, color="black", lw=1, ls=":")
    ax.set_yticks(range(len(rows)), [row["name"] for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set(xlabel="change of trait's log odds (nats) or as named", title="read or trained on? (Fig. 9)")
    return picture
