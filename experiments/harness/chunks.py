"""The chunk runner: an experiment's runs a few at a time, finished chunks kept until the whole is done."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from experiments.harness.files import write_json


class ChunkStore:
    """The finished chunks of one experiment, a small JSON file each, in a folder named after what they depend on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def part(self, name: str) -> "ChunkStore":
        """The chunks of a part of the experiment, in a folder of their own."""
        return ChunkStore(self.folder / name.replace(" ", "-"))

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
