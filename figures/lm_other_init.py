"""What students from other inits gain, by what they share with their teachers."""

from typing import Any

from matplotlib.figure import Figure

from figures import style


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_other_init.json`."""
    results = document["results"]
    picture, axes = style.new_figure(height=4.6, width=6.6)
    style.headline(picture, results["runs"])
    ax = axes[0, 0]
    style.strips(ax, results["rows"])
    ax.set(xlabel="change of trait's log odds (nats)", title="students from other inits (Fig. 8)")
    return picture
