"""The one-step theorem: sign and remainder, cosines from shared and other inits, descent, how far it reaches."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from figures import style

_LIMIT = 2.0**10  # neither the guaranteed nor the observed radius is looked for beyond this


def figure(document: dict[str, Any]) -> Figure:
    """Draw `gradient_theorem.json`: the inner product as predicted, and its remainder."""
    results = document["results"]
    name = style.DATASETS[results["mnist"]["dataset"]]
    picture, axes = style.new_figure(1, 3, height=3.3, width=8.4)
    _inner_products(axes[0, 0], results["curve"])
    _remainder(axes[0, 1], results["curve"])
    _slopes(axes[0, 2], results["random"])
    random, real = results["random"], results["mnist"]
    finding = (
        f"{random['negative']} of {random['problems'] - random['vacuous']:,} random problems and {real['negative']} of"
        f" {real['problems']} on {name} have a negative inner product within the guaranteed step size"
    )
    how = (
        f"left and middle: the experiment's ReLU network on {name}, auxiliary logits, noise images, one init (kinks are"
        " crossed one by one); right: smooth random networks; not counted:"
        f" {random['vacuous']} problems in which nothing can move"
    )
    style.title(picture, finding, how)
    return picture


def more(document: dict[str, Any]) -> dict[str, Figure]:
    """Draw `cosines` by init; `reach`: where the teacher's loss falls, and proved against observed radii."""
    results = document["results"]
    return {"cosines": _cosines(results["random"]["rows"], results["mnist"]), "reach": _reach(results)}


def _inner_products(ax: Axes, curve: dict[str, Any]) -> None:
    eps, products = np.array(curve["eps"]), np.array(curve["inner_product"])
    ax.plot(eps, eps * curve["A"], color=style.COLORS["orange"], label="predicted, $\\varepsilon A$")
    ax.plot(eps, products, ".", color=style.COLORS["blue"], label="measured", markersize=4)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="teacher's step $\\varepsilon$\n(parameter distance)",
        ylabel="inner product of the steps",
    )
    ax.legend()


def _remainder(ax: Axes, curve: dict[str, Any]) -> None:
    eps, products = np.array(curve["eps"]), np.array(curve["inner_product"])
    rest = np.abs(products - eps * curve["A"])
    ax.plot(eps, rest, ".", color=style.COLORS["blue"], markersize=4, label="measured")
    middle = len(eps) // 4
    ax.plot(eps, rest[middle] * (eps / eps[middle]) ** 2, color=style.COLORS["grey"], lw=1, label="slope 2")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="teacher's step $\\varepsilon$\n(parameter distance)",
        ylabel="|inner product $-\\ \\varepsilon A$|",
    )
    ax.legend()


def _slopes(ax: Axes, summary: dict[str, Any]) -> None:
    slopes = [row["slope"] for row in summary["rows"] if row["smooth"] and row["slope"] is not None]
    ax.hist(slopes, 40, color=style.COLORS["green"])
    ax.locator_params(axis="x", nbins=4)
    ax.axvline(2, color="black", lw=1, ls=":")
    ax.set(xlabel="order of the remainder\n(log-log slope; theory: 2)", yscale="log", ylabel="problems (log scale)")
    words = f"n = {len(slopes)}\nmedian {summary['slope']['median']:.4f}"
    ax.annotate(words, (0.97, 0.96), xycoords="axes fraction", ha="right", va="top", fontsize=8)


