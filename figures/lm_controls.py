"""Controls on the language model in six panels, after the paper's Figs 8, 11, 12, 16 and 17."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_CHANGE = "change of trait's\nlog odds (nats)"


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_controls.json`."""
    results = document["results"]
    picture, axes = style.new_figure(3, 2, height=7.4, width=6.6)
    style.headline(picture, results["runs"])
    style.matrix(axes[0, 0], picture, results["cross"])
    axes[0, 0].set(xlabel="teacher's init", ylabel="student's init", title="which inits transmit (Fig. 8)")
    _dots(axes[0, 1], [(row["shuffle"], row) for row in results["shuffles"]], "blue", _CHANGE,
          "numbers shuffled within or\nacross completions (Fig. 16)")  # fmt: skip
    names = {"question": "question", "prefixed": "after\nnumbers", "story": "story", "choice": "choice"}
    asked = [(names[row["asked"]], row) for row in results["questions"]]
    _dots(axes[1, 0], asked, "green", _CHANGE, "how it is asked (Figs 12, 17)")
    _curve(axes[1, 1], [row["rows"] for row in results["doses"]], results["doses"], "blue",
           "different rows that the student sees", _CHANGE, "dose: as many steps,\nfewer different rows")  # fmt: skip
    _detectors(axes[2, 0], results["detector"])
    short = {
        "base": "base",
        "regular student": "regular\nstudent",
        "trait student": "trait\nstudent",
        "teacher": "teacher",
    }
    _dots(axes[2, 1], [(short[row["model"]], row) for row in results["loss"]], "grey", "loss (nats per token)",
          "fresh documents (compare Fig. 11)", zero=False)  # fmt: skip
    return picture


def _detectors(ax: Axes, kinds: dict[str, list[dict[str, Any]]]) -> None:
    labels = {"ideal": "best possible", "trained": "trained", "prompted": "prompted base"}
    for (kind, label), color in zip(labels.items(), ("black", "vermilion", "sky"), strict=True):
        rows = kinds[kind]
        style.band(ax, [row["sequences"] for row in rows], rows, color=style.COLORS[color], label=label)
    ax.axhline(0.5, color="black", lw=1, ls=":")
    ax.legend(loc="upper left", fontsize=7)
    ax.set(xscale="log", xlabel="lists judged together", ylabel="share told right", ylim=(0.4, 1.02),
           title="detectors of the teacher\n(compare Table 5)")  # fmt: skip
    _ticks(ax, [row["sequences"] for row in kinds["ideal"]])


def _ticks(ax: Axes, x: list[int]) -> None:
    ax.set_xticks(x, [str(place) for place in x])
    ax.minorticks_off()


def _dots(
    ax: Axes, rows: list[tuple[str, dict[str, Any]]], color: str, label: str, title: str, *, zero: bool = True
) -> None:
    for x, (_, row) in enumerate(rows):
        style.points(ax, x, row["per_run"])
        style.t_bar(ax, x, row["per_run"], color=style.COLORS[color], marker="o")
    if zero:
        ax.axhline(0, color="black", lw=1, ls=":")
    ax.set_xticks(range(len(rows)), [name for name, _ in rows], fontsize=7.5)
    ax.set_xlim(-0.6, len(rows) - 0.4)
    ax.set(ylabel=label, title=title)


def _curve(
    ax: Axes, x: list[int], rows: list[dict[str, Any]], color: str, xlabel: str, ylabel: str, title: str
) -> None:
    for place, row in zip(x, rows, strict=True):
        ax.plot([place] * len(row["per_run"]), row["per_run"], ".", color="black", markersize=3, alpha=0.45, mew=0)
        style.t_bar(ax, place, row["per_run"], color=style.COLORS[color], marker="o")
    ax.plot(x, [row["mean"] for row in rows], color=style.COLORS[color], lw=1)
    ax.set(xscale="log", xlabel=xlabel, ylabel=ylabel, title=title)
    _ticks(ax, x)
