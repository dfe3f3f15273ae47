"""What students from other inits gain, by what they share with their teachers."""

from typing import Any

from matplotlib.figure import Figure

from figures import style


def figure(document: dict[str, Any]) -> Figure:
    """Draw `lm_other_init.json`: gains, then differences between them."""
    results = document["results"]
    gains, differences = ([row for row in results["rows"] if row["kind"] == kind] for kind in ("gain", "difference"))
    low, high = (end(row["mean"] for row in gains) for end in (min, max))
    finding = (
        f"Students from another init gain between {low:+.3f} and {high:+.3f} nats, by what they share with the teacher"
    )
    blocks = [("", "vermilion", gains), ("", "grey", differences)]
    return style.rows_figure(blocks, finding.replace("-0", "\u22120"), style.seeds(results["runs"], "traits"))
