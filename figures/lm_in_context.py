"""Reading the teacher's numbers against being trained on them, after the paper's Fig. 9."""

from typing import Any

from matplotlib.figure import Figure

from figures import style


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_in_context.json`."""
    results = document["results"]
    picture, axes = style.new_figure(height=2.8, width=6.6)
    style.headline(picture, results["runs"])
    ax = axes[0, 0]
    style.strips(ax, results["rows"])
    ax.set(xlabel="change of trait's log odds (nats) or as named", title="read or trained on? (Fig. 9)")
    return picture
