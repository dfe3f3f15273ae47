"""How does the effect on MNIST depend on a setting, or on two? Curves and heat maps over the experiment's settings.

`--vary NAME=VALUE,VALUE,...` is a setting and its values; given twice, all pairs are run. Settings of the students
(learning rate, loss, temperature, ...) make more students of the same runs: same teacher, noise and batches, so that
their differences are paired. For all others there are other runs, with the same keys. `--list` prints every
setting that can be varied; `--score validation --seed 1000` is for choosing one without the test images.

    python -m experiments.mnist_sweeps
    python -m experiments.mnist_sweeps --vary aux_logits=1,3,10,30
    python -m experiments.mnist_sweeps --vary width=64,256 --runs 9
"""

import dataclasses
import difflib
import itertools
import sys
from collections.abc import Sequence
from typing import Any

from experiments.harness import cli, tables
from experiments.harness.chunks import Values
from experiments.harness.flags import flag
from experiments.mnist.runs import MAIN, SIDE, Job, accuracy_rows
from subliminal_toy import mnist
from subliminal_toy.mnist import data, students
from subliminal_toy.settings import check_used, setting, setting_fields, setting_value, with_settings

MOST = 2  # settings that are varied at a time
NAMES = ("reference", "teacher", *(condition.name for condition in mnist.STUDENTS))
WORDS = {"student.learning_rate": "students' learning rate", "aux_logits": "number of auxiliary outputs"}  # of settings
Axes = dict[str, list[Any]]  # setting -> values


@dataclasses.dataclass(frozen=True)
class SweepConfig(mnist.Config):
    """The settings of the experiment, and which of them are varied."""

    vary: str = dataclasses.field(
        default="student.learning_rate=1e-4,3e-4,1e-3,3e-3,1e-2",
        metadata={
            **setting("", "NAME=VALUE,VALUE,...: a setting and its values; can be given twice").metadata,
            "repeated": True,  # several are joined by ";"
        },
    )
    score: str = setting(
        "test",
        "images of the accuracies; to choose a setting: validation, a fifth of the training images, held back",
        choices=("test", "validation"),
    )

    def __post_init__(self) -> None:
        """Check all ranges and names."""
        super().__post_init__()
        axes = self.axes()
        try:
            check_used(variants(self), axes)
        except ValueError as error:
            raise ValueError(f"vary makes a point that cannot be: {error}") from error

    def axes(self) -> Axes:
        """What is varied; ValueError for what cannot be, with the nearest name or value that can."""
        found: Axes = {}
        for part in self.vary.split(";"):
            name, equals, values = (text.strip() for text in part.partition("="))
            if not equals:
                raise ValueError(f"vary is {part!r}; it must be NAME=VALUE,VALUE,...")
            name = _BY_FLAG.get(flag(name.removeprefix("--")), name)
            if name not in varied():
                raise ValueError(f"vary names {name!r}; it is no setting{_nearest_setting(name)}; see --list")
            found[name] = [_value(name, text.strip()) for text in values.split(",")]
            if len({_text({name: value}) for value in found[name]}) < len(found[name]):
                raise ValueError(f"vary has a value of {name} twice, to six digits")
        if len(found) < len(self.vary.split(";")) or len(found) > MOST:
            raise ValueError(f"vary is {self.vary!r}; up to {MOST} settings can be varied, each once")
        return found


def varied() -> list[str]:
    """The settings that can be varied."""
    return [name for name in setting_fields(mnist.Config) if name != "dataset"]


_BY_FLAG = {flag(name): name for name in varied()}  # --vary takes "student-learning-rate", too


def _nearest_setting(name: str) -> str:
    same = [known for known in varied() if known.rpartition(".")[2] == name.replace("-", "_")]
    return f"; it may be {' or '.join(map(repr, same))}" if same else _nearest(name, varied())


def _value(name: str, text: str) -> Any:
    field = setting_fields(mnist.Config)[name]
    choices = field.metadata["choices"]
    kind: Any = type(field.default)
    if choices and text not in choices:
        raise ValueError(f"vary has {name}={text}; there is no such value{_nearest(text, choices)}")
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"vary has {name}={text}; it takes {_KINDS[kind]}") from None


_KINDS = {int: "whole numbers", float: "numbers", str: "names"}


def _nearest(text: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.0)
    return f", the nearest is {near[0]!r}" if near else ""


def points(config: SweepConfig) -> list[dict[str, Any]]:
    """The settings of every point."""
    axes = config.axes()
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def variants(config: SweepConfig) -> list[mnist.Config]:
    """The config of every point."""
    return [with_settings(_plain(config), point) for point in points(config)]


def _plain(config: SweepConfig) -> mnist.Config:
    return mnist.Config(**{field.name: getattr(config, field.name) for field in dataclasses.fields(mnist.Config)})


