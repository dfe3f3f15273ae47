"""The chunk runner: an experiment's runs a few at a time, finished chunks kept until the whole is done.

Runs never talk to each other, so a chunk of them is a task of its own: `Chunk` names all that it depends on, and who
has the same code can compute it, this process or a worker of a cluster.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.harness.files import read_json, write_json
from experiments.harness.progress import say
from subliminal_toy import engine

MAX_RUNS = 100_000
MAIN = "main"  # the job of an experiment that has no other
Columns = dict[str, list]  # name -> one value per run
Values = dict[str, Columns]  # by job


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some runs of one job of an experiment."""

    experiment: str
    job: str
    config: Any
    seed: int
    first: int
    count: int
    devices: int  # that the runs are laid over, at most
    data_dir: Path | None = None
    keep: Path | None = None  # where a job may keep what it has finished of a chunk; it stays when the whole is done

    def runs(self) -> np.ndarray:
        """The numbers of its runs, some of them again if that fills all devices."""
        return engine.fill_devices(self.first, self.count, engine.run_mesh(self.devices))


class Done(NamedTuple):
    """A chunk that is finished."""

    chunk: Chunk
    values: Columns
    seconds: float = 0.0
    device: str = ""  # in words, on which it was computed


class ChunkStore:
    """The finished chunks of one experiment, a small JSON file each, in a folder named after what they depend on.

    A file is `{"head": {"of", "first", "count"}, "values": {name: [one per run]}, "seconds", "device", "sha256"}`, the
    checksum being of all the others, and `of` what the runs depend on: a file of other runs, or of other settings, is
    not believed wherever it lies. `earlier` collects the seconds that chunks from earlier starts took, `devices` what
    computed any chunk.
    """

    def __init__(self, folder: Path, of: str, whole: "ChunkStore | None" = None) -> None:
        self.folder, self.of = folder, of
        self.earlier: list[float] = whole.earlier if whole else []
        self.devices: set[str] = whole.devices if whole else set()

    def part(self, name: str) -> "ChunkStore":
        """The chunks of a job, in a folder of their own unless it is the main one."""
        if name == MAIN:
            return self
        return ChunkStore(self.folder / name.replace(" ", "-"), f"{self.of}, {name}", self)

    def load(self, first: int, count: int) -> dict[str, list] | None:
        """What was saved for runs first, ..., first + count - 1; None, with a line on stderr, if it is damaged."""
        path = self._path(first, count)
        try:
            content = read_json(path)
            if not isinstance(content, dict) or content.pop("sha256", None) != _checksum(content):
                raise ValueError("its checksum is wrong")
            if content["head"] != self._head(first, count):
                raise ValueError("it is of other runs or settings")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            say(f"saved progress {path} is discarded ({error}); runs {first + 1}-{first + count} are computed again")
            return None
        self.earlier.append(content["seconds"])
        self.devices.add(content["device"])
        values: Columns = content["values"]
        return values

    def save(self, done: Done) -> Columns:
        """Keep the values of a finished chunk, and return them as they will be loaded."""
        first, count, values = done.chunk.first, done.chunk.count, done.values
        if lost := next(_not_finite(values), None):
            said = f"{lost} of runs {first + 1}-{first + count} is not a finite number"
            raise engine.RunFailedError(f"{said}: a learning rate or a number of epochs may be too extreme")
        values = json.loads(json.dumps(values, allow_nan=False))
        self.devices.add(done.device)
        seconds = round(done.seconds, 1)
        content = {"head": self._head(first, count), "values": values, "seconds": seconds, "device": done.device}
        write_json(self._path(first, count), {**content, "sha256": _checksum(content)})
        return values

    def has(self, first: int, count: int) -> bool:
        """Whether there is a file of these runs."""
        return self._path(first, count).exists()

    def saved(self) -> bool:
        """Whether any chunk is saved."""
        return any(self.folder.rglob("runs-*.json"))

    def _head(self, first: int, count: int) -> dict[str, Any]:
        return {"of": self.of, "first": first, "count": count}

    def clear(self) -> None:
        """Forget all chunks."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other experiments may have chunks there
            self.folder.parent.rmdir()

    def _path(self, first: int, count: int) -> Path:
        return self.folder / f"runs-{first:06d}-{first + count - 1:06d}.json"


def _not_finite(value: Any, path: str = "") -> Iterator[str]:
    """Where a JSON value holds NaN or an infinity: "margin/base/2"."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, child in children:
        yield from _not_finite(child, f"{path}/{name}" if path else str(name))


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def chunk_ranges(runs: int, chunk: int) -> list[tuple[int, int]]:
    """(first, count) of each chunk of `runs` runs."""
    return [(first, min(chunk, runs - first)) for first in range(0, runs, chunk)]


def run_chunks(
    chunks: Sequence[Chunk],
    compute: Callable[[Sequence[Chunk]], Iterable[Done]],
    store: ChunkStore | None = None,
    on_loaded: Callable[[Chunk], None] = lambda _chunk: None,
) -> Values:
    """Compute all chunks but those that the store has.

    Args:
        chunks: in order of their runs.
        compute: gives each chunk as soon as it is finished, in any order.
        store: where finished chunks are kept; None keeps nothing.
        on_loaded: told of every chunk that came from the store.

    Returns:
        {job: {name: [one value per run]}}, runs in order.
    """
    found: dict[tuple[str, int], Columns] = {}
    for chunk in chunks:
        saved = store.part(chunk.job).load(chunk.first, chunk.count) if store is not None else None
        if saved is not None:
            found[chunk.job, chunk.first] = saved
            on_loaded(chunk)
    for done in compute([chunk for chunk in chunks if (chunk.job, chunk.first) not in found]):
        values = done.values if store is None else store.part(done.chunk.job).save(done)
        found[done.chunk.job, done.chunk.first] = values
    together: Values = {}
    for chunk in chunks:
        columns = together.setdefault(chunk.job, {})
        for name, column in found[chunk.job, chunk.first].items():
            columns.setdefault(name, []).extend(column)
    return together
