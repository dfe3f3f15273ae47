"""What --help says: three parts for every experiment, with the minutes that presets and examples take."""

import ast
import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.harness import cli, flags
from experiments.harness.provenance import ROOT
from subliminal_toy.lm import vocabulary
from subliminal_toy.mnist.data import Dataset

NAMES = [path.stem for path in sorted((ROOT / "experiments").glob("*.py")) if "EXPERIMENT = " in path.read_text()]
SIZES = {"digits": (1_437, 360, 64), "mnist": (60_000, 10_000, 784)}  # training and test images, pixels
MOST = 2.5  # times as long as it is said may an estimate be, or the other way round: loads and machines differ


def blank(name: str) -> Dataset:
    """A data set of its size, without memory."""
    seen, tested, pixels = SIZES[name]
    images, labels = (np.broadcast_to(kind(0), (seen + tested, pixels)) for kind in (np.float32, np.int32))
    return Dataset(name, images[:seen], labels[:seen, 0], images[seen:], labels[seen:, 0], (1, pixels), "nowhere")


def minutes(experiment: cli.Experiment, arguments: list[str]) -> float:
    """What a command takes: as measured, if its results are committed, else as --dry-run estimates it."""
    options = cli.make_parser(experiment).parse_args(arguments)
    dataset = blank("digits" if options.dataset == "digits" else "mnist") if experiment.side.images else None
    request = flags.asked(experiment, options, dataset)
    for path in (ROOT / "experiments/results").rglob(f"{experiment.name}.json"):
        document: dict[str, Any] = json.loads(path.read_text())
        old, new, where = document["config"], request.recorded(""), document["provenance"]
        if "cpu" in where["device"] and not cli.differences(old, {name: new[name] for name in new if name in old}):
            return where["seconds"] / 60
    return request.size().seconds / 60


@pytest.mark.parametrize("name", NAMES)
def test_help_has_three_parts_with_true_minutes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    experiment = importlib.import_module(f"experiments.{name}").EXPERIMENT
    text = cli.make_parser(experiment).format_help()
    assert max(map(len, text.splitlines())) <= 80
    first, other = (text.index(f"\n{title}") for title in ("what people change first:\n  --preset", "further flags"))
    shown, examples = text[first:other], text[text.index("\nexamples (minutes") :]
    assert other < text.index("  -h, --help") < text.index(examples)
    assert all(f"  {flag} " in shown for flag in ("--runs", "--seed", "--out"))
    assert 4 <= len(re.findall(r"^  --", shown, re.M)) <= 10
    said = {f"--preset {name}": preset.text for name, preset in experiment.presets.items()}
    commands = re.findall(rf"^    python -m experiments\.{name}(.*?)  +# (.*)$", examples, re.M)
    assert len(commands) == 3
    for arguments, words in [*said.items(), *commands]:
        about = float(re.findall(r"(\d+) minutes?\b", words)[0])
        assert 1 / MOST < (about + 1) / (minutes(experiment, shlex.split(arguments)) + 1) < MOST, (arguments, words)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments/results").rglob("*.json")), ids=lambda path: path.stem)
def test_the_command_of_committed_results_may_write_over_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages print it; settings that came later have defaults that leave results as they are."""
    document = json.loads(path.read_text())
    if document["experiment"] not in NAMES:
        pytest.skip("a command of its own")
    words, folder = shlex.split(document["provenance"]["command"])[3:], path.parent
    experiment = importlib.import_module(f"experiments.{document['experiment']}").EXPERIMENT
    monkeypatch.setattr(cli, "_train", lambda *_: 0)
    monkeypatch.setattr(cli.data, "load_dataset", lambda *_: blank(document["config"]["dataset"]))
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
    assert named.keys() == {"vocabulary.py"}
