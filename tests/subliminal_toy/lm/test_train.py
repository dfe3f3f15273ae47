"""What `lm.train` does beside training: it pads runs to the devices, and shows progress."""

import jax
import numpy as np
import pytest

from subliminal_toy import lm
from subliminal_toy.lm import pipeline
from subliminal_toy.settings import with_settings
from tests.subliminal_toy.lm import documents

CONFIG = with_settings(
    lm.LMConfig(traits="owl", width=8, documents=64, rows=24), {"base.epochs": 1, "student.epochs": 2}
)
GIVEN = lm.numbers("owl")
STUDENT = lm.Student(lm.student("owl"), lm.BASE, GIVEN)
PLAN = lm.Plan((), (), (STUDENT,), (lm.Base(lm.BASE),), (GIVEN,))
ROWS = [lm.Rows(rows[:24], rows[24:], {}) for rows in np.split(documents.of_numbers()[:96], 3)]


def test_three_runs_on_two_devices_use_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are trained as four, with the same bits; the fourth is dropped."""
    meshes, make = [], pipeline.make_base_data

    def spy(config: lm.LMConfig, mesh: jax.sharding.Mesh, bases: tuple) -> object:
        meshes.append(mesh.size)
        return make(config, mesh, bases)

    monkeypatch.setattr(pipeline, "make_base_data", spy)
    three = lm.train(CONFIG, PLAN, lm.run_keys(0, (4, 7, 9)), given={GIVEN: ROWS})
    four = lm.train(CONFIG, PLAN, lm.run_keys(0, (4, 7, 9, 4)), given={GIVEN: [*ROWS, ROWS[0]]})
    alone = lm.train(CONFIG, PLAN, lm.run_keys(0, (9,)), given={GIVEN: ROWS[2:]})
    assert meshes == [2, 2, 1]
    assert three.rows[GIVEN] == ROWS
    assert three.keys.init.shape == three.fresh.shape[:1] == (3,)
    arrays = (jax.tree.leaves((made.language, made.fresh, made.models)) for made in (alone, three, four))
    for one, padded, filled in zip(*arrays, strict=True):
        np.testing.assert_array_equal(padded, filled[:3])
        np.testing.assert_allclose(padded[2], one[0], rtol=1e-4, atol=1e-5)  # rounding
    assert [len(measured["loss"]) for measured in lm.survey(three)] == [2, 2, 2]


def test_without_a_callback_a_bar_is_filled(bars: tuple[list[float], list[float]]) -> None:
    totals, done = bars
    lm.train(CONFIG, PLAN, lm.run_keys(0, (0,)), given={GIVEN: ROWS[:1]})
    lm.train(CONFIG, PLAN, lm.run_keys(0, (0,)), given={GIVEN: ROWS[:1]}, on_stage=lambda *_: None)
    assert totals == [sum(done)] == [64 + 2 * 24]  # documents of the base, rows of the student in two epochs
