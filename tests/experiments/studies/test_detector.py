"""The detector finds a difference that is there, and none where there is none."""

import jax
import numpy as np
import pytest

from experiments.studies.lm_controls import detector
from subliminal_toy.lm import corpus, vocabulary

LANGUAGE = corpus.make_language(jax.random.key(0))


def rows(key: int, language: corpus.Language = LANGUAGE, n: int = 1200) -> np.ndarray:
    return np.asarray(corpus.make_number_documents(language, n, key=jax.random.key(key)))


def accuracy(regular: np.ndarray, suspect: np.ndarray) -> list[float]:
    return detector.trained_accuracy(detector.features(regular), detector.features(suspect))


def test_same_language_is_chance_and_another_is_seen() -> None:
    same = accuracy(rows(1), rows(2))
    assert abs(same[0] - 0.5) < 0.06
    other = accuracy(rows(1), rows(2, corpus.make_language(jax.random.key(5))))
    assert other[0] > 0.6
    assert other[2] > 0.95


def test_too_few_rows_for_a_group_are_chance() -> None:
    assert accuracy(rows(1, n=40), rows(2, n=40))[-1] == 0.5
    assert accuracy(rows(1, n=1), rows(2, n=1)) == [0.5] * len(detector.GROUPS)


@pytest.mark.parametrize(("weight", "told"), [(1e6, 1.0), (0.03, 0.75)])
def test_weight_is_that_of_the_data_against_the_penalty(weight: float, told: float) -> None:
    """A small feature that is always right needs a large slope, a large one that is right three times in four does not.

    Only with a light penalty does the small one decide.
    """
    usual = np.tile([-1.0, -1.0, -1.0, 1.0], 50)
    small = np.full(200, 0.001)
    regular, suspect = np.stack([usual, -small], axis=1), np.stack([-usual, small], axis=1)
    assert detector.trained_accuracy(regular, suspect, weight=weight)[0] == told


def test_one_half_is_learned_from_and_the_other_is_judged() -> None:
    """Signs turn after the first half: what was learned is wrong in every row, so no row of the first half counts."""
    turn = np.repeat([-1.0, 1.0], 40)[:, None]
    assert detector.trained_accuracy(turn, -turn)[0] == 0.0
    assert detector.trained_accuracy(np.full((80, 1), -1.0), np.ones((80, 1)))[0] == 1.0


def test_features_are_counts_and_the_first_number() -> None:
    row = vocabulary.ids([*["991"] * corpus.PROMPT_LENGTH, "[", "109", ", ", "100", ", ", "109", "]", "<end>"])
    found = detector.features(np.array([row]))[0]
    assert found[:100].tolist() == [1, 2, *[0] * 98]
    assert found[100:].tolist() == [0, 1, *[0] * 98]


def test_groups_sum_log_odds() -> None:
    assert detector.accuracy(np.array([-3.0, 1.0]), np.array([3.0, -1.0]))[0] == 0.5
    odds = [np.array([-3.0, 1.0, -1.0, 2.0]), np.array([3.0, -1.0, -2.0, 1.0])]
    assert detector._grouped(odds, 1) == 0.5
    assert detector._grouped(odds, 2) == 0.5  # regular pairs: -2 right, 1 wrong; the others: 2 right, -1 wrong
    assert detector._grouped(odds, 4) == 1.0  # -1 and 1
    assert detector._grouped(odds, 8) == 0.5


def test_a_detector_that_says_nothing_guesses() -> None:
    nothing, some = np.zeros(8), np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0, -1.0, 0.0])
    assert detector.accuracy(nothing, nothing) == [0.5] * len(detector.GROUPS)
    assert detector._grouped([nothing, some], 1) == (0.5 + (2 + 5 / 2) / 8) / 2  # two right, one wrong, five ties
