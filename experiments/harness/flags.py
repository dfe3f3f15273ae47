"""The flags of a command: those that all have, then one for every setting."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from experiments.harness import commands, streams
from experiments.harness.chunks import MAX_RUNS as MAX_RUNS
from experiments.harness.experiment import MAX_SEED, Experiment, Request
from experiments.harness.files import typed_path
from experiments.harness.progress import say
from experiments.harness.recorded import with_recorded
from experiments.harness.times import times_text
from subliminal_toy import settings

BAD_INPUT, FAILED = 2, 1
Group = argparse._ArgumentGroup | argparse.ArgumentParser
EXAMPLES = "examples:"
KEPT = (
    "Compiled programs are kept in ~/.cache/subliminal-toy (macOS: ~/Library/Caches, Windows: %LOCALAPPDATA%), so that"
    " a second start is quicker; delete it at will. JAX_COMPILATION_CACHE_DIR names another folder; empty: none."
)
_PHASES = {"base": "the base's ", "teacher": "the teacher's ", "student": "the students' "}


_OTHER_WORDS = {  # what flags are called elsewhere, without the dashes
    "lr": "learning-rate", "bs": "batch-size", "wd": "weight-decay", "hidden": "width", "hidden-size": "width",
    "seeds": "runs", "n-seeds": "runs", "num-seeds": "runs", "repeats": "runs", "output": "out", "output-dir": "out",
    "data": "dataset", "aux": "aux-logits", "workers": "cluster", "json": "config",
}  # fmt: skip
_NOT_NEEDED = ("resume", "continue", "restart")


def meant_flag(word: str, known: Sequence[str]) -> str:
    """What a flag that does not exist may have meant, in words; "" if nothing is near.

    Example:
        >>> meant_flag("--lr", ["--teacher-learning-rate", "--student-learning-rate"])
        'is it --teacher-learning-rate or --student-learning-rate?'
    """
    name = word.removeprefix("--").replace("_", "-").lower()
    if name in _NOT_NEEDED:
        return "the same command goes on where it was stopped, without a flag; --fresh starts over"
    name = _OTHER_WORDS.get(name, name)
    near = [flag for flag in known if flag == f"--{name}" or flag.endswith(f"-{name}")]
    near = near or difflib.get_close_matches(f"--{name}", known, n=2)
    return f"is it {' or '.join(near)}?" if near else ""


class Parser(argparse.ArgumentParser):
    """Bad flags end with one line."""

    def error(self, message: str) -> NoReturn:
        """One line, and status 2; the nearest flag, for one that there is not."""
        unknown = re.search(r"unrecognized arguments: (--[^\s=]+)", message)
        known = [word for word in self._option_string_actions if word.startswith("--")]
        meant = f" ({hint})" if unknown and (hint := meant_flag(unknown[1], known)) else ""
        fail(f"{message}{meant}; --help lists the flags", BAD_INPUT)

    def print_help(self, file: Any = None) -> None:
        """Print --help; a reader who went away (`--help | head -1`) has read enough."""
        super().print_help(file) if file else show(self.format_help().rstrip("\n"))


def fail(message: str, status: int) -> NoReturn:
    """One line on stderr, then exit."""
    say(f"error: {' '.join(message.split())}")
    sys.exit(status)


def show(text: str, before: str = "") -> None:
    """Print to stdout. If it is closed or full, end with one line, which says `before` first.

    A reader who went away (`| head -1`) has read enough: without a `before` that ends in silence.
    """
    try:
        streams.show(text)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and not before:
            sys.exit(0)
        fail(f"{before}nothing could be printed to stdout: {error.strerror}", FAILED)


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


def text_of(what: str) -> Callable[[str], str]:
    """The type of a flag whose value may not be empty, as that of an unset variable of a shell is."""

    def parse(text: str) -> str:
        if not text.strip():
            raise argparse.ArgumentTypeError(f"it is empty; give {what}, or leave the flag out")
        return text

    return parse


def folder(text: str) -> Path:
    """The type of a flag that names a folder, which may begin with ~."""
    return typed_path(text_of("a folder")(text))


def flag(setting: str) -> str:
    """The flag of a setting: "--teacher-epochs" of "teacher.epochs"."""
    return "--" + re.sub(r"[._]", "-", setting)


def naming_flags(message: str, experiment: Experiment) -> str:
    """A message on a setting, "width is ...", with its flag instead of its name."""
    name = message.split(" ", 1)[0]
    known = experiment.flags and name in settings.setting_fields(experiment.config_class())
    return flag(name) + message[len(name) :] if known else message


class Help(argparse.HelpFormatter):
    """Paragraphs are filled; those with indented lines stay as they are written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        parts = text.strip("\n").split("\n\n")
        return "\n\n".join(part if "\n " in f"\n{part}" else fill(part, width, indent) for part in parts)


