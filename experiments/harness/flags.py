"""The flags of a command: those that all have, then one for every setting."""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from experiments.harness.chunks import MAX_RUNS as MAX_RUNS
from experiments.harness.experiment import Experiment
from experiments.harness.progress import say
from subliminal_toy import config as settings
from subliminal_toy.mnist import data

BAD_INPUT, FAILED = 2, 1
MAX_SEED = 2**32 - 1
_PHASES = {"base": "the base's ", "teacher": "the teacher's ", "student": "the students' "}


class Parser(argparse.ArgumentParser):
    """Bad flags end with one line."""

    def error(self, message: str) -> NoReturn:
        """One line, and status 2."""
        fail(f"{message}; --help lists the flags", BAD_INPUT)


def fail(message: str, status: int) -> NoReturn:
    """One line on stderr, then exit."""
    say(f"error: {' '.join(message.split())}")
    sys.exit(status)


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """The type of a flag that takes whole numbers of a range."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,4000}", text):
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number")
        if (value := int(text)) < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(
                f"{text[:40]} is not {f'at least {low}' if high is None else f'in {low}..{high}'}"
            )
        return value

    return parse


def flag(setting: str) -> str:
    """The flag of a setting: "--teacher-epochs" of "teacher.epochs"."""
    return "--" + re.sub(r"[._]", "-", setting)


def naming_flags(message: str, experiment: Experiment) -> str:
    """A message on a setting, "width is ...", with its flag instead of its name."""
    name = message.split(" ", 1)[0]
    known = experiment.config is not None and name in settings.setting_fields(experiment.config)
    return flag(name) + message[len(name) :] if known else message


def make_parser(experiment: Experiment) -> Parser:
    """The common flags, then one flag for every setting of the config."""
    parser = Parser(
        prog=f"python -m experiments.{experiment.name}", usage="%(prog)s [flags]", description=experiment.question,
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    presets = "; ".join(f"{name}: {preset.text}" for name, preset in experiment.presets.items())
    add, count = parser.add_argument, whole_number(1, MAX_RUNS)
    add("--preset", choices=list(experiment.presets), default="default", help=f"{presets} (default: default)")
    add("--runs", type=count, metavar="N", help=f"{experiment.runs_text} (default: the preset's)")
    seed_text = f"seed of all randomness (default: {experiment.seed})"
    add("--seed", type=whole_number(0, MAX_SEED), default=experiment.seed, metavar="S", help=seed_text)
    if experiment.side.chunk_text:
        chunk_text = f"runs trained at a time, {experiment.side.chunk_text} (default: one per device)"
        add("--chunk", type=count, metavar="N", help=chunk_text)
    add_output(parser)
    if experiment.side.clustered:
        cluster_text = "compute on a Dask cluster: the address of its scheduler, or local (docs/cluster.md)"
        add("--cluster", metavar="ADDRESS", help=cluster_text)
    if experiment.side.images:
        auto = f"auto is MNIST, or 8x8 digits without it (default: {experiment.side.dataset})"
        add("--dataset", choices=data.DATASETS, default=experiment.side.dataset, help=auto)
        folder = "folder with the four IDX .gz files (default: $MNIST_DIR, then TensorFlow Datasets)"
        add("--data-dir", type=Path, metavar="DIR", help=folder)
    add("--fresh", action="store_true", help="forget the saved progress of this very command and start over")
    if experiment.show:
        add(
            "--show", metavar="WORD", help="print what the results in --out, or the committed ones, have of it, and end"
        )
    if experiment.config is not None:
        _add_settings(parser, experiment, experiment.config)
    return parser


def add_output(parser: argparse.ArgumentParser) -> None:
    """The flags on what is written."""
    text = "folder for the JSON and the figure (default: results)"
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help=text)
    parser.add_argument("--force", action="store_true", help="overwrite results of other settings in that folder")
    text = "print what would be run (runs, parameters, memory, time), and end"
    parser.add_argument("--dry-run", action="store_true", help=text)


def _add_settings(parser: argparse.ArgumentParser, experiment: Experiment, config: type) -> None:
    group = parser.add_argument_group("settings of the experiment (defaults: those of --preset default)")
    presets = {name: settings.with_settings(config(), own.settings) for name, own in experiment.presets.items()}
    for name, field in settings.setting_fields(config).items():
        if name == "dataset" or name in experiment.decided:
            continue
        limits, value = field.metadata, {preset: settings.setting_value(own, name) for preset, own in presets.items()}
        default = value["default"]
        notes = [f"default: {default}", *(f"{preset}: {own}" for preset, own in value.items() if own != default)]
        if config is settings.Config:
            notes += [f"{d}: {own[name]}" for d, own in settings.DATASET_SETTINGS.items() if name in own]
        unit, phase = f" [{limits['unit']}]" if limits["unit"] else "", _PHASES.get(name.rpartition(".")[0], "")
        group.add_argument(
            flag(name), dest=name, type=_type_of(default), choices=limits["choices"] or None, default=None,
            metavar=None if limits["choices"] else "X", action="append" if limits.get("repeated") else "store",
            help=f"{phase}{limits['text']}{unit} ({'; '.join(notes)})".replace("%", "%%"),
        )  # fmt: skip


def _type_of(default: Any) -> Callable[[str], Any]:
    if isinstance(default, int):
        return whole_number(-sys.maxsize)
    return float if isinstance(default, float) else str
