"""The chunk runner: an experiment's runs a few at a time, finished chunks kept until the whole is done."""

import contextlib
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from experiments.harness.files import write_json
from experiments.harness.progress import say
from subliminal_toy import engine


class ChunkStore:
    """The finished chunks of one experiment, a small JSON file each, in a folder named after what they depend on.

    A file is `{"experiment", "first", "count", "values": {name: [one value per run]}, "seconds", "sha256"}`, the
    checksum being of all the others. `earlier` collects the seconds that chunks from earlier starts took.
    """

    def __init__(self, folder: Path, experiment: str, earlier: list[float] | None = None) -> None:
        self.folder, self.experiment = folder, experiment
        self.earlier = [] if earlier is None else earlier

    def part(self, name: str) -> "ChunkStore":
        """The chunks of a part of the experiment, in a folder of their own."""
        return ChunkStore(self.folder / name.replace(" ", "-"), f"{self.experiment}, {name}", self.earlier)

    def load(self, first: int, count: int) -> dict[str, list] | None:
        """What was saved for runs first, ..., first + count - 1; None, with a line on stderr, if it is damaged."""
        path = self._path(first, count)
        try:
            content = json.loads(path.read_text(), parse_constant=_refuse)
            values = _checked(content, self._content(first, count))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            say(f"saved progress {path} is discarded ({error}); runs {first + 1}-{first + count} are computed again")
            return None
        self.earlier.append(content["seconds"])
        return values

    def save(self, first: int, count: int, values: dict[str, list], seconds: float = 0.0) -> dict[str, list]:
        """Keep the values of a finished chunk and the time it took, and return them as they will be loaded."""
        if lost := next(_not_finite(values), None):
            said = f"{lost} of runs {first + 1}-{first + count} is not a finite number"
            raise engine.RunFailedError(f"{said}: a learning rate or a number of epochs may be too extreme")
        values = json.loads(json.dumps(values, allow_nan=False))
        content = {**self._content(first, count), "values": values, "seconds": round(seconds, 1)}
        write_json(self._path(first, count), {**content, "sha256": _checksum(content)})
        return values

    def saved(self) -> bool:
        """Whether any chunk is saved."""
        return any(self.folder.rglob("runs-*.json"))

    def _content(self, first: int, count: int) -> dict[str, Any]:
        return {"experiment": self.experiment, "first": first, "count": count}

    def clear(self) -> None:
        """Forget all chunks."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other experiments may have chunks there
            self.folder.parent.rmdir()

    def _path(self, first: int, count: int) -> Path:
        return self.folder / f"runs-{first:06d}-{first + count - 1:06d}.json"


def _checked(content: Any, head: dict[str, Any]) -> dict[str, list]:
    """The values of a file's content; ValueError, saying why, if it is not what `save` wrote for that head."""
    if not isinstance(content, dict) or set(content) != {*head, "values", "seconds", "sha256"}:
        raise ValueError("it does not hold a chunk")
    if content.pop("sha256") != _checksum(content):
        raise ValueError("its checksum is wrong")
    values, seconds = content["values"], content["seconds"]
    if {name: content[name] for name in head} != head:
        raise ValueError("it holds other runs")
    if not isinstance(values, dict) or any(
        not isinstance(column, list) or len(column) != head["count"] for column in values.values()
    ):
        raise ValueError(f"it does not hold {head['count']} values for every name")
    if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise ValueError("it does not say how long it took")
    return values


def _not_finite(value: Any, path: str = "") -> Iterator[str]:
    """Where a JSON value holds NaN or an infinity: "margin/base/2"."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, child in children:
        yield from _not_finite(child, f"{path}/{name}" if path else str(name))


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")


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
        part = store.load(first, count) if store is not None else None
        loaded = part is not None
        if part is None:
            began = time.monotonic()
            part = compute(first, count)
            if store is not None:
                part = store.save(first, count, part, time.monotonic() - began)
        for name, column in part.items():
            values.setdefault(name, []).extend(column)
        on_chunk(count, loaded)
    return values
