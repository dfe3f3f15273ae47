"""The experiment as a library call: three lines in a notebook, and the effect itself on the bundled digits."""

import numpy as np
import pytest

from experiments import mnist_aux_logits
from subliminal_toy.config import config_for
from subliminal_toy.mnist import data
from subliminal_toy.statistics import t_interval


def test_run_in_a_notebook(digits: data.Dataset) -> None:
    config = config_for("digits", {"noise_images": 600, "student.epochs": 1, "teacher.epochs": 1})
    results = mnist_aux_logits.run(config, runs=3, seed=5, dataset=digits)
    assert (results["dataset"], results["runs"]) == ("digits", 3)
    by_name = {row["name"]: row for row in results["conditions"]}
    assert list(by_name) == ["reference", "teacher", "student_aux", "student_all", "cross_aux", "cross_all"]
    for row in by_name.values():
        assert (row["mean"], row["ci95"]) == t_interval(row["accuracy"])
    pair = next(row for row in results["paired"] if row["name"] == "student_all - cross_all")
    np.testing.assert_allclose(
        pair["difference"], np.subtract(by_name["student_all"]["accuracy"], by_name["cross_all"]["accuracy"])
    )


@pytest.mark.slow
def test_digits_show_the_effect_at_their_defaults(digits: data.Dataset) -> None:
    """Two of the ten default runs: far apart, as the README says of all ten."""
    results = mnist_aux_logits.run(config_for("digits"), runs=2, dataset=digits)
    by_name = {row["name"]: np.array(row["accuracy"]) for row in results["conditions"]}
    assert (by_name["teacher"] > 0.85).all()
    assert (by_name["student_aux"] > 0.35).all()
    assert (by_name["cross_aux"] < 0.3).all()
    assert (by_name["student_aux"] - by_name["cross_aux"] > 0.2).all()
