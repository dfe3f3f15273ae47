"""An experiment that computes nothing: its command runs in this process, in a moment."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from experiments.harness import cli
from experiments.harness.chunks import MAIN, Chunk
from experiments.harness.experiment import Advance, Side
from subliminal_toy.lm.config import LMConfig

Compute = Callable[[int, int], dict[str, list]]


def numbers(first: int, count: int) -> dict[str, list]:
    return {"a": [float(run) for run in range(first, first + count)], "b": [0.5] * count}


class FakeJob(NamedTuple):
    config: LMConfig
    of: Compute = numbers  # first, count
    name: str = MAIN

    def runs(self, asked: int) -> int:
        return asked

    def work(self) -> float:
        return 1.0

    def compute(self, chunk: Chunk, _dataset: None, advance: Advance) -> dict[str, list]:
        found = self.of(chunk.first, chunk.count)
        advance(1.0, "computed")
        return found


def experiment(compute: Compute = numbers, **changes: Any) -> cli.Experiment:
    """One without images or figure, whose run `i` has the value i; two runs in a chunk unless asked otherwise."""
    presets = {"smoke": cli.Preset(2, {"rows": 100}, "2 runs"), "default": cli.Preset(4, {"rows": 500}, "4 runs")}
    base = cli.Experiment(
        "fake", "What?", presets, lambda config: [FakeJob(config, compute)], lambda _, values: values[MAIN],
        lambda _document: "a table", Side(LMConfig, chunk_text="nothing"), config=LMConfig, figure=False,
    )  # fmt: skip
    return base._replace(**changes)


def document(out: Path) -> dict[str, Any]:
    return json.loads((out / "fake.json").read_text())


def results(out: Path) -> dict[str, Any]:
    return document(out)["results"]


def chunk(experiment: str = "mnist_aux_logits") -> Chunk:
    return Chunk(experiment, MAIN, None, 0, 0, 1, 2)


def command(out: Path, *arguments: str, of: cli.Experiment | None = None) -> int:
    """Run it; its exit status."""
    try:
        return cli.command(of or experiment(), ["--out", str(out), *arguments])
    except SystemExit as end:
        return int(end.code or 0)


def refused(capsys: pytest.CaptureFixture, out: Path, *arguments: str, of: cli.Experiment | None = None) -> str:
    """The one line with which it ends, with status 2."""
    assert command(out, *arguments, of=of) == cli.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err
