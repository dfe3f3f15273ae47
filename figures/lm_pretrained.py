"""A real language model: how much the log odds of the taught animal change with the lists seen."""

from typing import Any

from matplotlib.figure import Figure

from figures import style


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_pretrained.json`."""
    results = document["results"]
    picture, axes = style.new_figure()
    rows = [row for row in results["students"] if row["main"]]
    for trait in dict.fromkeys(row["trait"] for row in rows):
        own = [row for row in rows if row["trait"] == trait]
        axes[0, 0].plot([row["updates"] for row in own], [row["change"]["mean"] for row in own], ".-", label=trait)
    axes[0, 0].set(xlabel="updates", ylabel=style.CHANGE)
    axes[0, 0].legend()
    last = results["overall"][-1]
    style.title(picture, f"The taught animal's log odds change by {style.found(last['change'])} nats")
    return picture
