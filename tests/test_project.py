"""Promises about the whole project: imports point one way, modules are small, committed files name no machine."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.harness.provenance import ROOT

PACKAGES = ("subliminal_toy", "theory", "experiments", "figures", "docs")
ALLOWED = {
    "subliminal_toy": {"subliminal_toy"},
    "theory": {"theory"},
    "experiments": {"experiments", "subliminal_toy", "theory", "figures"},  # figures: a command draws what it wrote
    "figures": {"figures", "experiments"},  # of these only how commands write and print
    "docs": {"docs", "experiments", "subliminal_toy"},  # results, as JSON; an experiment's own table, its statistics
}
WRITING = {"experiments.harness", "experiments.harness.files", "experiments.harness.streams"}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(tree: ast.Module) -> set[str]:
    """Top-level names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way_and_modules_are_small_and_documented(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    package = path.relative_to(ROOT).parts[0]
    assert imported(tree) & {*PACKAGES, "tests"} <= ALLOWED[package]
    if package == "figures":
        used = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        assert {name for name in used if name.startswith("experiments")} <= WRITING
    if package == "theory":
        assert "numpy" not in imported(tree)
    assert ast.get_docstring(tree)
    assert len(text.splitlines()) <= 350


def test_the_walk_sees_a_forbidden_import() -> None:
    assert imported(ast.parse("def f():\n    from experiments import cli")) == {"experiments"}


def test_every_command_is_quiet_about_ctrl_c_before_its_slow_imports(tmp_path: Path) -> None:
    """`python -m experiments.<name>` imports the package first, and that alone makes it quiet."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "jax.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")  # a slow import
    command = [sys.executable, "-m", "experiments.mnist_aux_logits"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "stopped before anything was computed\n")
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "import experiments.mnist_aux_logits\n"
    code += "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stdout == "True\n"  # a notebook keeps its own


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


def test_committed_files_are_small_and_name_no_machine() -> None:
    pattern = re.compile(rb"(^|[^A-Za-z0-9_.])/(work|root|home/\w+)/")
    for path in tracked():
        content = path.read_bytes()
        assert len(content) < 1_000_000, path
        if path.suffix != ".png" and path != Path(__file__):
            assert not pattern.search(content), path


def test_committed_results_are_clean_and_complete() -> None:
    for path in sorted((ROOT / "experiments" / "results").rglob("*.json")):
        document = json.loads(path.read_text())
        assert document["experiment"] == path.stem
        assert document["provenance"]["dirty"] is False, path
        assert document["provenance"]["command"].split()[2].endswith(f".{path.stem}")
