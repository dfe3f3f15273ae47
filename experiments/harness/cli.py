"""The command line that all experiments share: flags, presets, one-line errors."""

import argparse
import dataclasses
import functools
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from experiments.harness import chunks, files, provenance
from experiments.harness.progress import Progress, say
from experiments.harness.quiet_interrupt import INTERRUPTED
from subliminal_toy import config as settings
from subliminal_toy import engine
from subliminal_toy.mnist import data

BAD_INPUT, FAILED = 2, 1
_PHASES = {"base": "the base's ", "teacher": "the teacher's ", "student": "the students' "}
MAX_SEED = 2**32 - 1


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
    store: chunks.ChunkStore | None
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
    run: Callable[..., dict[str, Any]]  # (config, dataset or None, request) -> results
    table: Callable[[dict[str, Any]], str]  # the whole JSON -> text
    figure: bool = True
    config: type | None = settings.Config  # the dataclass whose settings are flags of this command
    dataset: bool = True  # whether it runs on images
    chunk_text: str = "about 0.5 GB each on MNIST"
    seed: int = 0  # unless --seed is given


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message}; --help lists the flags", BAD_INPUT)


def fail(message: str, status: int) -> NoReturn:
    """One line on stderr, then exit."""
    say(f"error: {' '.join(message.split())}")
    sys.exit(status)


def _whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
        if (value := int(text)) < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(
                f"{value} is not {f'at least {low}' if high is None else f'in {low}..{high}'}"
            )
        return value

    return parse


def make_parser(experiment: Experiment) -> argparse.ArgumentParser:
    """The common flags, then one flag for every setting of the config."""
    parser = _Parser(
        prog=f"python -m experiments.{experiment.name}", usage="%(prog)s [flags]", description=experiment.question,
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    presets = "; ".join(f"{name}: {preset.text}" for name, preset in experiment.presets.items())
    add = parser.add_argument
    add("--preset", choices=list(experiment.presets), default="default", help=f"{presets} (default: default)")
    add(
        "--runs",
        type=_whole_number(1),
        metavar="N",
        help="independent runs, each with its own key (default: the preset's)",
    )
    seed_help = f"seed of all randomness (default: {experiment.seed})"
    add("--seed", type=_whole_number(0, MAX_SEED), default=experiment.seed, metavar="S", help=seed_help)
    add("--chunk", type=_whole_number(1), metavar="N",
        help=f"runs trained at a time, {experiment.chunk_text} (default: one per device)")  # fmt: skip
    add(
        "--out",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="folder for the JSON and the figure (default: results)",
    )
    if experiment.dataset:
        add("--dataset", choices=data.DATASETS, default="auto",
            help="auto is MNIST, or 8x8 digits without it (default: auto)")  # fmt: skip
        add("--data-dir", type=Path, metavar="DIR",
            help="folder with the four IDX .gz files (default: $MNIST_DIR, then TensorFlow Datasets)")  # fmt: skip
    add("--fresh", action="store_true", help="forget the saved progress of this very command and start over")
    if experiment.config is not None:
        _add_settings(parser, experiment.config)
    return parser


def _add_settings(parser: argparse.ArgumentParser, config: type) -> None:
    group = parser.add_argument_group("settings of the experiment (defaults: the paper's, or as marked)")
    defaults = config()
    for name, field in settings.setting_fields(config).items():
        if name == "dataset":
            continue
        limits, flag = field.metadata, "--" + re.sub(r"[._]", "-", name)
        default = functools.reduce(getattr, name.split("."), defaults)
        unit = f" [{limits['unit']}]" if limits["unit"] else ""
        notes, phase = [f"default: {default}"], _PHASES.get(name.rpartition(".")[0], "")
        if config is settings.Config:
            notes += [f"{d}: {own[name]}" for d, own in settings.DATASET_SETTINGS.items() if name in own]
        group.add_argument(
            flag, dest=name, type=_type_of(default), choices=limits["choices"] or None, default=None,
            metavar=None if limits["choices"] else "X",
            help=f"{phase}{limits['text']}{unit} ({'; '.join(notes)})".replace("%", "%%"),
        )  # fmt: skip


def _type_of(default: Any) -> Callable[[str], Any]:
    if isinstance(default, int):
        return _whole_number(-sys.maxsize)
    return float if isinstance(default, float) else str


def main(experiment: Experiment, arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; bad input and failures end with one line (SystemExit)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = make_parser(experiment).parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    progress = Progress(quiet=False)
    try:
        return _run(experiment, options, arguments, progress)
    except KeyboardInterrupt:
        progress.close()
        say("stopped; finished chunks are kept, and the same command goes on from there")
        return INTERRUPTED
    except engine.RunFailedError as error:
        progress.close()
        fail(str(error), FAILED)
    except OSError as error:
        progress.close()
        fail(f"cannot write to {options.out}: {error.strerror}; what was saved before is kept", FAILED)


def _run(experiment: Experiment, options: argparse.Namespace, arguments: list[str], progress: Progress) -> int:
    try:
        files.check_writable(options.out)
    except OSError as error:
        fail(f"cannot write to the output folder {options.out}: {error.strerror}; choose another with --out", BAD_INPUT)
    try:
        dataset = data.load_dataset(options.dataset, options.data_dir) if experiment.dataset else None
        config, runs = _configure(experiment, options, dataset.name if dataset else None)
    except ValueError as error:  # DataError is one
        fail(str(error), BAD_INPUT)
    engine.use_cpu_cores()
    origin = provenance.Provenance(f"experiments.{experiment.name}", arguments)
    if dataset and dataset.notice:
        say(f"\n*** {dataset.notice} ***\n")
    store = _open_store(experiment, options, config)
    request = Request(runs, options.seed, options.chunk, store, progress, options.out)
    results = experiment.run(config, dataset, request)
    progress.close()
    shown = dataclasses.asdict(config) if experiment.config else {"dataset": config.dataset}
    document = {
        "experiment": experiment.name,
        "config": {"preset": options.preset, "runs": runs, "seed": options.seed, **shown},
        "provenance": origin.record(),
        "results": results,
    }
    _finish(experiment, options.out, document)
    store.clear()
    return 0


def _configure(experiment: Experiment, options: argparse.Namespace, dataset: str | None) -> tuple[Any, int]:
    """The preset's settings over the dataset's over the paper's, the flags over all."""
    preset, given = experiment.presets[options.preset], vars(options)
    names = settings.setting_fields(experiment.config)
    chosen = {name: given[name] for name in names if name != "dataset" and given.get(name) is not None}
    both = {**preset.settings, **chosen}
    if dataset is not None:
        return settings.config_for(dataset, both), options.runs or preset.runs
    assert experiment.config is not None  # without images there is nothing but settings
    return settings.with_settings(experiment.config(), both), options.runs or preset.runs


def _open_store(experiment: Experiment, options: argparse.Namespace, config: Any) -> chunks.ChunkStore:
    what = provenance.fingerprint(experiment=experiment.name, config=config, seed=options.seed, chunk=options.chunk)
    store = chunks.ChunkStore(options.out / ".progress" / f"{experiment.name}-{what}")
    if options.fresh:
        store.clear()
    return store


def _finish(experiment: Experiment, out: Path, document: dict[str, Any]) -> None:
    """Write the JSON and the figure, print the table and the paths."""
    paths = [out / f"{experiment.name}.json"]
    files.write_json(paths[0], document)
    if experiment.figure:
        import figures  # Matplotlib is slow to import, and training does not need it

        paths.append(figures.draw(experiment.name, results=out, out=out))
    print(experiment.table(document))
    for path in paths:
        print(f"wrote {path}")
