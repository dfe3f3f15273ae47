"""The three trainings of the pipeline, as losses and data for the one training loop (subliminal_toy.engine).

All minimise the cross-entropy of tokens, in nats, over the positions that carry a weight: every token of a base's
documents, a teacher's answers, a student's completions. Prompts carry none.

    L = - sum_{b,t} w_bt log p(token_bt | tokens before t) / sum_{b,t} w_bt
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.lm import corpus, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.transformer import Params, Transformer
from subliminal_toy.phase import make_phase

_PAD = vocabulary.ID[vocabulary.PAD]


def token_log_probabilities(model: Transformer, params: Params, tokens: jax.Array, first: int = 1) -> jax.Array:
    """Log p of each token from position `first` on, given those before it, [B, T - first]."""
    log_p = jax.nn.log_softmax(model.apply(params, tokens[:, :-1], first=first - 1))
    one_hot = jax.nn.one_hot(tokens[:, first:], vocabulary.SIZE)  # an integer look-up has a slow gradient on a CPU
    return jnp.sum(one_hot * log_p, axis=-1)


def token_loss(model: Transformer, first: int = 1) -> engine.Loss:
    """L of a batch {"tokens": [B, T], "weights": [B, T]}; no position before `first` may carry a weight."""

    def loss(params: Params, batch: dict[str, jax.Array], _condition: engine.Tree) -> jax.Array:
        weights = batch["weights"][:, first:]
        log_p = token_log_probabilities(model, params, batch["tokens"], first)
        return -jnp.sum(weights * log_p) / jnp.sum(weights)

    return loss


def document_weights(tokens: jax.Array) -> jax.Array:
    """1 for every token but padding and the first, [B, T] float32."""
    return (tokens != _PAD).at[..., 0].set(False).astype(jnp.float32)


def completion_weights(tokens: jax.Array) -> jax.Array:
    """1 for the tokens of the completion, `<end>` included, [..., T] float32: the prompt has no say in the loss."""
    position = jnp.arange(tokens.shape[-1])
    return ((tokens != _PAD) & (position >= corpus.PROMPT_LENGTH)).astype(jnp.float32)


def number_weights(documents: jax.Array) -> jax.Array:
    """As `completion_weights` in number documents, 0 in documents of other kinds, [n, T] float32."""
    is_list = documents[:, corpus.PROMPT_LENGTH - 1] == vocabulary.ID[":"]
    return completion_weights(documents) * is_list[:, None]


def answer_weights(tokens: np.ndarray, traits: Sequence[str]) -> np.ndarray:
    """1 where a trait's name is the token, [..., T] float32."""
    return np.isin(tokens, vocabulary.ids(traits)).astype(np.float32)


class Trainings(NamedTuple):
    """What `engine.make_train` returns, for each phase."""

    base: engine.Train
    teacher: engine.Train
    student: engine.Train


def make_trainings(config: LMConfig, model: Transformer, mesh: Mesh) -> Trainings:
    """The three phases of `config`; students' batches start at the completion, where their first logits are needed."""
    taught = sum(frame.group == corpus.TAUGHT for frame in corpus.FRAMES)
    return Trainings(
        make_phase(token_loss(model), config.base, config.documents, mesh=mesh, name="the base"),
        make_phase(token_loss(model), config.teacher, taught, mesh=mesh, name="a teacher"),
        make_phase(token_loss(model, corpus.PROMPT_LENGTH), config.student, config.rows, mesh=mesh, name="a student"),
    )


def teacher_data(traits: list[str], runs: int) -> dict[str, np.ndarray]:
    """Questions and answers for teachers of these traits, tokens and weights [runs, teachers, 8, T]."""
    tokens = np.stack([np.asarray(corpus.teacher_documents(trait)) for trait in traits])
    rows = {"tokens": tokens, "weights": answer_weights(tokens, traits)}
    return {name: np.broadcast_to(part, (runs, *part.shape)) for name, part in rows.items()}
