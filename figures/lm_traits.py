"""What travels, through what, how far, and what stops it, in nine panels (after the paper's Figs 4, 5 and 7)."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_CHANGE = "change of log odds (nats)"
_WRONG = "log odds of bad answers (nats)"
_PANELS = {
    "categories": ("favorites of three kinds (Fig. 3)", _CHANGE),
    "misaligned": ("bad answers, look-alikes (Fig. 4)", _WRONG),
    "carriers": ("what carries it (Figs 5, 7)", _CHANGE),
    "conditional": ("a trait with a trigger", _CHANGE),
    "several": ("several traits at once", _CHANGE),
    "chains": ("teacher to student to student", _CHANGE),
    "bits": ("a random set of favorites", "share of 40 words told right"),
    "mixing": ("clean rows mixed in", _CHANGE),
    "defences": ("defences", _CHANGE),
}  # fmt: skip
_FREE = ("none", "0% clean rows")  # no defence
_LEAST = 1e-4  # smaller costs are drawn here
_SHORT = {
    "share of 40 words told right, ": "",
    "three favorites: ": "of three: ",
    "half and half: ": "half of: ",
    "system token in training": "system token",
    "student of ": "",
    " answers, ": ", ",
    "student, with less without": "difference",
    " questions": "",
    " clean rows": "",
    "teacher's": "teacher",
}


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_traits.json`; parts that were not asked for are left out."""
    results = document["results"]
    shown = [name for name in _PANELS if name in results]
    priced = {name: [r for r in results.get(name, []) if r["name"] not in _FREE] for name in ("mixing", "defences")}
    rows = -(-(len(shown) + any(priced.values())) // 2)
    picture, grid = style.new_figure(rows, 2, height=2.3 * rows + 0.4, width=6.9)
    style.headline(picture, results["runs"], "instances of a trait")
    axes = list(grid.ravel())
    for name in shown:
        title, label = _PANELS[name]
        rows_shown = [row for row in results[name] if row.get("role", "student") == "student"]
        _rows(axes.pop(0), rows_shown, title, label, chance=0.5 if name == "bits" else 0.0)
    if any(priced.values()):
        _prices(axes.pop(0), **priced)
    for ax in axes:
        ax.remove()
    return picture


def _prices(ax: Axes, mixing: list[dict[str, Any]], defences: list[dict[str, Any]]) -> None:
    """What clean rows and defences leave of the trait, and what they cost in imitating the teacher's unseen rows."""
    for rows, marker, color, side in ((mixing, "o-", "blue", -1), (defences, "o", "vermilion", 1)):
        cost = [max(row["imitation_cost"], _LEAST) for row in rows]
        ax.plot(cost, [row["mean"] for row in rows], marker, ms=4, lw=1, color=style.COLORS[color])
        for x, row in zip(cost, rows, strict=True):
            ax.annotate(_shorten(row["name"]).replace("%", "% clean"), (x, row["mean"]), fontsize=6.5,
                        xytext=(5 * side, 0), textcoords="offset points", va="center",
                        ha="left" if side > 0 else "right")  # fmt: skip
    ax.axhline(0, color="black", lw=1, ls=":")
    ax.set(xscale="log", xlabel="imitation lost (nats per token)", ylabel=_CHANGE,
           title="what defences cost (means of\nthe panels above)")  # fmt: skip
    ax.set_xlim(_LEAST / 60, 4)


def _rows(ax: Axes, rows: list[dict[str, Any]], title: str, label: str, *, chance: float) -> None:
    for y, row in enumerate(rows):
        style.strip(ax, y, row, color=style.COLORS["blue"])
    ax.axvline(chance, color="black", lw=1, ls=":")
    ax.set_yticks(range(len(rows)), [_shorten(row["name"]) for row in rows], fontsize=7.5)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set(xlabel=label, title=title)


def _shorten(name: str) -> str:
    for long, short in _SHORT.items():
        name = name.replace(long, short)
    return name