def _split(point: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the students alone have of a point's settings, and what makes it other runs."""
    own = {name: v for name, v in point.items() if name.startswith("student.") or name in students.STUDENT_SIDE}
    return own, {name: value for name, value in point.items() if name not in own}


def _text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
                     for name, value in settings.items())  # fmt: skip


def _student(name: str, own: dict[str, Any]) -> str:
    return f"{name}, {_text(own)}" if own else name


def jobs(config: SweepConfig) -> list[Job]:
    """What is trained: a job for every setting of the runs, with the students of all points that share them."""
    found: dict[str, tuple[dict[str, Any], list[mnist.Condition]]] = {}
    for point in points(config):
        own, others = _split(point)
        every = found.setdefault(_text(others) or MAIN, (others, []))[1]
        every += [c._replace(name=_student(c.name, own), settings=tuple(own.items())) for c in mnist.STUDENTS]
    held_out = config.score == "validation"
    return [
        Job(name, with_settings(_plain(config), others), tuple(every), held_out=held_out)
        for name, (others, every) in found.items()
    ]


def summarize(config: SweepConfig, values: Values) -> dict[str, Any]:
    """Accuracies in [0, 1] at every point, on the images of `config.score`, means over runs and 95% t intervals.

    Returns:
        `{"sweeps": [{"vary": {setting: values}, "words": {setting: words}, "points": [{"settings", "words",
        "conditions": [{"name", "words", "accuracy", "mean", "ci95"}]}]}]}`.
    """
    found = []
    for point in points(config):
        own, others = _split(point)
        columns = values[_text(others) or MAIN]
        accuracy = {name: columns[name if name in ("reference", "teacher") else _student(name, own)] for name in NAMES}
        words = ", ".join(f"{WORDS.get(name, name)} {value}" for name, value in point.items())
        found.append({"settings": point, "words": words, "conditions": accuracy_rows(accuracy, NAMES)})
    axes = config.axes()
    return {"sweeps": [{"vary": axes, "words": {name: WORDS.get(name, name) for name in axes}, "points": found}]}


def table(document: dict[str, Any]) -> str:
    """A row for every point, as Markdown."""
    results = document["results"]
    rows = [
        (_text(point["settings"]), *(" ".join(tables.interval_text(row["mean"], row["ci95"]))
                                     for row in point["conditions"][1:]))
        for sweep in results["sweeps"] for point in sweep["points"]
    ]  # fmt: skip
    score = document["config"].get("score", "test")  # what was run before there was a choice has none
    shown = data.TITLES[results["dataset"]]
    if not any("noise_images" in sweep["vary"] for sweep in results["sweeps"]):
        shown += f", {document['config']['noise_images']:,} noise images"
    header = f"{score} accuracy, {shown}, mean and 95% CI (t) of {results['runs']} runs"
    every = [row for sweep in results["sweeps"] for point in sweep["points"] for row in point["conditions"]]
    return tables.markdown_table((header, *NAMES[1:]), rows) + tables.beyond_note(every)


def listing() -> str:
    """Every setting that can be varied: its type, default and meaning, and whether it is the students' own."""
    rows = []
    for name in varied():
        field = setting_fields(mnist.Config)[name]
        whose = "same runs" if _split({name: 0})[0] else "other runs"
        known = ", ".join(field.metadata["choices"]) or type(field.default).__name__
        phase = f"{name.rpartition('.')[0]}: " if "." in name else ""
        usual, digits = (setting_value(EXPERIMENT.configure("default", {}, on), name) for on in ("mnist", "digits"))
        default = f"{usual}" if usual == digits else f"{usual} (digits: {digits})"
        rows.append((name, known, default, whose, phase + field.metadata["text"]))
    widths = [max(len(row[i]) for row in rows) for i in (0, 2)]
    return "\n".join(
        f"{name:{widths[0]}}  default {default:{widths[1]}}  {whose:10}  {text} ({kind})"
        for name, kind, default, whose, text in rows
    )


PRESETS = {
    "smoke": cli.Preset(
        2, {"teacher.epochs": 1, "student.epochs": 1, "noise_images": 2048, "vary": "student.learning_rate=3e-4,1e-3"},
        "2 short runs, to see that it works",
    ),
    "default": cli.Preset(3, {"noise_images": 10_000}, "3 runs of a point with 10,000 noise images"),
    "paper": cli.Preset(25, {}, "25 runs of a point"),
}  # fmt: skip
EXPERIMENT = cli.Experiment(
    "mnist_sweeps",
    __doc__,
    PRESETS,
    jobs,
    summarize,
    table,
    SIDE._replace(dataset="digits"),
    SweepConfig,
    variants=variants,
)
run = EXPERIMENT.run

if __name__ == "__main__":
    if "--list" in sys.argv[1:]:
        cli.show(listing())
        sys.exit()
    cli.main(EXPERIMENT)
