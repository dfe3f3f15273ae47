"""kill -9, Ctrl-C, full disks: what was saved stays, and the same command ends with the same results."""

import resource
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.experiments import commands, fake
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
    saved = commands.chunks(tmp_path)
    assert saved
    before = saved[0].stat().st_mtime_ns
    seen = commands.start(tmp_path, *commands.TINY)
    while seen.poll() is None:
        assert mtime(saved[0]) in (before, None)  # taken up and at last swept, never computed again
        time.sleep(0.02)
    assert commands.finish(seen).status == 0
    assert results(tmp_path) == results(calm)


def mtime(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def test_ctrl_c_ends_with_130_and_keeps_progress(tmp_path: Path, calm: Path) -> None:
    ended = commands.stop_after_chunks(commands.start(tmp_path, *commands.TINY), tmp_path, 1, signal.SIGINT)
    assert ended.status == 130
    assert "Traceback" not in ended.err
    assert ended.err.strip().splitlines()[-1].startswith("stopped; finished chunks are kept")
    assert len(commands.chunks(tmp_path)) >= 1
    assert commands.run(tmp_path, *commands.TINY).status == 0
    assert results(tmp_path) == results(calm)


@pytest.mark.parametrize("flags", [(), ("--fresh",)])
def test_fresh_forgets_progress(tmp_path: Path, capsys: pytest.CaptureFixture, flags: tuple[str, ...]) -> None:
    def stopped(first: int, count: int) -> dict[str, list]:
        if first >= 2:
            raise KeyboardInterrupt
        return {"a": [9.0] * count, "b": [9.0] * count}

    assert fake.command(tmp_path, of=fake.experiment(stopped)) == 130
    assert fake.command(tmp_path, *flags) == 0
    assert fake.results(tmp_path)["a"] == ([0.0, 1.0] if flags else [9.0, 9.0]) + [2.0, 3.0]
    told = "goes on from an earlier start, which had finished 50%" in capsys.readouterr().err
    assert told is not bool(flags)


@pytest.mark.long
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
