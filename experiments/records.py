"""What experiments leave on disk: result files, each complete by itself, and the chunks of an unfinished one.

Every file is written beside its final name, flushed to the disk and renamed, so that a reader finds the old content or
the new one, whole, whatever happens in between.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax

ROOT = Path(__file__).resolve().parent.parent
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


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
        with temporary.open("rb") as file:
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


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line, atomically (JSONL)."""
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))


class ChunkStore:
    """The finished chunks of one experiment, a small JSON file each, in a folder named after what they depend on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, first: int, count: int) -> dict[str, list] | None:
        """What was saved for runs first, ..., first + count - 1; None if there is nothing or it cannot be read."""
        try:
            return json.loads(self._path(first, count).read_text())
        except (OSError, ValueError):
            return None

    def save(self, first: int, count: int, values: dict[str, list]) -> None:
        """Keep the values of a finished chunk."""
        write_json(self._path(first, count), values)

    def clear(self) -> None:
        """Forget all chunks."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other experiments may have chunks there
            self.folder.parent.rmdir()

    def _path(self, first: int, count: int) -> Path:
        return self.folder / f"runs-{first:06d}-{first + count - 1:06d}.json"


def chunk_ranges(runs: int, chunk: int) -> list[tuple[int, int]]:
    """(first, count) of each chunk of `runs` runs."""
    return [(first, min(chunk, runs - first)) for first in range(0, runs, chunk)]


def run_in_chunks(
    compute: Callable[[int, int], dict[str, list]],
    *,
    runs: int,
    chunk: int,
    store: ChunkStore | None = None,
    on_chunk: Callable[[int, bool], None] = lambda _count, _loaded: None,
) -> dict[str, list]:
    """Compute all runs, chunk by chunk, taking finished chunks from the store.

    Args:
        compute: (first, count) -> {name: [one value per run]}.
        runs: how many in all.
        chunk: how many at a time.
        store: where finished chunks are kept; None keeps nothing.
        on_chunk: called after each chunk with its number of runs and whether it came from the store.

    Returns:
        {name: [one value per run]} for all runs, in order.
    """
    values: dict[str, list] = {}
    for first, count in chunk_ranges(runs, chunk):
        part = store.load(first, count) if store else None
        loaded = part is not None
        if part is None:
            part = compute(first, count)
            if store:
                store.save(first, count, part)
        for name, column in part.items():
            values.setdefault(name, []).extend(column)
        on_chunk(count, loaded)
    return values


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that the numbers depend on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


def device() -> str:
    """The devices in words, such as '2 x cpu (AMD EPYC 9654)'."""
    devices = jax.local_devices()
    kind = devices[0].device_kind
    return f"{len(devices)} x {kind}" + (f" ({_processor()})" if devices[0].platform == "cpu" else "")


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return platform.processor() or platform.machine()


def fingerprint(**what: Any) -> str:
    """A short hash of everything that a chunk's numbers depend on, the sources and the devices included."""
    sources = hashlib.sha256()
    for path in sorted([*(ROOT / "subliminal_toy").rglob("*.py"), *(ROOT / "experiments").glob("*.py")]):
        sources.update(path.read_bytes())
    parts = {"what": what, "versions": versions(), "device": device(), "sources": sources.hexdigest()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


_WRITTEN = (":(exclude)experiments/results", ":(exclude)figures/*.png")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


class Provenance:
    """Where a result came from; made when the command starts, so that `dirty` speaks of the code that ran.

    Results and pictures that other commands wrote are no code.
    """

    def __init__(self, module: str, arguments: list[str]) -> None:
        self._clock = time.monotonic()
        commit = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *_WRITTEN) if commit else None
        self._record = {
            "git": commit,
            "dirty": bool(changes) if commit else None,
            "command": " ".join(["python", "-m", module, *(_relative(argument) for argument in arguments)]),
            "versions": versions(),
            "device": device(),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }

    def record(self) -> dict[str, Any]:
        """The provenance with the seconds since the start."""
        return {**self._record, "seconds": round(time.monotonic() - self._clock, 1)}


def _relative(argument: str) -> str:
    """An absolute path as its last part: results name no folder of the machine that made them."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def check_writable(folder: Path) -> None:
    """Make `folder` and write to it, so that a run does not end hours later with nowhere to go (OSError)."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"room")
        file.flush()
