"""An experiment that computes nothing: its command runs in this process, in a moment."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.harness import chunks, cli
from experiments.harness.sizes import Size
from subliminal_toy.lm.config import LMConfig

Compute = Callable[[int, int], dict[str, list]]
SMALL = Size([("models", 2, 10)], 1e6, 60.0)


def numbers(first: int, count: int) -> dict[str, list]:
    return {"a": [float(run) for run in range(first, first + count)], "b": [0.5] * count}


def experiment(compute: Compute = numbers, **changes: Any) -> cli.Experiment:
    """One without images or figure, whose run `i` has the value i."""
    size = changes.pop("size", lambda _config, _request: SMALL)

    def run(config: Any, _dataset: None, request: cli.Request) -> dict[str, Any]:
        request.progress.start(1.0, "fake", size(config, request))
        found = chunks.run_in_chunks(compute, runs=request.runs, chunk=request.chunk or 2, store=request.store)
        return {"runs": request.runs, **found}

    presets = {"smoke": cli.Preset(2, {"rows": 100}, "2 runs"), "default": cli.Preset(4, {"rows": 500}, "4 runs")}
    base = cli.Experiment("fake", "What?", presets, run, lambda _document: "a table", figure=False, config=LMConfig)
    return base._replace(dataset=False, **changes)


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "fake.json").read_text())["results"]


def command(out: Path, *arguments: str, of: cli.Experiment | None = None) -> int:
    """Run it; its exit status."""
    try:
        return cli.main(of or experiment(), ["--out", str(out), *arguments])
    except SystemExit as end:
        return int(end.code or 0)


def refused(capsys: pytest.CaptureFixture, out: Path, *arguments: str, of: cli.Experiment | None = None) -> str:
    """The one line with which it ends, with status 2."""
    assert command(out, *arguments, of=of) == cli.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err
