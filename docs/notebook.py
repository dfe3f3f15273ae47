"""The notebook: a template in Markdown whose blocks of Python become cells, written without outputs.

python -m docs.notebook    run all its cells, in order, in one process
"""

import json
import os
import re
import time
from typing import Any

import docs
from experiments.harness.streams import run_command, say

NAME = "subliminal_learning"
_BLOCK = re.compile(r"^```python\n(.*?)^```\n?", re.DOTALL | re.MULTILINE)


def cells() -> list[tuple[str, str]]:
    """("markdown" or "code", text) of every cell; headings begin cells of their own."""
    parts = _BLOCK.split((docs.TEMPLATES / f"_{NAME}.md").read_text(encoding="utf-8"))
    kinds = [("markdown", "code")[i % 2] for i in range(len(parts))]
    return [(kind, part.strip()) for kind, part in zip(kinds, parts, strict=True) if part.strip()]


def as_text() -> str:
    """The file `docs/subliminal_learning.ipynb`."""
    made: list[dict[str, Any]] = []
    for i, (kind, text) in enumerate(cells()):
        cell = {"cell_type": kind, "id": f"cell-{i}", "metadata": {}, "source": text.splitlines(keepends=True)}
        made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def run(until: str | None = None) -> dict[str, Any]:
    """Run the cells, or those above the heading `until`; the names that they leave."""
    os.environ["MPLBACKEND"] = "agg"
    import matplotlib as mpl

    mpl.use("agg")
    names: dict[str, Any] = {"__name__": "notebook"}
    for kind, text in cells():
        if until is not None and kind == "markdown" and f"## {until}" in text:
            break
        if kind == "code":
            exec(compile(text, NAME, "exec"), names)
    return names


def main() -> None:
    """Run all cells."""
    started = time.monotonic()
    run()
    say(f"all cells ran, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    run_command(main, "stopped before the last cell")