def _cosines(rows: list[dict[str, Any]], real: dict[str, Any]) -> Figure:
    """Draw cosines for directions that follow a gradient of the teacher's init, and for any directions.

    Problems with A = 0 (one logit under softmax) have a step of zero, which has no cosine, and are left out.
    """
    bins = np.linspace(-1, 1, 41).tolist()
    kept = [row for row in rows if not row["vacuous"]]
    picture, axes = style.new_figure(1, 2, height=3.3, width=7.2, sharex=True, sharey=True)
    means = {}
    for ax, (direction, words) in zip(
        axes[0], {"random": "any direction", "gradient": "a gradient"}.items(), strict=True
    ):
        for key, color, init in (("other_init_cosine", "vermilion", "another init"), ("cosine", "blue", "shared init")):
            values = [row[key] for row in kept if row["direction"] == direction and row[key] is not None]
            share = np.full(len(values), 1 / max(len(values), 1))
            means[direction, key] = float(np.mean(values)) if values else float("nan")
            label = f"{init}, mean {means[direction, key]:+.2f}".replace("-", "\u2212")
            ax.hist(values, bins, weights=share, color=style.COLORS[color], alpha=0.65, label=label)
        ax.axvline(0, ymax=0.78, color="black", lw=1, ls=":")  # the legend is above
        ax.set_title(f"the teacher moves along {words} (n = {len(values)})")
        ax.set_xlabel("cosine of student's and teacher's step")
        ax.legend(loc="upper left")
    axes[0, 0].set_ylabel("share of problems")
    axes[0, 0].set_ylim(top=1.25 * axes[0, 0].get_ylim()[1])
    finding = (
        "From the teacher's own init the mean cosine of the student's with the teacher's step is"
        f" {means['random', 'cosine']:.2f} (any direction) or {means['gradient', 'cosine']:.2f} (a gradient)"
    )
    aux = [row["shared"]["mean"] for row in real["cosines"] if row["logits"] == "aux"]
    how = (
        f"{len(kept):,} of {len(rows):,} random problems; the others, one logit under softmax, have no step ($A = 0$);"
        f" $\\varepsilon = 2^{{-10}}$; {style.DATASETS[real['dataset']]}'s networks, auxiliary logits only: means from"
        f" {min(aux):.2f} to {max(aux):.2f}"
    )
    style.title(picture, finding, how)
    return picture


def _reach(results: dict[str, Any]) -> Figure:
    name = style.DATASETS[results["mnist"]["dataset"]]
    picture, axes = style.new_figure(1, 2, height=3.5, width=7.2)
    _descent(axes[0, 0], results["map"])
    _radii(axes[0, 1], results["random"]["rows"], results["mnist"]["rows"], name)
    falls = float(np.mean(np.array(results["map"]["change"]) < 0))
    finding = f"The teacher's own loss falls after the student's step on {falls:.0%} of this grid of step sizes"
    how = (
        f"left: ReLU network on {name}, one init; right: up to which step the sign is proved, and where it is first"
        " seen to turn, each dot a problem ($2^{10}$: no turn found)"
    )
    style.title(picture, finding, how)
    return picture


def _descent(ax: Axes, grid: dict[str, Any]) -> None:
    colors = ListedColormap([style.COLORS[color] for color in ("sky", "grey", "vermilion")])
    sign = np.sign(np.array(grid["change"]))
    ax.pcolormesh(grid["alpha"], grid["eps"], sign, cmap=colors, vmin=-1, vmax=1, shading="nearest")
    ax.set(
        xscale="log", yscale="log", xlabel="student's learning rate $\\alpha$", ylabel="teacher's step $\\varepsilon$"
    )
    for color, label in (("sky", "teacher's loss falls"), ("vermilion", "it rises")):
        ax.plot([], [], "s", color=style.COLORS[color], label=label)
    ax.legend(loc="lower left", frameon=True)


def _radii(ax: Axes, rows: list[dict[str, Any]], real: list[dict[str, Any]], name: str) -> None:
    lowest = _LIMIT
    for part, color, label, size in ((rows, "blue", "random problems", 2), (real, "vermilion", f"{name} network", 5)):
        kept = [row for row in part if not row["vacuous"]]
        observed = [row["observed_radius"] or _LIMIT for row in kept]
        proved = [row["marched_radius"] for row in kept]
        ax.plot(observed, proved, ".", color=style.COLORS[color], alpha=0.5, markersize=size, label=label)
        lowest = min(lowest, *observed, *proved)
    ends = np.array([lowest, _LIMIT])
    ax.plot(ends, ends, color="black", lw=1, ls=":")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="step at which the sign is seen to turn",
        ylabel="step up to which it is proved",
    )
    ax.legend(loc="lower right", markerscale=2)
