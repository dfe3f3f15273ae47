"""What an experiment is to its command: presets, a run, a table; and a job, one experiment with all it is asked for."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.harness.chunks import ChunkStore
from experiments.harness.progress import Plan, Planned, Progress
from experiments.harness.sizes import Size
from subliminal_toy import config as settings
from subliminal_toy.mnist.data import Dataset


class Preset(NamedTuple):
    """A size of an experiment."""

    runs: int
    settings: Mapping[str, Any]
    text: str


class Request(NamedTuple):
    """What a run is asked to do besides its config; notebooks leave all but `runs` and `seed` out."""

    runs: int
    seed: int
    chunk: int | None
    store: ChunkStore | None
    progress: Progress
    out: Path | None = None

    def keywords(self) -> dict[str, Any]:
        """The arguments that every experiment's `run` with chunks takes."""
        return {name: getattr(self, name) for name in ("runs", "seed", "chunk", "store", "progress")}


class Experiment(NamedTuple):
    """One command."""

    name: str  # also the stem of its files
    question: str  # the first line of --help
    presets: Mapping[str, Preset]
    run: Callable[..., dict[str, Any]]  # (config, dataset or None, request) -> results; calls progress.start first
    table: Callable[[dict[str, Any]], str]  # the whole JSON -> text
    figure: bool = True
    config: type | None = settings.Config  # the dataclass whose settings are flags of this command
    dataset: bool = True  # whether it runs on images
    chunk_text: str = "about 0.5 GB each on MNIST"  # "" for an experiment without chunks
    runs_text: str = "independent runs, each with its own key"
    seed: int = 0
    decided: Collection[str] = ()  # settings that it chooses itself

    def configure(self, preset: str, given: Mapping[str, Any], dataset: str | None) -> Any:
        """The given settings over the preset's, over the data set's, over the paper's (ValueError)."""
        both = {**self.presets[preset].settings, **given}
        if dataset is not None:
            return settings.config_for(dataset, both)
        assert self.config is not None  # without images there is nothing but settings
        return settings.with_settings(self.config(), both)


class Job(NamedTuple):
    """An experiment with all that it is asked for."""

    experiment: Experiment
    config: Any
    dataset: Dataset | None
    request: Request

    def size(self) -> Size | None:
        """What it would need, if the experiment knows; nothing is run."""
        try:
            self.experiment.run(self.config, self.dataset, self.request._replace(progress=Plan()))
        except Planned as plan:
            return plan.size
        raise AssertionError(f"{self.experiment.name} did not call progress.start")

    def recorded(self, preset: str) -> dict[str, Any]:
        """The config as the JSON has it."""
        shown = dataclasses.asdict(self.config) if self.experiment.config else {"dataset": self.config.dataset}
        for name in self.experiment.decided:
            phase, _, field = name.rpartition(".")
            del (shown[phase] if phase else shown)[field]
        return {"preset": preset, "runs": self.request.runs, "seed": self.request.seed, **shown}
