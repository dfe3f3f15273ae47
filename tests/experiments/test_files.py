"""Files are whole or not there: full disks, interrupted writes, damaged chunks."""

import errno
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import pytest

from experiments.harness import chunks, files, provenance
from subliminal_toy import engine
from subliminal_toy.lm.config import LMConfig


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_json_round_trips_floats_exactly(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    files.write_json(tmp_path / "deep" / "x.json", {"values": values})
    assert json.loads((tmp_path / "deep" / "x.json").read_text())["values"] == values
    assert names(tmp_path / "deep") == ["x.json"]


def test_what_is_flushed_is_open_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses to flush what is not."""
    flush = os.fsync

    def strict(descriptor: int) -> None:
        os.write(descriptor, b"")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", strict)
    files.write_json(tmp_path / "x.json", 1)
    assert names(tmp_path) == ["x.json"]


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


def planned(runs: int, chunk: int, job: str = chunks.MAIN) -> list[chunks.Chunk]:
    return [chunks.Chunk("x", job, None, 0, *one, 1) for one in chunks.chunk_ranges(runs, chunk)]


def test_chunks_are_computed_once_and_put_in_order(tmp_path: Path) -> None:
    store, computed, heard = chunks.ChunkStore(tmp_path / "p" / "s", "x"), [], []
    every = planned(5, 2) + planned(2, 2, "other job")

    def backwards(missing: Sequence[chunks.Chunk]) -> Iterator[chunks.Done]:
        """As a cluster may finish them; the first time it stops half-way."""
        for chunk in reversed(missing):
            if len(computed) == 2:
                computed.append(None)
                raise KeyboardInterrupt
            computed.append((chunk.job, chunk.first))
            yield chunks.Done(chunk, {"a": [float(chunk.first + i) for i in range(chunk.count)]}, 2.0, "a cpu")

    def go() -> chunks.Values:
        return chunks.run_chunks(every, backwards, store, lambda chunk: heard.append((chunk.job, chunk.first)))

    with pytest.raises(KeyboardInterrupt):
        go()
    assert go() == {chunks.MAIN: {"a": [0.0, 1.0, 2.0, 3.0, 4.0]}, "other job": {"a": [0.0, 1.0]}}
    assert computed == [("other job", 0), ("main", 4), None, ("main", 2), ("main", 0)]
    assert heard == [("main", 4), ("other job", 0)]
    assert (store.earlier, store.devices) == ([2.0, 2.0], {"a cpu"})
    store.clear()
    assert names(tmp_path) == []


def done(first: int, count: int, values: dict[str, list], seconds: float = 0.0) -> chunks.Done:
    return chunks.Done(chunks.Chunk("x", chunks.MAIN, None, 0, first, count, 1), values, seconds, "a cpu")


def forged(content: dict, **changes: object) -> str:
    """A chunk's file with changes, and a checksum that fits them."""
    changed = {name: value for name, value in (content | changes).items() if name != "sha256"}
    return json.dumps({**changed, "sha256": chunks._checksum(changed)})


VALUES = {"a": [1.5, 2.0], "b": [0.25, 1e-30]}
DAMAGES = {
    "cut": lambda text: text[:-4],
    "empty": lambda _: "",
    "no object": lambda _: "[1, 2]",
    "a number": lambda _: "3",
    "empty object": lambda _: "{}",
    "not UTF-8": lambda _: b"\xff\xfe\x00",
    "deep": lambda _: "[" * 100_000,
    "another number": lambda text: text.replace("1.5", "1.25"),
    "a boolean": lambda text: text.replace("1.5", "true"),
    "NaN": lambda text: text.replace("1.5", "NaN"),
    "a name is missing": lambda text: text.replace('"b"', '"c"'),
    "a column is short": lambda text: forged(json.loads(text), values={**VALUES, "b": [0.25]}),
    "a column is long": lambda text: forged(json.loads(text), values={**VALUES, "b": [0.25] * 4}),
    "a column is no list": lambda text: forged(json.loads(text), values={**VALUES, "b": 0.25}),
    "values are a list": lambda text: forged(json.loads(text), values=[1.5, 2.0]),
    "other runs": lambda text: forged(json.loads(text), first=2),
    "more runs": lambda text: forged(json.loads(text), count=4),
    "another experiment": lambda text: forged(json.loads(text), experiment="y"),
    "no checksum": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "sha256"}),
    "no time": lambda text: forged({k: v for k, v in json.loads(text).items() if k != "seconds"}),
    "a time below 0": lambda text: forged(json.loads(text), seconds=-1.0),
    "as it was once": lambda _: json.dumps(VALUES),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_chunk_is_discarded_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, damage: Callable[[str], str | bytes]
) -> None:
    store = chunks.ChunkStore(tmp_path, "x")
    store.save(done(0, 2, VALUES))
    (path,) = tmp_path.iterdir()
    assert store.load(0, 2) == VALUES
    changed = damage(path.read_text())
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    assert store.load(0, 2) is None
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert f"saved progress {path} is discarded" in line
    assert "runs 1-2 are computed again" in line


