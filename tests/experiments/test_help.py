"""What --help says: three parts for every experiment, with the minutes that presets and examples take."""

import ast
import importlib
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from experiments.harness import cli, times
from experiments.harness.commands import module_of, modules
from experiments.harness.provenance import ROOT
from subliminal_toy.lm import vocabulary
from subliminal_toy.mnist.data import Dataset

NAMES = [name for name, module in modules().items() if hasattr(importlib.import_module(module), "EXPERIMENT")]
SIZES = {"digits": (1_437, 360, 64), "mnist": (60_000, 10_000, 784)}  # training and test images, pixels


def blank(name: str) -> Dataset:
    """A data set of its size, without memory."""
    seen, tested, pixels = SIZES[name]
    images, labels = (np.broadcast_to(kind(0), (seen + tested, pixels)) for kind in (np.float32, np.int32))
    return Dataset(name, images[:seen], labels[:seen, 0], images[seen:], labels[seen:, 0], (1, pixels), "nowhere")


@pytest.mark.parametrize("name", NAMES)
def test_help_has_three_parts_and_measured_minutes_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    experiment = importlib.import_module(module_of(name)).EXPERIMENT
    text = cli.make_parser(experiment).format_help()
    assert max(map(len, text.splitlines())) <= 80
    first, other = (text.index(f"\n{title}") for title in ("what people change first:\n  --preset", "further flags"))
    shown, examples = text[first:other], text[text.index("\nexamples:") :]
    assert other < text.index("  -h, --help") < text.index(examples)
    assert all(f"  {flag} " in shown for flag in ("--runs", "--seed", "--out"))
    assert 4 <= len(re.findall(r"^  --", shown, re.M)) <= 10
    commands = re.findall(rf"^    python -m {re.escape(module_of(name))}(.*)$", examples, re.M)
    assert len(commands) == 3
    for arguments in commands:
        cli.make_parser(experiment).parse_args(shlex.split(arguments))
    records = [json.loads(path.read_text())["provenance"] for path in times.RESULTS.rglob(f"{name}.json")]
    told = sorted(int(count) for count in re.findall(r"^    (\d+) minutes?: ", text, re.M))
    assert told == sorted(max(1, round(record["seconds"] / 60)) for record in records)
    assert len(re.findall(r"\bminutes?\b", text)) == len(told)


def test_minutes_stand_beside_the_flags_that_took_them(tmp_path: Path) -> None:
    for folder, seconds, flags in (("", 1668.0, "--preset paper --out there"), ("b", 20.0, "--out x --force")):
        record = {"seconds": seconds, "device": "2 x cpu", "command": f"python -m experiments.fake {flags}"}
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "fake.json").write_text(json.dumps({"provenance": record}))
    lines = times.times_text("fake", tmp_path).splitlines()
    assert lines == ["measured on 2 x cpu:", "    1 minute: without flags", "    28 minutes: --preset paper"]
    assert times.times_text("other", tmp_path) == ""


@pytest.mark.parametrize("path", sorted((ROOT / "experiments/results").rglob("*.json")), ids=lambda path: path.stem)
def test_the_command_of_committed_results_may_write_over_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages print it; settings that came later have defaults that leave results as they are."""
    document = json.loads(path.read_text())
    if "--explore" in document["provenance"]["command"]:
        pytest.skip("of a flag that is gone: the benchmark writes over these with --force")
    words, folder = shlex.split(document["provenance"]["command"])[3:], path.parent
    experiment = importlib.import_module(module_of(document["experiment"])).EXPERIMENT
    monkeypatch.setattr(cli, "_train", lambda *_: 0)
    monkeypatch.setattr(cli.provenance, "switches", dict)  # tests compile with other flags
    monkeypatch.setattr("subliminal_toy.mnist.data.load_dataset", lambda *_: blank(document["config"]["dataset"]))
    given = [*(word for word in words if word != "--force"), "--out", str(folder)]
    assert cli.command(experiment, given) == 0
    with pytest.raises(SystemExit):
        cli.command(experiment, [*given, "--seed", "987"])


def test_no_experiment_names_an_answer_so_that_any_word_can_be_replaced() -> None:
    named = {}
    for path in [*(ROOT / "experiments").rglob("*.py"), *(ROOT / "subliminal_toy").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in said]
        words = {word for text in texts if isinstance(text, str) for word in re.split(r"[,\s]+", text)}
        if found := words & set(vocabulary.CATEGORIES["animal"]):
            named[path.name] = found
    assert named.keys() == {"vocabulary.py", "questions.py", "minimal.py"}  # toy, real model, one page
