"""How long the commands of the committed results took. No other minutes are written by hand anywhere."""

import json
import shlex
import textwrap
from pathlib import Path
from typing import Any

from experiments.harness.provenance import ROOT

RESULTS = ROOT / "experiments/results"
_UNTOLD = {"--out": 2, "--force": 1, "--fresh": 1, "--explore": 1}  # their words; no time, or no flag any more
_WIDTH = 76


def times_text(name: str, results: Path = RESULTS) -> str:
    """The minutes of every committed result of a command with its flags, a line each; "" where there is none."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.rglob(f"{name}.json"))]
    by_device: dict[str, list[str]] = {}
    for provenance in sorted((document["provenance"] for document in documents), key=lambda made: made["seconds"]):
        by_device.setdefault(provenance["device"], []).append(_line(provenance))
    return "\n\n".join("\n".join([f"measured on {device}:", *lines]) for device, lines in by_device.items())


def minutes(seconds: float) -> str:
    """Seconds in words, to the minute.

    Example:
        >>> minutes(89), minutes(1668)
        ('1 minute', '28 minutes')
    """
    count = max(1, round(seconds / 60))
    return f"{count} minute{'s' if count > 1 else ''}"


def _line(provenance: dict[str, Any]) -> str:
    words, shown = shlex.split(provenance["command"])[3:], []
    while words:
        count = _UNTOLD.get(words[0], 0)
        shown += [] if count else words[:1]
        words = words[max(1, count) :]
    text = f"{minutes(provenance['seconds'])}: {' '.join(shown) or 'without flags'}"
    return textwrap.fill(text, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8, break_on_hyphens=False)
