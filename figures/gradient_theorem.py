"""The one-step theorem in six panels: sign, remainder, cosines, descent, and how far the guarantee reaches."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

_LIMIT = 2.0**10  # neither the guaranteed nor the observed radius is looked for beyond this


def figure(document: dict[str, Any]) -> Figure:
    """Draw `gradient_theorem.json`."""
    results = document["results"]
    name = style.DATASETS[results["mnist"]["dataset"]]
    picture, axes = style.new_figure(3, 2, height=7.6, width=6.6)
    _inner_products(axes[0, 0], results["curve"], name)
    _remainder(axes[0, 1], results["curve"], name)
    _cosines(axes[1, 0], results["random"]["rows"], "random problems")
    _slopes(axes[1, 1], results["random"])
    _descent(axes[2, 0], results["map"], name)
    _radii(axes[2, 1], results["random"]["rows"], results["mnist"]["rows"], name)
    return picture


def _inner_products(ax: Axes, curve: dict[str, Any], name: str) -> None:
    eps, products = np.array(curve["eps"]), np.array(curve["inner_product"])
    ax.plot(eps, eps * curve["A"], color=style.COLORS["orange"], label="predicted, $\\varepsilon A$")
    ax.plot(eps, products, ".", color=style.COLORS["blue"], label="measured", markersize=4)
    ax.set(xscale="log", yscale="log", xlabel="teacher's step $\\varepsilon$ (parameter distance)",
           ylabel="inner product",
           title=f"{name} ReLU network, aux. logits,\nnoise images, one init")  # fmt: skip
    ax.legend()


def _remainder(ax: Axes, curve: dict[str, Any], name: str) -> None:
    eps, products = np.array(curve["eps"]), np.array(curve["inner_product"])
    rest = np.abs(products - eps * curve["A"])
    ax.plot(eps, rest, ".", color=style.COLORS["blue"], markersize=4, label="measured")
    middle = len(eps) // 4
    ax.plot(eps, rest[middle] * (eps / eps[middle]) ** 2, color=style.COLORS["grey"], lw=1, label="slope 2")
    ax.set(xscale="log", yscale="log", xlabel="teacher's step $\\varepsilon$",
           ylabel="|inner product $-\\ \\varepsilon A$|",
           title=f"its remainder, {name} ReLU network\n(kinks are crossed one by one)")  # fmt: skip
    ax.legend()


def _cosines(ax: Axes, rows: list[dict[str, Any]], name: str) -> None:
    """Both kinds of direction apart: filled where the teacher follows a gradient, outlined where it goes anywhere.

    Problems with A = 0 (one logit under softmax) have a step of zero, which has no cosine, and are left out.
    """
    bins = np.linspace(-1, 1, 41).tolist()
    kept = [row for row in rows if not row["vacuous"]]
    for key, color, init in (("other_init_cosine", "vermilion", "another init"), ("cosine", "blue", "shared init")):
        for direction, look in (("gradient", {"alpha": 0.65}), ("random", {"histtype": "step", "lw": 1.4})):
            values = [row[key] for row in kept if row["direction"] == direction and row[key] is not None]
            share = np.full(len(values), 1 / max(len(values), 1))
            label = f"{init}, {direction} ({len(values)})"
            ax.hist(values, bins, weights=share, color=style.COLORS[color], label=label, **look)
    ax.axvline(0, color="black", lw=1, ls=":")
    title = f"n = {len(kept)} of {len(rows)} {name}, the others have\nno step ($A = 0$); $\\varepsilon = 2^{{-10}}$"
    ax.set(xlabel="cosine of student's and teacher's step", ylabel="share of problems", title=title)
    ax.legend(loc="upper left", fontsize=6, title="init, teacher's direction", title_fontsize=6)


def _slopes(ax: Axes, summary: dict[str, Any]) -> None:
    slopes = [row["slope"] for row in summary["rows"] if row["smooth"] and row["slope"] is not None]
    ax.hist(slopes, 40, color=style.COLORS["green"])
    ax.locator_params(axis="x", nbins=4)
    title = (
        f"order of the remainder, n = {len(slopes)} smooth\nrandom networks, median {summary['slope']['median']:.4f}"
    )
    ax.axvline(2, color="black", lw=1, ls=":")
    ax.set(xlabel="log-log slope of the remainder", yscale="log", ylabel="problems (log scale)",
           title=title)  # fmt: skip


def _descent(ax: Axes, grid: dict[str, Any], name: str) -> None:
    sign = np.sign(np.array(grid["change"]))
    ax.pcolormesh(grid["alpha"], grid["eps"], sign, cmap=_two_colors(), vmin=-1, vmax=1, shading="nearest")
    ax.set(xscale="log", yscale="log", xlabel="student's learning rate $\\alpha$",
           ylabel="teacher's step $\\varepsilon$",
           title=f"the teacher's loss after the student's step,\n{name} ReLU network, one init")  # fmt: skip
    for color, label in (("sky", "falls"), ("vermilion", "rises")):
        ax.plot([], [], "s", color=style.COLORS[color], label=label)
    ax.legend(loc="lower left", frameon=True)


def _two_colors() -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap([style.COLORS["sky"], style.COLORS["grey"], style.COLORS["vermilion"]])


def _radii(ax: Axes, rows: list[dict[str, Any]], real: list[dict[str, Any]], name: str) -> None:
    lowest = _LIMIT
    for part, color, label, size in ((rows, "blue", "random", 2), (real, "vermilion", f"{name} network", 5)):
        kept = [row for row in part if not row["vacuous"]]
        observed = [row["observed_radius"] or _LIMIT for row in kept]
        proved = [row["marched_radius"] for row in kept]
        ax.plot(observed, proved, ".", color=style.COLORS[color], alpha=0.5, markersize=size, label=label)
        lowest = min(lowest, *observed, *proved)
    ends = np.array([lowest, _LIMIT])
    ax.plot(ends, ends, color="black", lw=1, ls=":")
    ax.set(xscale="log", yscale="log", xlabel="observed radius ($2^{10}$: none found)", ylabel="guaranteed radius",
           title="sign of the inner product:\nproved against observed")  # fmt: skip
    ax.legend(loc="lower right", markerscale=2)
