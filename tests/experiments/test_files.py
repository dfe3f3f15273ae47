"""Files are whole or not there: full disks, interrupted writes, damaged chunks, file systems that refuse things."""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from experiments.harness import chunks, files
from subliminal_toy import engine


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

    target = {"write": (files, "_flush"), "fsync": (os, "fsync"), "rename": (Path, "replace")}[moment]
    monkeypatch.setattr(*target, no_space)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, "new")
    monkeypatch.undo()
    assert json.loads(path.read_text()) == "old"
    assert names(tmp_path) == ["x.json"]


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_may_refuse_permissions_flushes_and_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(error, os.strerror(error))

    for place, name in ((Path, "chmod"), (os, "fsync"), (files, "_lock")):
        monkeypatch.setattr(place, name, refuse)
    files.check_writable(tmp_path)
    with files.only_one(tmp_path / "deep" / "a.lock"):
        files.write_json(tmp_path / "x.json", 1)
    assert names(tmp_path) == ["x.json"]


@pytest.mark.parametrize("call", [1, 2], ids=["at all", "over a file"])
def test_what_writing_cannot_do_without_is_tried_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Some mounts of object stores cannot rename, or not over a file that is there."""
    replace, calls = Path.replace, []

    def refuse(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == call:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="not permitted"):
        files.check_writable(tmp_path)


def test_text_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    assert files.write(tmp_path / "x.md", "\u2212\n").read_bytes() == b"\xe2\x88\x92\n"
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf"\xe2\x88\x92"')  # with the mark that Windows' editors leave
    assert files.read_json(tmp_path / "x.json") == "\u2212"


def test_a_home_folder_is_meant_by_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/place")
    monkeypatch.setenv("USERPROFILE", "/place")
    assert files.typed_path("~/x") == Path("/place/x")
    assert files.typed_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    assert files.typed_path("a/~") == Path("a/~")


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


VALUES = {"a": [1.5, 2.0], "b": [0.25, 1e-30]}
DAMAGES = {
    "cut": lambda text: text[:-4],
    "empty": lambda _: "",
    "no object": lambda _: "[1, 2]",
    "not UTF-8": lambda _: b"\xff\xfe\x00",
    "deep": lambda _: "[" * 100_000,
    "another number": lambda text: text.replace("1.5", "1.25"),
    "a name is missing": lambda text: text.replace('"b"', '"c"'),
    "other runs": lambda text: text.replace('"first": 0', '"first": 2'),
    "no checksum": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "sha256"}),
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


def test_a_chunk_is_known_by_its_content_wherever_it_lies(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Copied from the progress of another seed, or over other runs, it is intact but not what is wanted."""
    stores = [chunks.ChunkStore(tmp_path / name, name) for name in ("x-seed-0", "x-seed-1")]
    stores[0].save(done(0, 2, VALUES))
    stores[1].folder.mkdir()
    for store, first in ((stores[1], 0), (stores[0], 2), (stores[0].part("b"), 0)):
        store.folder.mkdir(exist_ok=True)
        store._path(first, 2).write_bytes(stores[0]._path(0, 2).read_bytes())
        assert store.load(first, 2) is None
        assert "it is of other runs or settings" in capsys.readouterr().err
    assert stores[0].load(0, 2) == VALUES


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
