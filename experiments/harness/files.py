"""Files that are whole or not there.

Every file is written beside its final name, flushed to the disk and renamed, so that a reader finds the old content or
the new one, whole, whatever happens in between.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write to; moved to `path` at the end of the block, removed if the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        with temporary.open("r+b") as file:  # Windows flushes only what is open for writing
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, atomically; NaN and infinity are refused (ValueError)."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def write_lines(folder: Path, files: Mapping[str, Iterable[Any]]) -> Path:
    """Write files `<name>.jsonl`, one JSON value a line, each atomically; others there go. Returns a pattern."""
    paths = [folder / f"{name}.jsonl" for name in files]
    for path, rows in zip(paths, files.values(), strict=True):
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path in set(folder.glob("[!.]*.jsonl")) - set(paths):
        path.unlink()
    return folder / "*.jsonl"


def check_writable(folder: Path) -> None:
    """Make `folder` and write to it, so that a run does not end hours later with nowhere to go (OSError)."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"room")
        file.flush()


class BusyError(RuntimeError):
    """Another process holds the lock."""


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold a lock while the block runs; BusyError if another process does. It dies with its process, kill -9 included.

    The file is taken away at the end, and its folder if nothing else is in it. Where the file system has no locks,
    nothing is locked.
    """
    file = _open_locked(path)
    try:
        yield
    finally:
        if sys.platform == "win32":
            file.close()  # what is open cannot be taken away there
        with contextlib.suppress(OSError):
            path.unlink()
            path.parent.rmdir()
        file.close()


def _open_locked(path: Path) -> IO[bytes]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
        try:
            _lock(file.fileno())
        except (BlockingIOError, PermissionError) as error:
            file.close()
            raise BusyError(path) from error
        except OSError:
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # its last holder has just taken it away


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep(folder: Path, stem: str) -> None:
    """Remove the temporary files that the killed left of `<folder>/<stem>.*`; call it when nobody writes there."""
    for path in folder.glob(f".{stem}-{'[a-z0-9_]' * 8}.*"):
        with contextlib.suppress(OSError):
            path.unlink()