def test_an_intact_or_absent_chunk_is_no_news(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = chunks.ChunkStore(tmp_path, "x")
    assert not store.saved()
    assert store.load(0, 2) is None
    store.save(done(0, 2, VALUES))
    assert store.saved()
    assert store.load(0, 2) == VALUES
    assert store.load(2, 2) is None
    assert capsys.readouterr().err == ""


def test_what_is_computed_and_what_is_loaded_have_the_same_types(tmp_path: Path) -> None:
    """A key that is a number is a text in JSON: a summary must not see the one at first and the other after a stop."""
    store = chunks.ChunkStore(tmp_path, "x")

    def compute(missing: Sequence[chunks.Chunk]) -> Iterator[chunks.Done]:
        return (chunks.Done(chunk, {"a": [{1: (2, 3)}]}) for chunk in missing)

    runs = [chunks.run_chunks(planned(1, 1), compute, store) for _ in range(2)]
    assert runs == [{chunks.MAIN: {"a": [{"1": [2, 3]}]}}] * 2


def test_the_time_of_earlier_starts_is_known_parts_included(tmp_path: Path) -> None:
    """The seconds of a result are those of all its runs, whenever they were computed."""
    first = chunks.ChunkStore(tmp_path, "x")
    first.save(done(0, 2, VALUES, 3.0))
    first.part("b c").save(done(0, 2, VALUES, 0.5))
    assert first.earlier == []
    again = chunks.ChunkStore(tmp_path, "x")
    again.load(0, 2)
    again.part("b c").load(0, 2)
    again.load(2, 2)
    assert again.earlier == [3.0, 0.5]


def test_values_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(engine.RunFailedError, match="a/0 of runs 1-1 is not a finite number"):
        chunks.ChunkStore(tmp_path, "x").save(done(0, 1, {"a": [float("nan")]}))
    assert names(tmp_path) == []


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one module."""
    for package in provenance.PACKAGES:
        (tmp_path / package).mkdir()
    path = tmp_path / "subliminal_toy" / "engine.py"
    path.write_text('"""One."""\n\ndef f(x):\n    return x + 1\n')
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return path


def now(**what: Any) -> str:
    provenance._sources.cache_clear()
    return provenance.fingerprint(**what)


def test_fingerprint_depends_on_what_it_is_told(project: Path) -> None:
    assert now(seed=0) == now(seed=0) != now(seed=1)
    assert now(config=LMConfig()) != now(config=LMConfig(rows=7))


def test_fingerprint_depends_on_the_code_that_computes_alone(project: Path) -> None:
    first = now()
    project.write_text('"""Other words."""\n# a comment\n\n\ndef f(x):\n    """And more."""\n    return (x + 1)\n')
    assert now() == first
    project.write_text('"""One."""\n\ndef f(x):\n    return x + 2\n')
    assert now() != first
    for package in ("theory", "experiments"):
        before = now()
        (project.parents[1] / package / "a.py").write_text("A = 1\n")
        assert now() != before


def test_fingerprint_depends_on_versions_devices_and_switches(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prints = {now()}
    with jax.enable_x64(True):
        prints.add(now())
    with jax.default_matmul_precision("bfloat16"):
        prints.add(now())
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    prints.add(now())
    for name in ("device", "versions"):
        monkeypatch.setattr(provenance, name, lambda: "another")
        prints.add(now())
    assert len(prints) == 6
    assert {"jax", "jaxlib", "flax", "optax", "numpy"} <= set(provenance._LIBRARIES)


def test_provenance_names_no_folder_of_this_machine() -> None:
    record = provenance.Provenance("experiments.x", ["--data-dir", "/secret/place/mnist", "--runs", "3"]).record()
    assert record["command"] == "python -m experiments.x --data-dir mnist --runs 3"
    assert set(record) == {"git", "dirty", "command", "versions", "device", "started", "seconds"}


def test_a_folder_of_the_project_is_named_from_its_root() -> None:
    inside = str(provenance.ROOT / "experiments" / "results")
    record = provenance.Provenance("experiments.x", ["--out", inside]).record()
    assert record["command"] == "python -m experiments.x --out experiments/results"


def test_provenance_outside_a_git_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    record = provenance.Provenance("experiments.x", []).record()
    assert record["git"] is None
    assert record["dirty"] is None


def test_dirty_is_changed_code_but_not_a_new_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, code = tmp_path / "experiments" / "results" / "a.json", tmp_path / "experiments" / "a.py"
    result.parent.mkdir(parents=True)
    pages = (tmp_path / "figures" / "a.png", tmp_path / "README.md", tmp_path / "docs" / "a.md")
    for path in (result, code, *pages):
        path.parent.mkdir(exist_ok=True)
        path.write_text("1")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    for path in (result, *pages):
        path.write_text("2")
    assert provenance.Provenance("experiments.a", []).record()["dirty"] is False
    code.write_text("2")
    assert provenance.Provenance("experiments.a", []).record()["dirty"] is True
