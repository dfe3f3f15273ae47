"""What an experiment is: jobs, a summary and a table; and a request, an experiment with all that it is asked for."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax

from experiments.harness import chunks, cluster, provenance
from experiments.harness.chunks import Chunk, ChunkStore, Columns, Done, Values
from experiments.harness.progress import Progress, is_watched
from subliminal_toy import settings

MAX_SEED = 2**32 - 1
LIMITS = {"runs": (1, chunks.MAX_RUNS), "seed": (0, MAX_SEED), "chunk": (1, chunks.MAX_RUNS)}  # inclusive
Advance = Callable[[float, str], None]  # so many units of work of each run are done; what they were


class Job(Protocol):
    """Runs of one kind; an experiment has one or several, and runs of the same number have the same keys in all."""

    @property
    def name(self) -> str:
        """Names differ in an experiment; `chunks.MAIN` is not shown."""

    def runs(self, asked: int, /) -> int:
        """How many runs there are when so many are asked for."""

    def work(self) -> float:
        """Units of work of a run."""

    def compute(self, chunk: Chunk, dataset: Any, advance: Advance, /) -> Columns:
        """Train and measure some runs: {name: [one value per run]}, JSON-ready."""


class DataSource(NamedTuple):
    """The data sets that experiments of one kind run on."""

    names: Sequence[str]  # what --dataset may be
    load: Callable[[str, Path | None], Any]  # name, folder -> data set with `name` and `notice`; ValueError without one
    titles: Mapping[str, str]  # of the data sets, by name
    settings: Mapping[str, Mapping[str, Any]]  # over the config's defaults, by the name of the data set
    shown: Sequence[str]  # data sets whose defaults --help shows
    first: str  # the data set of `run()` without a config
    choice_text: str  # help of --dataset
    folder_text: str  # help of --data-dir


class Side(NamedTuple):
    """What experiments of one kind have in common."""

    config: type  # the dataclass of their settings; an experiment may have one of its own
    data: DataSource | None = None  # None: they run on no data set
    dataset: str = "auto"  # the default of --dataset
    chunk_text: str = ""  # what a run of a chunk costs; "" if users cannot choose how many runs are computed together
    title: str = ""  # of the progress bar; "": the data set's
    clustered: bool = True  # whether workers of a cluster may compute it
    together: int | None = None  # runs in a chunk; None: as many as there are devices
    gather: Callable[[Values], Any] = lambda values: values  # what `summarize` is given
    first: Sequence[str] = ()  # settings that people change first, where an experiment has them


class Preset(NamedTuple):
    """A size of an experiment."""

    runs: int
    settings: Mapping[str, Any]
    text: str  # how much it is


class Experiment(NamedTuple):
    """One question; its command is `cli.main(experiment)`, its function for notebooks `experiment.run`."""

    name: str  # also the stem of its files, and its module in experiments/
    question: str | None  # --help, the first lines and the last: `    python -m experiments.<name> FLAGS`
    presets: Mapping[str, Preset]
    jobs: Callable[[Any], Sequence[Job]]  # config -> what is trained and measured; ValueError for impossible settings
    summarize: Callable[[Any, Any], dict[str, Any]]  # config, {job: {name: [one value per run]}} -> results
    table: Callable[[dict[str, Any]], str]  # the whole JSON -> text
    side: Side
    config: type | None = None  # the dataclass of its settings; None: the side's
    seed: int = 0
    figure: bool = True
    flags: bool = True  # whether its settings are flags
    runs_text: str = "independent runs, each with its own key"
    decided: Collection[str] = ()  # settings that its jobs choose: no flags, not recorded
    variants: Callable[[Any], Sequence[Any]] = lambda config: [config]  # what a config stands for, if for several
    finish: "Callable[[Request, Values], tuple[dict[str, Any], dict[str, bytes]]] | None" = None  # more results, files
    rows: Callable[[Values], Mapping[str, Sequence[Any]]] | None = None  # further files: name -> one JSON value a line
    closing: Callable[[dict[str, Any]], str] | None = None  # the whole JSON -> what it says, below the table

    def config_class(self) -> type:
        """Return the dataclass of its settings."""
        return self.config or self.side.config

    def source(self) -> DataSource:
        """Return where its data sets come from."""
        assert self.side.data is not None
        return self.side.data

    def setting_names(self) -> list[str]:
        """The settings that are flags: all but the data set and what it decides itself."""
        names = settings.setting_fields(self.config_class()) if self.flags else ()
        return [name for name in names if name != "dataset" and name not in self.decided]

    def configure(self, preset: str, given: Mapping[str, Any], dataset: str | None) -> Any:
        """The given settings over the preset's, over the data set's, over the paper's (ValueError)."""
        both = {**self.presets[preset].settings, **given}
        if dataset is not None:
            both = {**self.source().settings[dataset], **both, "dataset": dataset}
        return settings.with_settings(self.config_class()(), both)

    def run(
        self, config: Any = None, *, runs: int | None = None, seed: int | None = None, dataset: Any = None,
        chunk: int | None = None, progress: Progress | None = None, cluster: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Run the experiment and return its results.

        Args:
            config: the settings; default those of the default preset, on `dataset` or MNIST where it runs on images.
            runs: independent runs; default those of the default preset.
            seed: of all randomness; run i depends on the seed and on i alone.
            dataset: default: `load_dataset(config.dataset)`.
            chunk: runs trained at a time; default one per device.
            progress: told of every epoch; default a bar in notebooks and on terminals.
            cluster: "local" or the address of a Dask scheduler, whose workers load the data set themselves.

        Raises:
            ValueError: a number out of range, or another experiment's settings. DataError: no usable data.
            RunFailedError: a loss was not finite. ClusterError: no such cluster.

        Example:
            >>> from experiments import mnist_aux_logits
            >>> results = mnist_aux_logits.run(runs=3)                                         # doctest: +SKIP
        """
        self._check_asked(config, runs=runs, seed=seed, chunk=chunk, cluster=cluster)
        config = self._with_further_settings(config)
        if config is None:
            config = self.configure(
                "default", {}, (dataset.name if dataset else self.source().first) if self.side.data else None
            )
        if self.side.data and dataset is None:
            dataset = self.side.data.load(config.dataset, None)
        elif cluster and dataset is not None:
            raise ValueError("a cluster's workers load the data set that config.dataset names: leave `dataset` out")
        runs = self.presets["default"].runs if runs is None else runs
        seed = self.seed if seed is None else seed
        progress = progress or Progress(quiet=not is_watched())
        request = Request(self, config, dataset, runs, seed, chunk, progress=progress, cluster=cluster)
        with contextlib.closing(progress):
            return request.results(request.values())

    def _check_asked(self, config: Any, *, cluster: str | None, **numbers: int | None) -> None:
        """Refuse what the flags refuse (ValueError)."""
        check_numbers(numbers)
        if cluster is not None and not cluster:
            raise ValueError("cluster is empty; give the address of a Dask scheduler, or 'local'")
        wanted = self.config_class()
        if config is not None and not isinstance(config, wanted) and not issubclass(wanted, type(config)):
            raise ValueError(f"config is a {type(config).__name__}; {self.name} needs a {wanted.__name__}")

    def _with_further_settings(self, config: Any) -> Any:
        """Return a config of the side's class as the experiment's own, with defaults for its further settings."""
        wanted = self.config_class()
        if config is None or isinstance(config, wanted):
            return config
        return wanted(**{field.name: getattr(config, field.name) for field in dataclasses.fields(config)})


def check_numbers(numbers: Mapping[str, Any]) -> None:
    """Raise ValueError for a number that is not one of its `LIMITS`; None is no number."""
    for name, value in numbers.items():
        low, high = LIMITS[name]
        if value is not None and not (settings.is_whole(value) and low <= value <= high):
            raise ValueError(f"{name} is {value!r}; it must be a whole number in {low}..{high}")


class Request(NamedTuple):
    """An experiment with all that it is asked for."""

    experiment: Experiment
    config: Any
    dataset: Any
    runs: int
    seed: int
    chunk: int | None = None
    store: ChunkStore | None = None
    progress: Progress | None = None
    cluster: str | None = None
    data_dir: Path | None = None

    def side_by_side(self, runs: int) -> int:
        """How many of so many runs are computed together."""
        return min(runs, self.experiment.side.together or self.chunk or len(jax.local_devices()))

    def stages(self) -> Path | None:
        """A folder for parts of chunks, which other settings of the same experiment may go on from."""
        return None if self.store is None else self.store.folder.parent / f"{self.experiment.name}-stages"

    def chunks(self, job: Job) -> list[Chunk]:
        """The chunks of a job."""
        runs = job.runs(self.runs)
        size = self.side_by_side(runs)
        devices = min(size, len(jax.local_devices()))
        kept = None if self.cluster else self.stages()
        return [
            Chunk(self.experiment.name, job.name, self.config, self.seed, first, count, devices, self.data_dir, kept)
            for first, count in chunks.chunk_ranges(runs, size)
        ]

    def count_chunks(self) -> int:
        """How many chunks all jobs have."""
        return sum(len(self.chunks(job)) for job in self.experiment.jobs(self.config))

    def saved_chunks(self) -> int:
        """How many of them an earlier start has saved."""
        if self.store is None or not self.store.saved():
            return 0
        each = [(self.store.part(job.name), self.chunks(job)) for job in self.experiment.jobs(self.config)]
        return sum(part.has(chunk.first, chunk.count) for part, chunks in each for chunk in chunks)

    def values(self) -> Values:
        """Compute all jobs, or take them from the store: {job: {name: [one value per run]}}."""
        jobs = {job.name: job for job in self.experiment.jobs(self.config)}
        every = [chunk for job in jobs.values() for chunk in self.chunks(job)]
        progress, title = self.progress or Progress(), self.experiment.side.title
        title = title or (self.experiment.source().titles[self.dataset.name] if self.dataset else self.experiment.name)
        progress.start(sum(job.work() * job.runs(self.runs) for job in jobs.values()), title)

        def advance(chunk: Chunk, work: float, text: str, *, loaded: bool = False) -> None:
            named = title if chunk.job == chunks.MAIN else f"{title}, {chunk.job}"
            runs = f"runs {chunk.first + 1}-{chunk.first + chunk.count} of {jobs[chunk.job].runs(self.runs)}"
            progress.advance(chunk.count * work, f"{named}, {runs}, {text}", loaded=loaded)

        def here(missing: Sequence[Chunk]) -> Iterator[Done]:
            device = provenance.device()
            for chunk in missing:
                began = time.monotonic()
                values = jobs[chunk.job].compute(chunk, self.dataset, functools.partial(advance, chunk))
                yield Done(chunk, values, time.monotonic() - began, device)

        def there(missing: Sequence[Chunk]) -> Iterator[Done]:
            for done in cluster.compute(str(self.cluster), missing):
                advance(done.chunk, jobs[done.chunk.job].work(), "computed")
                yield done

        def on_loaded(chunk: Chunk) -> None:
            advance(chunk, jobs[chunk.job].work(), "from an earlier start", loaded=True)

        def compute(missing: Sequence[Chunk]) -> Iterator[Done]:
            if len(missing) < len(every):
                progress.resumed(title)
            return there(missing) if self.cluster else here(missing)

        return chunks.run_chunks(every, compute, self.store, on_loaded)

    def results(self, values: Values) -> dict[str, Any]:
        """What the values say."""
        return self.finished(values)[0]

    def finished(self, values: Values) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What the values say, and what further files hold, by their names."""
        head: dict[str, Any] = {"dataset": self.dataset.name} if self.dataset else {}
        summary = self.experiment.summarize(self.config, self.experiment.side.gather(values))
        more, held = self.experiment.finish(self, values) if self.experiment.finish else ({}, {})
        return {**head, "runs": self.runs, **summary, **more}, held

    def usual(self) -> dict[str, Any]:
        """The settings' defaults, in the form of `recorded`."""
        config = self.experiment.config_class()()
        shown = self._replace(config=config).recorded("")
        return {name: value for name, value in shown.items() if name not in ("preset", "runs", "seed", "dataset")}

    def recorded(self, preset: str) -> dict[str, Any]:
        """The config as the JSON has it."""
        shown = dataclasses.asdict(self.config) if self.experiment.flags else {"dataset": self.config.dataset}
        for name in self.experiment.decided:
            phase, _, field = name.rpartition(".")
            del (shown[phase] if phase else shown)[field]
        return {"preset": preset, "runs": self.runs, "seed": self.seed, **shown}
