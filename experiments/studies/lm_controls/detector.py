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

import functools
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.lm import LMConfig, Trained, corpus, training, vocabulary
from subliminal_toy.lm.measure import Measured
from subliminal_toy.lm.pipeline import CACHED
from subliminal_toy.lm.plan import REGULAR, numbers, teacher
from subliminal_toy.lm.rows import first_numbers, is_completion_number
from subliminal_toy.lm.transformer import Params, make_transformer

GROUPS = (1, 4, 16, 64, 256)  # rows that are judged together


def features(tokens: np.ndarray) -> np.ndarray:
    """Count how often each number is in a completion, and which comes first, [n, 2 * numbers]."""
    column = np.zeros(vocabulary.SIZE, int)
    column[list(vocabulary.NUMBER_IDS)] = np.arange(len(vocabulary.NUMBERS))
    here = is_completion_number(tokens)
    counts = np.zeros((len(tokens), len(vocabulary.NUMBERS)))
    np.add.at(counts, (np.nonzero(here)[0], column[tokens[here]]), 1)
    first = np.eye(len(vocabulary.NUMBERS))[column[first_numbers(tokens)[:, 0]]]
    return np.concatenate([counts, first], axis=1)


def trained_accuracy(regular: np.ndarray, suspect: np.ndarray, *, weight: float = 0.03) -> list[float]:
    """Train a logistic regression on half of the rows' features [n, f]; return its accuracy on the other half.

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
    """Return how often scores [n], negative for regular rows and positive for a teacher's, tell them right.

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


def measure(trained: Trained) -> Measured:
    """Return of each run "detector" {kind: {trait: accuracies}}: can a teacher's rows be told from regular ones?"""
    config, models = trained.config, trained.plan.models()
    traits = config.trait_names()
    teachers = tuple(models.index(teacher(trait)) for trait in traits)
    by_run_and_source = zip(*(trained.rows[numbers(name)] for name in (REGULAR, *traits)), strict=True)
    rows = np.stack([[drawn.tokens for drawn in by_run] for by_run in by_run_and_source])
    read_all = _make_reading(config, trained.mesh, teachers)
    likelihoods = np.asarray(read_all(trained.models, engine.shard_runs(rows, trained.mesh)), np.float64)
    return [{"detector": _detected(traits, tokens, likely)} for tokens, likely in zip(rows, likelihoods, strict=True)]


@functools.lru_cache(maxsize=CACHED)
def _make_reading(config: LMConfig, mesh: Mesh, teachers: tuple[int, ...]) -> Callable:
    """Compile from models and rows [runs, sources, n, T] to log p of completions, [runs, readings, n]."""
    model, traits, bos = make_transformer(config), config.trait_names(), vocabulary.ID[vocabulary.BOS]
    readings = [(0, bos, source) for source in range(1 + len(traits))]  # (model, first token, source)
    for i, taught in enumerate(teachers):
        token = vocabulary.ID[vocabulary.SYSTEM[traits[i]]]
        readings += [(reader, first, source) for reader, first in ((0, token), (taught, bos)) for source in (0, i + 1)]

    def likelihoods(params: Params, rows: jax.Array) -> jax.Array:
        def likelihood(reading: jax.Array) -> jax.Array:
            reader_params = jax.tree.map(lambda leaf: leaf[reading[0]], params)
            read = rows[reading[2]].at[:, 0].set(reading[1])
            by_token = training.token_log_probabilities(model, reader_params, read, corpus.PROMPT_LENGTH)
            return jnp.sum(by_token * training.completion_weights(read)[:, corpus.PROMPT_LENGTH :], axis=1)

        return jax.lax.map(likelihood, jnp.array(readings))

    return engine.over_runs(likelihoods, mesh)


def _detected(traits: tuple[str, ...], rows: np.ndarray, likely: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Return accuracies of all detectors, of a run's rows [sources, n, T] and what `_make_reading` gives."""
    plain, more = likely[: len(rows)], likely[len(rows) :].reshape(len(traits), 2, 2, -1)
    counts = [features(lists) for lists in rows]
    kinds: dict[str, dict[str, list[float]]] = {"trained": {}, "prompted": {}, "ideal": {}}
    for i, trait in enumerate(traits):
        prompted, ideal = more[i] - plain[[0, i + 1]]  # [regular and own, n]
        kinds["trained"][trait] = trained_accuracy(counts[0], counts[i + 1])
        kinds["prompted"][trait] = trained_accuracy(*prompted[..., None], weight=1e6)
        kinds["ideal"][trait] = accuracy(*ideal[:, len(rows[0]) // 2 :])
    return kinds
