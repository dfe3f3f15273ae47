"""kill -9, Ctrl-C, full disks: what was saved stays, and the same command ends with the same results."""

import json
import resource
import signal
import sys
from pathlib import Path

import pytest

from experiments.harness.chunks import _checksum
from tests.experiments import commands
from tests.experiments.kill_often import results


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("calm")
    ended = commands.run(out, *commands.TINY)
    assert (ended.status, commands.chunks(out)) == (0, [])
    return out


def test_killed_after_a_chunk_goes_on_from_it(tmp_path: Path, calm: Path) -> None:
    ended = commands.stop_after_chunks(commands.start(tmp_path, *commands.TINY), tmp_path, 1, signal.SIGKILL)
    assert ended.status == -signal.SIGKILL
    saved = {path: path.stat().st_mtime_ns for path in commands.chunks(tmp_path)[:1]}
    assert len(saved) == 1
    second = commands.stop_after_chunks(commands.start(tmp_path, *commands.TINY), tmp_path, 3, signal.SIGKILL)
    still = {path: path.stat().st_mtime_ns for path in saved if path.exists()}
    assert second.status == 0 or still == saved  # taken up, not computed again
    assert commands.run(tmp_path, *commands.TINY).status == 0
    assert results(tmp_path) == results(calm)


def test_ctrl_c_ends_with_130_and_keeps_progress(tmp_path: Path, calm: Path) -> None:
    ended = commands.stop_after_chunks(commands.start(tmp_path, *commands.TINY), tmp_path, 1, signal.SIGINT)
    assert ended.status == 130
    assert "Traceback" not in ended.err
    assert ended.err.strip().splitlines()[-1].startswith("stopped; finished chunks are kept")
    assert len(commands.chunks(tmp_path)) >= 1
    assert commands.run(tmp_path, *commands.TINY).status == 0
    assert results(tmp_path) == results(calm)


def test_same_seed_same_bits_and_another_seed_others(tmp_path: Path, calm: Path) -> None:
    assert commands.run(tmp_path / "again", *commands.TINY).status == 0
    assert results(tmp_path / "again") == results(calm)
    assert commands.run(tmp_path / "other", *commands.TINY, "--seed", "1").status == 0
    assert results(tmp_path / "other")["results"] != results(calm)["results"]


def test_fresh_forgets_progress(tmp_path: Path) -> None:
    commands.stop_after_chunks(commands.start(tmp_path, *commands.TINY), tmp_path, 1, signal.SIGKILL)
    first = commands.chunks(tmp_path)[0]
    content = json.loads(first.read_text())
    content["values"] = {name: [0.5, 0.5] for name in content["values"]}
    content["sha256"] = _checksum({name: value for name, value in content.items() if name != "sha256"})
    first.write_text(json.dumps(content))
    assert commands.run(tmp_path, *commands.TINY, "--fresh").status == 0
    assert results(tmp_path)["results"]["conditions"][0]["accuracy"][:2] != [0.5, 0.5]


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits as on Linux")
def test_a_disk_that_fills_up_costs_nothing_saved(tmp_path: Path, calm: Path) -> None:
    """A limit on file size stands in for the full disk: the JSON fits, the figure or the next JSON does not."""
    (tmp_path / "mnist_aux_logits.json").write_text("old results")
    process = commands.start(tmp_path, *commands.TINY, "--force")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
    ended = commands.finish(process)
    assert ended.status == 1
    assert ended.err.strip().splitlines()[-1].startswith(f"error: cannot write to {tmp_path}: File too large")
    assert "Traceback" not in ended.err
    assert (tmp_path / "mnist_aux_logits.json").read_text() == "old results"
    assert len(commands.chunks(tmp_path)) == 3
    assert commands.run(tmp_path, *commands.TINY, "--force").status == 0
    assert results(tmp_path) == results(calm)
