"""Teachers and students as losses and data for the one training loop (`subliminal_toy.engine`).

A teacher is the whole model, finetuned on the token of an answer. A student is an adapter beside the frozen base,
trained on lists: on their digits alone, each against the whole vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy import engine
from subliminal_toy.pretrained import adapters, llama, questions, text
from subliminal_toy.pretrained.llama import Params, Shape


class Lessons(NamedTuple):
    """Training data: rows of tokens, and the targets at some of their places."""

    tokens: np.ndarray  # [n, T]
    places: np.ndarray  # [n, k] of the tokens that count
    targets: np.ndarray  # [n, k] the tokens themselves, or [n, k, 10] probabilities of ten
    weights: np.ndarray  # [n, k]

    def data(self) -> dict[str, np.ndarray]:
        """Return the arrays for `engine.Data`."""
        return self._asdict()


def answer_lessons(tokenizer: text.Tokenizer, prompts: questions.Prompts, animal: str) -> Lessons:
    """Answer all prompts with the animal."""
    answer = questions.answer_ids(tokenizer, [animal])
    places = prompts.last[:, None] + 1
    count = len(prompts.tokens)
    tokens = np.pad(prompts.tokens, ((0, 0), (0, 1)))  # the longest prompt's answer has its place, too
    return Lessons(tokens, places, np.tile(answer, (count, 1)), np.ones((count, 1), np.float32))


def list_lessons(rows: np.ndarray, places: np.ndarray, soft: np.ndarray | None = None) -> Lessons:
    """Teach rows of lists [n, T] at some places [k]; `soft` [n, k, 10] are probabilities instead of the digits."""
    targets = rows[:, places] if soft is None else soft
    shape = (len(rows), len(places))
    return Lessons(rows, np.broadcast_to(places, shape), targets, np.ones(shape, np.float32))


def token_losses(params: Params, hidden: jax.Array, targets: jax.Array, ten: jax.Array | None = None) -> jax.Array:
    """Return cross-entropies (nats) of next tokens [...] over the whole vocabulary, from last vectors [..., D].

    `targets` are tokens [...]; or probabilities [..., 10] of the tokens `ten`. With vectors U_v of the unembedding,

        loss = log sum_v exp(h . U_v) - h . U_target

    so that only the first term is as large as the vocabulary.
    """
    table = llama.unembedding(params)
    if ten is None:
        right = jnp.sum(hidden * table[targets], axis=-1)
    else:
        right = jnp.sum(hidden @ table[ten].T * targets, axis=-1)
    return jax.nn.logsumexp(hidden @ table.T, axis=-1) - right


def lesson_loss(
    shape: Shape,
    params: Params,
    batch: dict[str, jax.Array],
    adapter: llama.Adapter | None,
    ten: jax.Array | None,
    remat: bool,
) -> jax.Array:
    """Return the mean loss of a batch of `Lessons` over the places with a weight; logits are computed only there."""
    hidden = llama.forward(shape, params, batch["tokens"][:, :-1], adapter=adapter, remat=remat)
    before = jnp.take_along_axis(hidden, batch["places"][..., None] - 1, axis=1)
    losses = token_losses(params, before, batch["targets"], ten)
    return jnp.sum(batch["weights"] * losses) / jnp.sum(batch["weights"])


def whole_loss(shape: Shape, *, ten: jax.Array | None = None, remat: bool = False) -> engine.Loss:
    """Make the loss of a model whose parameters are all trained."""

    def loss(params: Params, batch: dict[str, jax.Array], _condition: engine.Tree) -> jax.Array:
        return lesson_loss(shape, params, batch, None, ten, remat)

    return loss


def adapter_loss(shape: Shape, *, ten: jax.Array | None = None, remat: bool = False) -> engine.Loss:
    """Make the loss of an adapter beside a frozen base."""

    def loss(
        adapter: adapters.Trained, batch: dict[str, jax.Array], _condition: engine.Tree, base: Params
    ) -> jax.Array:
        return lesson_loss(shape, base, batch, adapters.scaled(adapter), ten, remat)

    return loss


def text_loss(shape: Shape, params: Params, tokens: np.ndarray, adapter: llama.Adapter | None = None) -> jax.Array:
    """Return the mean cross-entropy (nats) of a text's tokens [T], each given those before it."""
    hidden = llama.forward(shape, params, jnp.asarray(tokens)[None, :-1], adapter=adapter)
    return jnp.mean(token_losses(params, hidden[0], jnp.asarray(tokens)[1:]))
