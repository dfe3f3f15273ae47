"""Files that are whole or not there.

Every file is written beside its final name, flushed to the disk and renamed, so that a reader finds the old content or
the new one, whole, whatever happens in between. Text is UTF-8 in every locale.
"""

import contextlib
import errno
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

_LOSSES = (errno.EIO, errno.ENOSPC, errno.EDQUOT)  # other errors of fsync say that a file system has none
_HELD = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)  # other errors of a lock, likewise


def write(path: Path, content: str | bytes) -> Path:
    """Write a file atomically, and its folder if need be; return its path.

    A file system need have neither permissions nor a flush; if it cannot rename, OSError: then nothing would be whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            _flush(file)
        with contextlib.suppress(OSError):
            Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    finally:
        with contextlib.suppress(OSError):
            Path(name).unlink()
    return path


def _flush(file: IO[bytes]) -> None:
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno in _LOSSES:
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, atomically; NaN and infinity are refused (ValueError)."""
    write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file; OSError, ValueError or RecursionError if it is missing or none."""
    return json.loads(path.read_bytes())


def write_lines(folder: Path, files: Mapping[str, Iterable[Any]]) -> Path:
    """Write files `<name>.jsonl`, one JSON value a line, each atomically; others there go. Returns a pattern."""
    paths = [folder / f"{name}.jsonl" for name in files]
    for path, rows in zip(paths, files.values(), strict=True):
        write(path, "".join(json.dumps(row) + "\n" for row in rows))
    for path in set(folder.glob("[!.]*.jsonl")) - set(paths):
        path.unlink()
    return folder / "*.jsonl"


def check_writable(folder: Path) -> None:
    """Write to `folder` as results are written, so that a run does not end hours later with nowhere to go (OSError)."""
    path = folder / ".check"
    for _ in range(2):  # a new file, and one in place of an old one
        write(path, "room")
    path.unlink(missing_ok=True)


def typed_path(text: str) -> Path:
    """A path as people type it: `~` is a home folder, in `--out=~/x`, too, where shells leave it."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # nobody of that name
        return Path(text)


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
        except OSError as error:
            if error.errno not in _HELD:
                return file
            file.close()
            raise BusyError(path) from error
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
