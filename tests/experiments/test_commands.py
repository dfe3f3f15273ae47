"""One list of commands, and one way to start them."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from experiments import __main__ as front
from experiments.harness import commands

ROOT = Path(__file__).parents[2]


def test_every_command_is_listed_with_its_question(capsys: pytest.CaptureFixture) -> None:
    front.main([])
    lines = capsys.readouterr().out.splitlines()[2:]
    known = front.commands()
    assert {"mnist_aux_logits", "lm_numbers", "gradient_theorem", "mnist_sweeps"} <= set(known)
    assert [line.split()[0] for line in lines] == [commands.module_of(name) for name in known]
    for line, (name, question) in zip(lines, known.items(), strict=True):
        assert line.endswith(question)
        assert len(question) > 20
        assert importlib.util.find_spec(commands.module_of(name))


def test_stray_files_are_no_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "._x.py").write_bytes(b"\0\5\xff")
    (tmp_path / "idea.py").write_text("def f(:", encoding="utf-8")
    (tmp_path / "mine.py").write_text('"""Why?"""\n\nif __name__ == "__main__":\n    pass\n', encoding="utf-8")
    monkeypatch.setattr(commands, "EXPERIMENTS", tmp_path)
    assert front.commands() == {"mine": "Why?"}


def test_an_unknown_command_gets_the_nearest(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        front.main(["lm_number", "--runs", "1"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: there is no command 'lm_number'; did you mean lm_numbers?\n"


def test_a_command_gets_its_flags() -> None:
    arguments = ["mnist_aux_logits", "--no-such-flag"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "--no-such-flag" in done.stderr


def test_the_console_script_is_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"subliminal-toy": "experiments.__main__:main"}