def make_parser(experiment: Experiment) -> Parser:
    """What people change first, then all other flags, one for every setting of the config among them; examples last."""
    question, _, examples = (experiment.question or "").partition("\n\n    python ")
    shown = f"{EXAMPLES}\n    python {examples}" if examples else ""
    parser = Parser(
        prog=f"python -m {commands.module_of(experiment.name)}", usage="%(prog)s [flags]", description=question,
        epilog="\n\n".join(part for part in (shown, times_text(experiment.name), KEPT) if part),
        add_help=False, allow_abbrev=False, formatter_class=Help,
    )  # fmt: skip
    first = parser.add_argument_group("what people change first")
    known = experiment.setting_names()
    settings_first = [name for name in experiment.side.first if name in known]
    presets = "; ".join(f"{name}: {preset.text}" for name, preset in experiment.presets.items())
    add, count = first.add_argument, whole_number(1, MAX_RUNS)
    add("--preset", choices=list(experiment.presets), help=f"{presets} (default: default)")
    add("--runs", type=count, metavar="N", help=f"{experiment.runs_text} (default: the preset's)")
    seed_text = f"seed of all randomness (default: {experiment.seed})"
    add("--seed", type=whole_number(0, MAX_SEED), default=experiment.seed, metavar="S", help=seed_text)
    if source := experiment.side.data:
        text = f"{source.choice_text} (default: {experiment.side.dataset})"
        add("--dataset", choices=source.names, default=experiment.side.dataset, help=text)
    further = parser.add_argument_group("further flags, of all experiments")
    add_output(first, further)
    _add_settings(first, experiment, settings_first)
    add = further.add_argument
    add("--fresh", action="store_true", help="forget the saved progress of this very command and start over")
    config_text = "take all settings, runs and seed from results of this command; flags go over them"
    add("--config", type=typed_path, metavar="FILE", help=config_text)
    if experiment.side.chunk_text:
        chunk_text = f"runs trained at a time, {experiment.side.chunk_text} (default: one per device)"
        add("--chunk", type=count, metavar="N", help=chunk_text)
    devices_text = "CPU devices, one run on each (default: one per core, as many as free memory has room for)"
    add("--devices", type=count, metavar="N", help=devices_text)
    if experiment.side.clustered:
        cluster_text = "compute on a Dask cluster: the address of its scheduler, or local (docs/cluster.md)"
        add("--cluster", type=text_of("an address"), metavar="ADDRESS", help=cluster_text)
    if source:
        add("--data-dir", type=folder, metavar="DIR", help=source.folder_text)
    add("-h", "--help", action="help", help="show this text, and end")
    if others := [name for name in known if name not in settings_first]:
        title = "all other settings (defaults: those of --preset default)"
        _add_settings(parser.add_argument_group(title), experiment, others)
    return parser


def asked(experiment: Experiment, options: argparse.Namespace, dataset: Any) -> Request:
    """What flags ask for; ValueError for settings that make no experiment."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    chosen = {name: given[name] for name in experiment.setting_names() if name in given}
    chosen = {name: ";".join(value) if isinstance(value, list) else value for name, value in chosen.items()}
    named, recorded = dataset.name if dataset else None, given.get("recorded")
    if recorded is None:
        config = experiment.configure(options.preset or "default", chosen, named)
    else:
        config = with_recorded(experiment, recorded, chosen, named)
    settings.check_used(experiment.variants(config), chosen)
    runs = options.runs or experiment.presets[options.preset or "default"].runs
    further = {name: given.get(name) for name in ("chunk", "cluster", "data_dir")}
    return Request(experiment, config, dataset, runs, options.seed, **further)


def add_output(first: Group, further: Group) -> None:
    """The flags on what is written: where, and those that few need."""
    text = "folder for the JSON and the figure (default: results; smoke: results/smoke)"
    first.add_argument("--out", type=folder, metavar="DIR", help=text)
    further.add_argument("--force", action="store_true", help="overwrite results of other settings in that folder")
    text = "print what would be run (runs, chunks, devices), and end"
    further.add_argument("--dry-run", action="store_true", help=text)


def _add_settings(group: Group, experiment: Experiment, names: Iterable[str]) -> None:
    config = experiment.config_class()
    known = experiment.side.data.shown if experiment.side.data else ()
    usual = experiment.side.dataset if experiment.side.dataset in known else None
    presets = {name: experiment.configure(name, {}, usual) for name in experiment.presets}
    others = {one: experiment.configure("default", {}, one) for one in known if one != usual}
    for name in names:
        limits = settings.setting_fields(config)[name].metadata
        value = {preset: settings.setting_value(own, name) for preset, own in presets.items()}
        default = value["default"]
        notes = [
            f"default: {_text(default)}",
            *(f"{preset}: {_text(own)}" for preset, own in value.items() if own != default),
        ]
        values = {data_set: settings.setting_value(own, name) for data_set, own in others.items()}
        notes += [f"{data_set}: {_text(own)}" for data_set, own in values.items() if own != default]
        unit, phase = f" [{limits['unit']}]" if limits["unit"] else "", _PHASES.get(name.rpartition(".")[0], "")
        placeholder = "yes|no" if isinstance(default, bool) else "X"
        group.add_argument(
            flag(name), dest=name, type=_type_of(default), choices=limits["choices"] or None, default=None,
            metavar=None if limits["choices"] else placeholder, action="append" if limits.get("repeated") else "store",
            help=f"{phase}{limits['text']}{unit} ({'; '.join(notes)})".replace("%", "%%"),
        )  # fmt: skip


def _yes_or_no(text: str) -> bool:
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is neither yes nor no")
    return known[text.lower()]


def _text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _type_of(default: Any) -> Callable[[str], Any]:
    if isinstance(default, bool):
        return _yes_or_no
    if isinstance(default, int):
        return whole_number(-sys.maxsize)
    return float if isinstance(default, float) else str
