"""Transmission by architecture, and between architectures (after the paper's Fig. 8, left)."""

from typing import Any

from matplotlib.figure import Figure

from figures import style


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_architectures.json`."""
    results, config = document["results"], document["config"]
    picture, axes = style.new_figure(1, 2 if results["matrix"] else 1, height=3.2, width=6.9)
    n = f"n = {results['runs']} seeds (dots); 95% t interval over seeds"
    picture.suptitle(f"toy language model, mean over traits, {n}", fontsize=9)
    ax = axes[0, 0]
    for y, row in enumerate(results["shapes"]):
        style.strip(ax, y, row, color=style.COLORS["grey" if y == 0 else "blue"])
    ax.axvline(0, color="black", lw=1, ls=":")
    names = [f"{row['name']}\n({row['parameters']:,} params)" for row in results["shapes"]]
    ax.set_yticks(range(len(names)), names, fontsize=7.5)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set(xlabel="change of trait's log odds (nats)", title="teacher and student of one init")
    if results["matrix"]:
        own = f"width {config['width']}"
        rows = [
            {**row, **{role: own if row[role] == "main" else row[role] for role in ("student", "teacher")}}
            for row in results["matrix"]
        ]
        style.matrix(axes[0, 1], picture, rows)
        axes[0, 1].set(xlabel="teacher", ylabel="student", title="between architectures (Fig. 8)")
    return picture
