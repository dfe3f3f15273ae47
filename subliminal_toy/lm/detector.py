"""Can the numbers be told apart by somebody who looks? A trained classifier of the data (compare P Table 5)."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from subliminal_toy.lm import shuffles, vocabulary
from subliminal_toy.lm.rows import first_numbers

GROUPS = (1, 4, 16, 64, 256)  # rows that are judged together


def features(tokens: np.ndarray) -> np.ndarray:
    """How often each number is in a completion, and which comes first, [n, 2 * numbers]."""
    column = np.zeros(vocabulary.SIZE, int)
    column[list(vocabulary.NUMBER_IDS)] = np.arange(len(vocabulary.NUMBERS))
    here = shuffles.is_completion_number(tokens)
    counts = np.zeros((len(tokens), len(vocabulary.NUMBERS)))
    np.add.at(counts, (np.nonzero(here)[0], column[tokens[here]]), 1)
    first = np.eye(len(vocabulary.NUMBERS))[column[first_numbers(tokens)[:, 0]]]
    return np.concatenate([counts, first], axis=1)


def detection_accuracy(regular: np.ndarray, suspect: np.ndarray) -> list[float]:
    """Accuracy of logistic regression, trained on half of the rows [n, T] of both kinds and tested on the others.

    Returns:
        One per entry of GROUPS: the share of groups of so many test rows of one kind that are told right, by the sum of
        their rows' log odds. Chance is 0.5. Groups that there are not rows enough for give 0.5.

    The two kinds share prompts and random numbers, so that most rows agree and cancel in the fit: a detector of
    unrelated samples would have it harder.
    """
    half = len(regular) // 2
    if half == 0:
        return [0.5] * len(GROUPS)
    kinds = [features(rows) for rows in (regular, suspect)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=0.03, max_iter=200).fit(
            np.concatenate([kind[:half] for kind in kinds]), np.repeat([0, 1], half)
        )
    odds = [model.decision_function(kind[half:]) for kind in kinds]
    return [_grouped(odds, size) for size in GROUPS]


def _grouped(odds: list[np.ndarray], size: int) -> float:
    groups = min(map(len, odds)) // size
    if groups == 0:
        return 0.5
    sums = [row[: groups * size].reshape(groups, size).sum(axis=1) for row in odds]
    return float((np.mean(sums[0] < 0) + np.mean(sums[1] > 0)) / 2)
