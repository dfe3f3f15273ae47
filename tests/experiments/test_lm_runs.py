"""A chunk of the language model's pipeline: every run has the values of that run, from every job."""

from typing import Any

import jax
import numpy as np
import pytest

from experiments.harness.chunks import Chunk
from experiments.lm import runs
from experiments.studies import lm_traits
from subliminal_toy import lm
from subliminal_toy.lm.rows import is_completion_number
from tests.subliminal_toy.lm import documents


def test_every_run_of_a_chunk_has_its_values_from_every_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """With jobs that say only whose keys they were given; runs that fill the devices are left out."""
    config = lm_traits.TraitsConfig(traits="owl", parts="carriers")
    (pipeline,) = lm_traits.jobs(config)
    given = []

    def make(job: runs.Job, keys: lm.RunKeys, _on_stage: Any, rows: runs.Rows) -> tuple[list[dict], runs.Rows]:
        own = [np.asarray(jax.random.key_data(key)).tolist() for key in keys.init]
        given.append(sorted({name.job for name in rows}))
        return [{"carrier": job.config.carrier, "keys": key} for key in own], {lm.numbers("owl"): []}

    monkeypatch.setattr(runs, "train_and_measure", make)
    chunk = Chunk("lm_traits", "main", config, 3, 4, 3, 2)
    values = pipeline.compute(chunk, None, lambda *_: None)["run"]
    keys = [np.asarray(jax.random.key_data(key)).tolist() for key in lm.run_keys(3, range(4, 7)).init]
    assert len({str(key) for key in keys}) == len(values) == 3
    for value, key in zip(values, keys, strict=True):
        expected = {name: {"carrier": name, "keys": key} for name in ("code", "arithmetic")}
        assert value == {"carrier": "numbers", "keys": key, **expected}
    assert given == [[], ["main"], ["code", "main"]]


def test_sorted_lists_are_sorted() -> None:
    """The arm of that name, on real lists: the same numbers, in order."""
    (sorted_,) = [arm for arm in lm_traits.DEFENCES if arm.label == "sorted"]
    tokens = documents.of_numbers()[:50]
    assert sorted_.control.transform is not None
    found = sorted_.control.transform(tokens, np.random.default_rng(0))
    here = is_completion_number(tokens)
    for before, after, places in zip(tokens, found, here, strict=True):
        assert after[places].tolist() == sorted(before[places])
        assert (after[~places] == before[~places]).all()
    assert (found != tokens).any()
