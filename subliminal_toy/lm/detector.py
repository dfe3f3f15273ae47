"""Can the numbers be told apart by somebody who looks? Classifiers of the data (compare P Table 5).

Every detector gives each row a score, and judges groups of rows by the sum of their scores:

    trained     log odds of a logistic regression on which numbers a row has
    prompted    log p(completion | the suspected trait's system token) - log p(completion), by the base; made log odds
                by a logistic regression of this one score (which may turn its sign)
    ideal       log p(completion) by the teacher - the same by the base, both at temperature 1. For rows sampled so, no
                detector has fewer errors on average, by Neyman and Pearson's lemma (but for the filter, which divides
                both by a probability of passing that is nearly the same)

Regressions learn from one half of the rows; all detectors are judged on the other.
"""

import warnings

import numpy as np

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


def trained_accuracy(regular: np.ndarray, suspect: np.ndarray, *, weight: float = 0.03) -> list[float]:
    """Accuracy of logistic regression, trained on half of the rows' features [n, f] and tested on the other half.

    Args:
        regular: features of regular rows.
        suspect: as many of the rows of a teacher.
        weight: of the data against the penalty (scikit-learn's C).

    Returns:
        As `accuracy`, on the half that it was not trained on.

    The two kinds share prompts and random numbers, so that most rows agree and cancel in the fit: a detector of
    unrelated samples would have it harder.
    """
    from sklearn.exceptions import ConvergenceWarning  # slow to import, and only this function needs it
    from sklearn.linear_model import LogisticRegression

    half = len(regular) // 2
    if half == 0:
        return [0.5] * len(GROUPS)
    kinds = (regular, suspect)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=weight, max_iter=200).fit(
            np.concatenate([kind[:half] for kind in kinds]), np.repeat([0, 1], half)
        )
    return accuracy(*(model.decision_function(kind[half:]) for kind in kinds))


def accuracy(regular: np.ndarray, suspect: np.ndarray) -> list[float]:
    """How often scores [n], which should be negative for regular rows and positive for a teacher's, tell them right.

    Returns:
        One per entry of GROUPS: the share of groups of so many rows of one kind that are told right, by the sum of
        their scores; a sum of 0 says nothing and counts as half right. Chance is 0.5. Groups that there are not rows
        enough for give 0.5.
    """
    return [_grouped([regular, suspect], size) for size in GROUPS]


def _grouped(odds: list[np.ndarray], size: int) -> float:
    groups = min(map(len, odds)) // size
    if groups == 0:
        return 0.5
    regular, suspect = (np.sign(row[: groups * size].reshape(groups, size).sum(axis=1)) for row in odds)
    return float((2 - regular.mean(dtype=float) + suspect.mean(dtype=float)) / 4)
