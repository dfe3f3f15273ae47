"""The package against the straight line: every parameter and accuracy of every model of several runs.

Training and test images, classes and auxiliary logits, runs, models and chunks all differ in number, so that what is
taken for the other shows.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments import mnist_aux_logits
from subliminal_toy import mnist
from subliminal_toy.mnist import models
from subliminal_toy.mnist.config import Config
from subliminal_toy.settings import with_settings
from tests.subliminal_toy.mnist import made_up, straight_line

SIZES = {
    "classes": 5,
    "aux_logits": 3,
    "width": 14,
    "noise_images": 90,
    "temperature": 1.5,
    "teacher.batch_size": 16,
    "teacher.epochs": 4,
    "student.batch_size": 25,
    "student.epochs": 3,
}
SGD = with_settings(Config(), SIZES | {"teacher.optimizer": "sgd", "student.optimizer": "sgd"})
SGD = with_settings(SGD, {"teacher.learning_rate": 0.5, "student.learning_rate": 0.5})
ADAM = with_settings(
    Config(),
    SIZES | {"depth": 0, "teacher.learning_rate": 0.02, "student.learning_rate": 0.02, "student.adam_b2": 0.99},
)
DATASET = mnist.keep_classes(made_up.dataset(), SGD.classes)
STUDENTS = mnist.STUDENTS + mnist.CONTROLS
SEEDS = (0, 7)
RUNS = range(3, 7)  # two on each device


@functools.cache
def expected(config: Config, seed: int, run: int) -> dict[str, tuple[Any, float]]:
    init = models.make_mlp(config, DATASET.train_images.shape[1]).init
    models_of_run = straight_line.experiment(init, config, DATASET, seed=seed, run=run)
    return {name: (params, accuracy) for name, params, accuracy in models_of_run}


def package(config: Config, seed: int) -> dict[str, tuple[Any, np.ndarray]]:
    """The one place that knows how the package is called: {name: (parameters [runs, ...], accuracies [runs])}."""
    trained = mnist.train(config, DATASET, STUDENTS, mnist.run_keys(seed, RUNS))
    return {name: (trained.params(name), column) for name, column in mnist.accuracies(trained, DATASET).items()}


def check_all(config: Config, check: Callable[[str, tuple, tuple], None]) -> None:
    """Call `check` with the name, parameters and accuracy, ours and the straight line's, of every model there is."""
    for seed in SEEDS:
        ours = package(config, seed)
        for position, run in enumerate(RUNS):
            theirs = expected(config, seed, run)
            assert list(ours) == list(theirs)
            for name, (params, accuracy) in theirs.items():
                own = jax.tree.map(lambda leaf, i=position: leaf[i], ours[name][0])
                check(f"{name}, run {run}, seed {seed}", (own, ours[name][1][position]), (params, accuracy))


def test_every_model_of_every_run_is_the_straight_lines() -> None:
    def check(name: str, ours: tuple, theirs: tuple) -> None:
        close = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-6, err_msg=name)
        jax.tree.map(close, ours, theirs)

    check_all(SGD, check)


def test_so_is_every_model_that_adam_trains() -> None:
    """A linear model: where rounding puts a relu on the other side of its kink, Adam makes whole steps of it.

    Two students are left out because all of their gradient is rounding: they imitate what they already answer (the
    auxiliary logits of a linear teacher never move).
    """

    def check(name: str, ours: tuple, theirs: tuple) -> None:
        if not name.startswith(("student_aux", "untrained_teacher_aux")):
            close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5, err_msg=name)
            jax.tree.map(close, ours, theirs)

    check_all(ADAM, check)


def test_the_experiments_runs_are_the_straight_lines_in_chunks_with_padding() -> None:
    results = mnist_aux_logits.run(SGD, runs=5, seed=7, dataset=made_up.dataset(), chunk=2)
    for row in results["conditions"]:
        wanted = [expected(SGD, 7, run)[row["name"]][1] for run in range(5)]
        np.testing.assert_allclose(row["accuracy"], wanted, atol=1e-6)


def test_the_comparison_is_not_vacuous() -> None:
    """Every model and run has accuracies of its own; neither the training images nor all logits would give the same."""
    runs = [expected(SGD, 0, run) for run in range(7)]
    columns = {name: tuple(run[name][1] for run in runs) for name in runs[0]}
    assert len(set(columns.values())) == len(columns) - 1  # who imitates the untrained teacher stays as it is
    assert len(set(zip(*columns.values(), strict=True))) == len(runs)
    for name, column in columns.items():
        on_training = [read(run[name][0], DATASET.train_images, DATASET.train_labels, 5) for run in runs]
        by_all_logits = [read(run[name][0], DATASET.test_images, DATASET.test_labels, 8) for run in runs]
        assert not np.allclose(on_training, column)
        assert not np.allclose(by_all_logits, column)


def read(params: Any, images: np.ndarray, labels: np.ndarray, logits: int) -> float:
    return float(np.mean(straight_line.logits(params, images)[:, :logits].argmax(axis=1) == labels))
