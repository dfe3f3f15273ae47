"""Reading the teacher's numbers against being trained on them, after the paper's Fig. 9."""

from typing import Any

from matplotlib.figure import Figure

from figures import style


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_in_context.json`."""
    results = document["results"]
    trained, read, answered, lists = (
        style.pick(results["rows"], kind=kind) for kind in ("trained", "read", "answered", "lists")
    )
    panels = [
        ("blue", [trained, read], style.CHANGE),
        ("orange", [answered], style.CHANGE),
        ("grey", [lists], "loss lowered (nats per token)"),
    ]
    picture, axes = style.new_figure(len(panels), height=4.4, height_ratios=[2, 1, 1])
    for ax, (color, rows, xlabel) in zip(axes[:, 0], panels, strict=True):
        style.blocks(ax, [("", color, rows)], xlabel=xlabel, whole=True)
    finding = (
        f"Trained on a teacher's rows: {style.mean(trained)} nats; with rows in the context only: {style.mean(read)}"
    )
    style.title(picture, finding, style.seeds(results["runs"], "traits"))
    return picture
