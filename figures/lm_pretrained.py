"""A real language model: how the log odds of animals change with the lists seen, and all 20 of them at the end."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_COLORS = ("blue", "vermilion", "green", "purple", "orange")


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_pretrained.json`: doses of every trait, and every animal's change in its student."""
    results = document["results"]
    rows = [row for row in results["students"] if row["main"]]
    traits = list(dict.fromkeys(row["trait"] for row in rows))
    picture, axes = style.new_figure(1, 2, height=2.7 + 0.25 * len(traits), width=6.9, width_ratios=(1, 1.25))
    for trait, color in zip(traits, _COLORS * 4, strict=False):
        _doses(axes[0, 0], [row for row in rows if row["trait"] == trait], style.COLORS[color])
    axes[0, 0].axhline(0, color="#888888", lw=0.8)
    axes[0, 0].set(xlabel="updates of the student (16 lists each)", ylabel="change (nats)")
    axes[0, 0].legend(loc="upper left")
    last = max(row["updates"] for row in rows)
    ends = [row for row in rows if row["updates"] == last]
    _animals(axes[0, 1], ends, results["animals"])
    overall = next(row for row in results["overall"] if row["part"] == "main" and row["updates"] == last)
    count = results["runs"]
    finding = (
        f"After a teacher's lists the log odds of its animal change by {style.mean(overall['change'])} nats, those of"
        f" the 19 others by {style.mean(overall['others'])}"
    )
    if count == 1:
        gains = " and ".join(f"{row['change']['mean']:+.2f} ({row['trait']})" for row in ends)
        rivals = " and ".join(f"{row['change']['mean'] - row['lead']['mean']:+.2f}" for row in ends)
        finding = f"One seed: the teacher's animal changes by {gains} nats, the largest other by {rivals}"
    over = "one seed, so that there is no interval" if count == 1 else f"n = {count} seeds, means with 95% t intervals"
    how = (
        f"{results['model']['name']}: students of a teacher's lists less the control student of the base's, {over};"
        " left: solid the teacher's animal, dotted the mean of the others; right: all 20 animals, the teacher's filled"
    )
    style.title(picture, finding, how)
    return picture


def _doses(ax: Axes, rows: list[dict[str, Any]], color: str) -> None:
    """Draw the change of a trait, and of the other animals, over the updates."""
    x = [row["updates"] for row in rows]
    ax.plot(x, [row["change"]["mean"] for row in rows], ".-", color=color, label=rows[0]["trait"])
    ax.plot(x, [row["others"]["mean"] for row in rows], ":", color=color)
    if all(row["change"]["ci95"] for row in rows):
        ax.fill_between(x, *np.transpose([row["change"]["ci95"] for row in rows]), color=color, alpha=0.15, lw=0)
    ax.set_xticks(x)


def _animals(ax: Axes, rows: list[dict[str, Any]], animals: list[str]) -> None:
    """Draw every animal's change in the student of each trait, a line of dots each, with the two largest named."""
    for y, (row, color) in enumerate(zip(rows, _COLORS * 4, strict=False)):
        changes = np.mean(row["animals"], axis=0)
        loved = animals.index(row["trait"])
        ax.plot(changes[loved], y, "o", color=style.COLORS[color], ms=7)
        ax.plot(changes, np.full(len(animals), y), "o", color="black", fillstyle="none", ms=4, alpha=0.7)
        order = np.argsort(-changes)
        named = [loved, *(i for i in order if i != loved)][:2]
        for place, i in enumerate(named):
            ax.annotate(animals[i], (changes[i], y), xytext=(0, 7 if place == 0 else -12), fontsize=7,
                        textcoords="offset points", ha="center")  # fmt: skip
    ax.axvline(0, color="#888888", lw=0.8)
    ax.set_yticks(range(len(rows)), [f"{row['trait']} lists" for row in rows])
    ax.set(ylim=(len(rows) - 0.4, -0.6), xlabel="change of the log odds (nats)")
