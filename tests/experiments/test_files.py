"""Files are whole or not there: full disks, interrupted writes, damaged chunks."""

import errno
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from experiments.harness import chunks, files, provenance


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_json_round_trips_floats_exactly(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    files.write_json(tmp_path / "deep" / "x.json", {"values": values})
    assert json.loads((tmp_path / "deep" / "x.json").read_text())["values"] == values
    assert names(tmp_path / "deep") == ["x.json"]


def test_written_files_obey_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        files.write_json(tmp_path / "x.json", 1)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == 0o640


@pytest.mark.parametrize("moment", ["write", "fsync", "rename"])
def test_a_full_disk_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, "old")

    def no_space(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = {"write": (Path, "write_text"), "fsync": (os, "fsync"), "rename": (Path, "replace")}[moment]
    monkeypatch.setattr(*target, no_space)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, "new")
    monkeypatch.undo()
    assert json.loads(path.read_text()) == "old"
    assert names(tmp_path) == ["x.json"]


def test_nan_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "x.json", float("nan"))
    assert json.loads((tmp_path / "x.json").read_text()) == 1


def test_chunks_are_computed_once_and_taken_up_in_order(tmp_path: Path) -> None:
    store, computed, heard = chunks.ChunkStore(tmp_path / "p" / "s"), [], []

    def compute(first: int, count: int) -> dict[str, list]:
        computed.append((first, count))
        if first == 4 and len(computed) == 3:
            raise KeyboardInterrupt
        return {"a": [float(i) for i in range(first, first + count)]}

    def go() -> dict[str, list]:
        return chunks.run_in_chunks(compute, runs=5, chunk=2, store=store, on_chunk=lambda *seen: heard.append(seen))

    with pytest.raises(KeyboardInterrupt):
        go()
    assert go() == {"a": [0.0, 1.0, 2.0, 3.0, 4.0]}
    assert computed == [(0, 2), (2, 2), (4, 1), (4, 1)]
    assert heard == [(2, False), (2, False), (2, True), (2, True), (1, False)]
    store.clear()
    assert names(tmp_path) == []


def test_a_damaged_chunk_is_computed_again(tmp_path: Path) -> None:
    store = chunks.ChunkStore(tmp_path)
    store.save(0, 2, {"a": [1, 2]})
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:-4])
    assert store.load(0, 2) is None


def test_fingerprint_depends_on_what_it_is_told_and_on_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = provenance.fingerprint(seed=0)
    assert first == provenance.fingerprint(seed=0) != provenance.fingerprint(seed=1)
    (tmp_path / "subliminal_toy").mkdir()
    (tmp_path / "subliminal_toy" / "engine.py").write_text("changed")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.fingerprint(seed=0) != first


def test_provenance_names_no_folder_of_this_machine() -> None:
    record = provenance.Provenance("experiments.x", ["--data-dir", "/secret/place/mnist", "--runs", "3"]).record()
    assert record["command"] == "python -m experiments.x --data-dir mnist --runs 3"
    assert set(record) == {"git", "dirty", "command", "versions", "device", "started", "seconds"}


def test_provenance_outside_a_git_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    record = provenance.Provenance("experiments.x", []).record()
    assert record["git"] is None
    assert record["dirty"] is None


def test_dirty_is_changed_code_but_not_a_new_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, code = tmp_path / "experiments" / "results" / "a.json", tmp_path / "experiments" / "a.py"
    result.parent.mkdir(parents=True)
    for path in (result, code, tmp_path / "figures" / "a.png"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("1")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    result.write_text("2")
    assert provenance.Provenance("experiments.a", []).record()["dirty"] is False
    code.write_text("2")
    assert provenance.Provenance("experiments.a", []).record()["dirty"] is True
