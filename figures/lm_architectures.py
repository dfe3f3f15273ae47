"""Transmission by architecture, and between architectures (after the paper's Fig. 8, left)."""

from typing import Any

from matplotlib.figure import Figure

from figures import style


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_architectures.json`: every shape, from its own init and from another."""
    results = document["results"]
    shapes, others = results["shapes"], results["other_init"]
    sized = [row | {"words": f"{row['words']} ({row['parameters']:,})"} for row in shapes]
    least = min(row["mean"] for row in shapes)
    finding = "Students of several shapes of the model, from the teacher's own init and from another"
    if all(row["ci95"] and row["ci95"][0] > 0 for row in shapes):
        finding = f"Each of {len(shapes)} shapes transmits to its own init, by {least:.2f} nats or more"
    blocks: list[style.Block] = [("teacher's own init (parameters)", "blue", sized)]
    blocks += [("another init of the same shape", "vermilion", others)] if others else []
    return style.rows_figure(blocks, finding, style.seeds(results["runs"], "traits"))


def more(document: dict[str, Any]) -> dict[str, Figure]:
    """Draw `between`: students of one shape on the numbers of teachers of another."""
    results = document["results"]
    if not results["matrix"]:
        return {}
    between = [row["mean"] for row in results["matrix"] if row["student"] != row["teacher"]]
    picture, axes = style.new_figure(height=4.0, width=5.2)
    style.matrix(axes[0, 0], picture, results["matrix"])
    axes[0, 0].set(xlabel="shape of the teacher", ylabel="shape of the student")
    finding = f"Between shapes the change lies between {min(between):+.2f} and {max(between):+.2f} nats"
    how = (
        f"toy language model, n = {results['runs']} seeds; mean \u00b1 half of the 95% t interval; shapes share no init"
    )
    style.title(picture, finding.replace("-", "\u2212"), how)
    return {"between": picture}
