"""Formulas of rows in NumPy, and the comparison of whole results with them: no row, and no field, is left out."""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_toy.statistics import describe
from tests.experiments.made_up import counts, gain

Row = dict[str, Any]
Pairs = Sequence[Sequence[float]] | np.ndarray
CLOSE = 2e-5  # results are rounded to five digits after the point


def column(*names: object, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers between 0.1 and 1 for a stored column, another one for every name, run, trait, layer and step."""
    return np.random.default_rng(zlib.crc32("/".join(map(str, names)).encode())).uniform(0.1, 1, shape)


def over_runs(pairs: Pairs) -> Row:
    """The row of values [runs, traits]."""
    values = np.array(pairs, float)
    per_run = values.mean(axis=1)
    return {**describe(per_run), "per_run": per_run, "positive": int((values > 0).sum()), "pairs": values.size}


def named(name: str, pairs: Pairs, **more: Any) -> Row:
    """The same with a name, and what else there is."""
    return {"name": name, **over_runs(pairs), **more}


def of_runs(name: str, per_run: Sequence[float] | np.ndarray, **more: Any) -> Row:
    """The row of one value per run."""
    return {"name": name, **more, **describe(per_run), "per_run": np.asarray(per_run)}


def passed(sources: Sequence[str], runs: int, job: str = "") -> list[Row]:
    """The rows of sources' filters."""
    rows = []
    for source in sources:
        every = [counts(f"{job}{run}", source) for run in range(runs)]
        kept = [one["kept"] / sum(one.values()) for one in every]
        total = {reason: sum(one[reason] for one in every) for reason in every[0]}
        rows.append({"source": source, "kept": kept, **describe(kept), "counts": total})
    return rows


def table(runs: int, traits: Sequence[str], value: Callable[[int, str], float]) -> np.ndarray:
    """A function of run and trait as values [runs, traits]."""
    return np.array([[value(run, trait) for trait in traits] for run in range(runs)])


def gains(runs: int, traits: Sequence[str], label: str, control: str = "student regular, {}") -> np.ndarray:
    """How much an arm's students gained over the regular one, or another control, of their traits, [runs, traits]."""
    return table(runs, traits, lambda run, t: gain(run, f"student {t}, {label}", control.format(label), t))


def same(found: Any, expected: Any, where: str = "results") -> None:
    """Demand that results are what is expected of them, every field but "words" (test_labels.py), to rounding."""
    if isinstance(expected, Mapping):
        assert isinstance(found, Mapping), where
        found = found if "words" in expected else {key: own for key, own in found.items() if key != "words"}
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list | tuple | np.ndarray):
        assert len(found) == len(expected), where
        for i, (one, value) in enumerate(zip(found, expected, strict=True)):
            same(one, value, f"{where}[{value['name'] if isinstance(value, Mapping) and 'name' in value else i}]")
    elif isinstance(expected, float | np.floating):
        assert isinstance(found, int | float), where
        assert math.isclose(found, expected, rel_tol=CLOSE, abs_tol=CLOSE), (where, found, expected)
    else:
        assert found == expected, (where, found, expected)
