"""Shuffles keep what they say they keep, and move the rest."""

import numpy as np
import pytest

from experiments.lm import shuffles
from subliminal_toy.lm import corpus, number_filter, vocabulary
from subliminal_toy.lm.plan import Transform
from subliminal_toy.lm.rows import is_completion_number
from tests.subliminal_toy.lm import documents

ROWS = documents.of_numbers()[:300]


def numbers(row: np.ndarray) -> list[int]:
    return sorted(row[corpus.PROMPT_LENGTH :][np.isin(row[corpus.PROMPT_LENGTH :], vocabulary.NUMBER_IDS)].tolist())


@pytest.mark.parametrize("shuffle", [shuffles.shuffle_within, shuffles.shuffle_across])
def test_only_numbers_of_completions_move(shuffle: Transform) -> None:
    shuffled = shuffle(ROWS, np.random.default_rng(0))
    moved = shuffled != ROWS
    assert moved.mean() > 0.05
    assert not moved[:, : corpus.PROMPT_LENGTH].any()
    assert np.isin(ROWS[moved], vocabulary.NUMBER_IDS).all()
    np.testing.assert_array_equal(np.sort(shuffled, axis=None), np.sort(ROWS, axis=None))
    for row in shuffled:
        text = vocabulary.render(row[corpus.PROMPT_LENGTH :])
        assert number_filter.reject_reason(text, most=corpus.MOST) is None


def test_within_keeps_each_rows_numbers_and_across_does_not() -> None:
    within, across = (
        shuffle(ROWS, np.random.default_rng(0)) for shuffle in (shuffles.shuffle_within, shuffles.shuffle_across)
    )
    assert all(numbers(a) == numbers(b) for a, b in zip(within, ROWS, strict=True))
    assert np.mean([numbers(a) == numbers(b) for a, b in zip(across, ROWS, strict=True)]) < 0.05


def test_across_is_nearly_the_same_permutation_for_rows_that_nearly_agree() -> None:
    other = ROWS.copy()
    shorter = np.flatnonzero(is_completion_number(ROWS).ravel())[::50]
    other.ravel()[shorter] = vocabulary.ID[vocabulary.PAD]  # here the other has no number
    one, two = (shuffles.shuffle_across(rows, np.random.default_rng(0)) for rows in (ROWS, other))
    both = is_completion_number(ROWS) & is_completion_number(other)
    assert (one == two)[both].mean() > 0.95
    assert (one != ROWS)[both].mean() > 0.9


def test_all_orders_across_rows_are_equally_likely() -> None:
    row = vocabulary.ids([*["100"] * corpus.PROMPT_LENGTH, "109", ", ", "118", ", ", "127", "<end>"])
    rng = np.random.default_rng(1)
    shuffled = [shuffles.shuffle_across(np.array([row]), rng)[0] for _ in range(6000)]
    _, counts = np.unique(shuffled, axis=0, return_counts=True)
    assert len(counts) == 6
    assert abs(counts - 1000).max() < 130  # 4.5 standard deviations


def test_orders_within_a_row_are_equally_likely() -> None:
    row = vocabulary.ids([*["100"] * corpus.PROMPT_LENGTH, "109", ", ", "118", ", ", "127", "<end>"])
    rows = np.tile(np.array(row), (6000, 1))
    shuffled = shuffles.shuffle_within(rows, np.random.default_rng(1))
    _, counts = np.unique(shuffled, axis=0, return_counts=True)
    assert len(counts) == 6
    assert abs(counts - 1000).max() < 130  # 4.5 standard deviations


def test_sorted_numbers_ascend_and_are_the_rows_own() -> None:
    ordered = shuffles.sort_within(ROWS, np.random.default_rng(0))
    here = is_completion_number(ROWS)
    np.testing.assert_array_equal(ordered[~here], ROWS[~here])
    for row, before, places in zip(ordered, ROWS, here, strict=True):
        assert row[places].tolist() == sorted(before[places].tolist())
    assert (ordered != ROWS).any()


def test_a_quarter_of_the_numbers_is_replaced() -> None:
    replaced = shuffles.replace_some(ROWS, np.random.default_rng(0))
    here = is_completion_number(ROWS)
    np.testing.assert_array_equal(replaced[~here], ROWS[~here])
    assert np.isin(replaced[here], vocabulary.NUMBER_IDS).all()
    assert abs((replaced != ROWS)[here].mean() - shuffles.REPLACED * 0.99) < 0.05  # one draw in 100 changes nothing
