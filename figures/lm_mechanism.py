"""How a trait travels through numbers: arms, doses, alignment and prediction in eight panels."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_TITLES = {
    "targets": "what the student imitates",
    "tokens": "which tokens have a say",
    "optimizers": "the student's optimizer",
    "layers": "which parameters learn",
    "teachers": "teachers stopped at one divergence",
    "inits": "what the student's init shares\nwith the teacher's",
}
_COLORS = ("vermilion", "blue")


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_mechanism.json`; parts that were not asked for are left out."""
    results = document["results"]
    watched = bool(results["doses"]) and "trained" in results["doses"][0]  # results of older runs have no losses
    shown = len(results["parts"]) + 2 * bool(results["doses"]) + 2 * watched + 1
    rows = -(-shown // 2)
    picture, grid = style.new_figure(rows, 2, height=2.5 * rows + 0.4, width=6.9)
    style.headline(picture, results["runs"])
    axes = list(grid.ravel())
    for name, arms in results["parts"].items():
        _arms(axes.pop(0), arms, _TITLES[name])
    if results["doses"]:
        _doses(axes.pop(0), results["doses"])
        _alignment(axes.pop(0), results["doses"])
    if watched:
        _losses(axes.pop(0), results["doses"][0])
        _answers(axes.pop(0), results["doses"])
    _prediction(axes.pop(0), results["prediction"])
    for ax in axes:
        ax.remove()
    return picture


def _arms(ax: Axes, arms: list[dict[str, Any]], title: str) -> None:
    """One row per arm, the standard one on top."""
    for y, arm in enumerate(arms):
        style.strip(ax, y, arm, color=style.COLORS["grey" if y == 0 else "blue"])
    ax.axvline(0, color="black", lw=1, ls=":")
    ax.set_yticks(range(len(arms)), [arm["arm"] for arm in arms], fontsize=7.5)
    ax.set_ylim(len(arms) - 0.4, -0.6)
    ax.set(xlabel="change of trait's log odds (nats)", title=title)


def _doses(ax: Axes, curves: list[dict[str, Any]]) -> None:
    for curve, color in zip(curves, _COLORS, strict=True):
        style.band(ax, curve["steps"], curve["margin"], color=style.COLORS[color], label=f"{curve['rows']} rows")
    ax.axhline(0, color="black", lw=1, ls=":")
    ax.set_ylim(top=1.3 * max(row["ci95"][1] if row["ci95"] else row["mean"] for c in curves for row in c["margin"]))
    ax.legend(loc="upper left", ncols=2)
    ax.set(xlabel="steps of the student", ylabel="change of trait's\nlog odds (nats)", title="a dial or a switch?")


def _losses(ax: Axes, curve: dict[str, Any]) -> None:
    """Of the student of few rows, less the base's."""
    for part, label, color in (("trained", "its own rows", "blue"), ("unseen", "unseen rows of its teacher", "sky"),
                               ("fresh", "fresh documents", "grey")):  # fmt: skip
        per_run = [np.subtract(row["per_run"], base["per_run"])
                   for row, base in zip(curve[part], curve[f"base {part}"], strict=True)]  # fmt: skip
        ax.plot(curve["steps"], np.median(per_run, axis=1), ".-", color=style.COLORS[color], label=label)
    ax.axhline(0, color="black", lw=1, ls=":")
    ax.legend(loc="upper left", fontsize=7)
    ax.set(xlabel="steps of the student", ylabel="loss less the base's\n(nats per token)",
           title=f"{curve['rows']} rows: what it learns and forgets\n(median of seeds)")  # fmt: skip


def _answers(ax: Axes, curves: list[dict[str, Any]]) -> None:
    for curve, color in zip(curves, _COLORS, strict=True):
        style.band(ax, curve["steps"], curve["right"], color=style.COLORS[color], label=f"{curve['rows']} rows")
    ax.set_ylim(0, 1.05)
    ax.legend(loc="lower left")
    ax.set(xlabel="steps of the student", ylabel="probability", title="any answer of the category")


def _alignment(ax: Axes, curves: list[dict[str, Any]]) -> None:
    """Of the student of all rows."""
    for part, label, color in (("own", "its own teacher's", "blue"), ("others", "other teachers'", "grey")):
        style.band(ax, curves[-1]["steps"], curves[-1][part], color=style.COLORS[color], label=label)
    ax.axhline(0, color="black", lw=1, ls=":")
    ax.set_ylim(top=1.35 * max(row["ci95"][1] if row["ci95"] else row["mean"] for row in curves[-1]["own"]))
    ax.legend(loc="upper right")
    ax.set(xlabel="steps of the student", ylabel="cosine with delta of",
           title="where the student goes (less\nthe regular student)")  # fmt: skip


def _prediction(ax: Axes, rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if row["quantity"] == "fisher")
    predicted, measured = (np.array(row["pairs"][name]) for name in ("predicted", "measured"))
    for i in range(len(predicted)):
        color = mpl.colormaps["viridis"](i / len(predicted))
        ax.plot(predicted[i], measured[i], "o", ms=3.5, color=color)
    found = ""
    if "own" in row:
        mean, ci95 = row["own"]["mean"], row["own"]["ci95"]
        interval = "" if ci95 is None else f" [{ci95[0]:.2f}, {ci95[1]:.2f}]"
        found = f":\nrank correlation {mean:.2f}{interval}"
    ax.set(xlabel="first-order prediction g' F d", ylabel="change measured (nats)",
           title=f"each seed (colour) and trait{found}")  # fmt: skip
