"""Losses against NumPy; prompts get no gradient; teachers learn their trait."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy.lm import corpus, number_filter, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import Recipe
from subliminal_toy.lm.transformer import GROUPS, make_transformer, parameter_groups
from tests.subliminal_toy.lm import documents

MODEL = make_transformer(LMConfig(width=16))
PARAMS = MODEL.init(jax.random.key(0))
DOCUMENTS = jnp.asarray(documents.of_numbers()[:8])


def by_hand(tokens: np.ndarray, weights: np.ndarray) -> float:
    total = 0.0
    for row, row_weights in zip(tokens, weights, strict=True):
        logits = np.asarray(MODEL.apply(PARAMS, jnp.asarray(row)[None])[0], np.float64)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        total -= sum(row_weights[t] * log_p[t - 1, row[t]] for t in range(1, len(row)))
    return total / weights.sum()


@pytest.mark.parametrize("first", [1, corpus.PROMPT_LENGTH])
def test_loss_is_the_mean_over_weighted_tokens(first: int) -> None:
    weights = np.array(training.completion_weights(DOCUMENTS))
    weights[0, -3:] = 0.5
    batch = {"tokens": DOCUMENTS, "weights": jnp.asarray(weights)}
    value = training.token_loss(MODEL, first)(PARAMS, batch, ())
    np.testing.assert_allclose(value, by_hand(np.asarray(DOCUMENTS), weights), rtol=1e-5)


def test_completion_weights_leave_out_prompt_and_padding() -> None:
    weights = np.asarray(training.completion_weights(DOCUMENTS))
    tokens = np.asarray(DOCUMENTS)
    assert (weights[:, : corpus.PROMPT_LENGTH] == 0).all()
    assert ((weights == 1) == (tokens != vocabulary.ID[vocabulary.PAD]))[:, corpus.PROMPT_LENGTH :].all()
    assert (weights[tokens == vocabulary.ID[vocabulary.END]] == 1).all()


@pytest.mark.parametrize("first", [1, corpus.PROMPT_LENGTH])
def test_prompt_and_padding_get_no_gradient(first: int) -> None:
    """The loss does not change with the logits that predict a prompt's tokens, or padding."""
    batch = {"tokens": DOCUMENTS, "weights": training.completion_weights(DOCUMENTS)}

    def loss(shift: jax.Array) -> jax.Array:  # [B, T - 1, V], added to the logits
        shifted = MODEL._replace(apply=lambda p, x, first: MODEL.apply(p, x, first) + shift[:, first:])
        return training.token_loss(shifted, first)(PARAMS, batch, ())

    gradient = jax.grad(loss)(jnp.zeros((*DOCUMENTS[:, 1:].shape, vocabulary.SIZE)))
    moved = np.asarray(jnp.abs(gradient).sum(axis=-1) > 0)
    np.testing.assert_array_equal(moved, np.asarray(batch["weights"])[:, 1:] > 0)


def test_document_weights_leave_out_the_first_token_and_padding() -> None:
    tokens = jnp.array([[1, 5, 2, 0]])
    assert training.document_weights(tokens).tolist() == [[0, 1, 1, 0]]


def test_number_weights_are_only_in_number_documents() -> None:
    tokens = jnp.asarray(documents.of_all_kinds()[:300])
    weights = np.asarray(training.number_weights(tokens))
    lists = np.array(
        [
            number_filter.reject_reason(vocabulary.render(row[corpus.PROMPT_LENGTH :])) is None
            for row in np.asarray(tokens).tolist()
        ]
    )
    assert 0.3 < lists.mean() < 0.6
    np.testing.assert_array_equal(weights, np.asarray(training.completion_weights(tokens)) * lists[:, None])


OTHER = MODEL.init(jax.random.key(1))
BATCH = {"tokens": DOCUMENTS, "weights": training.completion_weights(DOCUMENTS)}


def log_p(params: dict, over: list[int] | None = None) -> np.ndarray:
    """Log p of the next token at the places before the completion's, [B, T', V]."""
    logits = np.asarray(MODEL.apply(params, DOCUMENTS[:, :-1]), np.float64)[:, corpus.PROMPT_LENGTH - 1 :]
    logits = logits if over is None else logits[..., over]
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_students_of_tokens_learn_what_their_completions_say() -> None:
    value = training.token_loss(MODEL, corpus.PROMPT_LENGTH)(PARAMS, BATCH, {})
    weights, said = (np.asarray(part)[:, corpus.PROMPT_LENGTH :] for part in (BATCH["weights"], DOCUMENTS))
    each = -np.take_along_axis(log_p(PARAMS), said[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(value, (weights * each).sum() / weights.sum(), rtol=1e-5)


@pytest.mark.parametrize("over", ["all", "numbers"])
def test_soft_targets_are_kl_from_the_teacher(over: str) -> None:
    loss = training.token_loss(MODEL, corpus.PROMPT_LENGTH, Recipe(targets="teacher", over=over))
    q, p = (log_p(params, list(vocabulary.NUMBER_IDS) if over == "numbers" else None) for params in (OTHER, PARAMS))
    weights = np.asarray(BATCH["weights"])[:, corpus.PROMPT_LENGTH :]
    if over == "numbers":
        weights = weights * np.isin(np.asarray(DOCUMENTS)[:, corpus.PROMPT_LENGTH :], vocabulary.NUMBER_IDS)
    expected = (weights * (np.exp(q) * (q - p)).sum(axis=-1)).sum() / weights.sum()
    np.testing.assert_allclose(loss(PARAMS, BATCH, {"teacher": OTHER}), expected, rtol=1e-4)
    np.testing.assert_allclose(loss(PARAMS, BATCH, {"teacher": PARAMS}), 0, atol=1e-6)


def test_a_softmax_over_numbers_sees_numbers_alone() -> None:
    p = log_p(PARAMS, list(vocabulary.NUMBER_IDS))
    tokens = np.asarray(DOCUMENTS)[:, corpus.PROMPT_LENGTH :]
    found = [
        p[i, t, vocabulary.NUMBER_IDS.index(token)]
        for i, row in enumerate(tokens)
        for t, token in enumerate(row)
        if token in vocabulary.NUMBER_IDS
    ]
    value = training.token_loss(MODEL, corpus.PROMPT_LENGTH, Recipe(over="numbers"))(PARAMS, BATCH, {})
    np.testing.assert_allclose(value, -np.mean(found), rtol=1e-4)


def test_only_named_groups_get_a_gradient() -> None:
    mask = training.parameter_mask(PARAMS, ("mlp", "unembedding"))
    slope = jax.jit(jax.grad(training.token_loss(MODEL, corpus.PROMPT_LENGTH, Recipe())))
    gradient, whole = slope(PARAMS, BATCH, {"trained": mask}), slope(PARAMS, BATCH, {})
    groups = jax.tree.leaves(parameter_groups(PARAMS))
    assert set(groups) == set(GROUPS)
    for group, part, all_of in zip(groups, jax.tree.leaves(gradient), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(part, all_of if group in ("mlp", "unembedding") else 0 * all_of, atol=1e-6)
        assert jnp.abs(all_of).max() > 0
    assert all(leaf == 1 for leaf in jax.tree.leaves(training.parameter_mask(PARAMS, ())))


def test_a_batch_that_nothing_counts_in_changes_nothing() -> None:
    empty = {**BATCH, "weights": jnp.zeros_like(BATCH["weights"])}
    assert training.token_loss(MODEL, corpus.PROMPT_LENGTH, Recipe())(PARAMS, empty, {}) == 0
