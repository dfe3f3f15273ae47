"""Transmission by architecture, and between architectures (after the paper's Fig. 8, left)."""

from typing import Any

from matplotlib.figure import Figure

from figures import style

_WORDS = {
    "tied": "embedding tied to unembedding",
    "30 numbers": "30 numbers, not 100",
    "10 numbers": "10 numbers, not 100",
}


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_architectures.json`: every shape, from its own init and from another."""
    results = document["results"]
    shapes, others = results["shapes"], results["other_init"]
    own = [(f"{_WORDS.get(row['name'], row['name'])} ({row['parameters']:,})", row) for row in shapes]
    crossed = [(row["name"].removesuffix(", other init"), row) for row in others]
    least = min(row["mean"] for row in shapes)
    finding = "Students of several shapes of the model, from the teacher's own init and from another"
    if all(row["ci95"] and row["ci95"][0] > 0 for row in shapes):
        finding = f"Each of {len(shapes)} shapes transmits to its own init, by {least:.2f} nats or more"
    blocks: list[style.Block] = [("teacher's own init (parameters)", "blue", own)]
    blocks += [("another init of the same shape", "vermilion", crossed)] if crossed else []
    return style.rows_figure(blocks, finding, style.seeds(results["runs"], "traits"))


def more(document: dict[str, Any]) -> dict[str, Figure]:
    """`between`: students of one shape on the numbers of teachers of another."""
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
