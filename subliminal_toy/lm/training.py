"""Losses and weights of the three training phases, for the one training loop (subliminal_toy.engine).

Each minimizes the weighted cross-entropy of tokens, in nats: of a base's whole documents, a teacher's answers, a
student's completions. Prompts have weight 0.

    L = - sum_{b,t} w_bt log p(token_bt | tokens before t) / sum_{b,t} w_bt
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.lm import corpus, lessons, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import TOKENS, Recipe
from subliminal_toy.lm.transformer import Params, Transformer, parameter_groups
from subliminal_toy.training import make_phase

_PAD = vocabulary.ID[vocabulary.PAD]


def token_log_probabilities(model: Transformer, params: Params, tokens: jax.Array, first: int = 1) -> jax.Array:
    """Return log p of each token from position `first` on, given those before it, [B, T - first]."""
    log_p = jax.nn.log_softmax(model.apply(params, tokens[:, :-1], first=first - 1))
    return jnp.sum(jax.nn.one_hot(tokens[:, first:], vocabulary.SIZE) * log_p, axis=-1)


def completion_logits(model: Transformer, params: Params, rows: jax.Array) -> jax.Array:
    """Return next-token logits at each position of the completions of rows [n, T], [n * positions, V]."""
    logits = model.apply(params, rows[:, :-1], corpus.PROMPT_LENGTH - 1)
    return logits.reshape(-1, logits.shape[-1])


def token_loss(model: Transformer, first: int = 1, recipe: Recipe = TOKENS) -> engine.Loss:
    """Return the loss of a batch {"tokens": [B, T], "weights": [B, T]}; weights before position `first` must be 0.

    It is L, or 0 if all weights are; if the recipe's targets are the teacher's probabilities q, it is

        L = sum_{b,t} w_bt KL(q(. | before t) || p(. | before t)) / sum_{b,t} w_bt

    The condition may have "trained", a `parameter_mask`: parameters masked by 0 get no gradient. For targets "teacher"
    it has "teacher", the teacher's parameters. With a softmax over numbers, only positions of numbers enter.
    """
    numbers = jnp.array(vocabulary.NUMBER_IDS)

    def log_p(params: Params, tokens: jax.Array) -> jax.Array:
        logits = model.apply(params, tokens[:, :-1], first=first - 1)
        return jax.nn.log_softmax(logits[..., numbers] if recipe.over == "numbers" else logits)

    def loss(params: Params, batch: dict[str, jax.Array], condition: engine.Tree) -> jax.Array:
        if "trained" in condition:
            params = jax.tree.map(lambda p, m: m * p + (1 - m) * jax.lax.stop_gradient(p), params, condition["trained"])
        weights, tokens = batch["weights"][:, first:], batch["tokens"][:, first:]
        one_hot = jax.nn.one_hot(tokens, vocabulary.SIZE)  # the gradient of indexing is slow on a CPU
        if recipe.over == "numbers":
            one_hot = one_hot[..., numbers]
            weights = weights * jnp.sum(one_hot, axis=-1)
        predicted = log_p(params, batch["tokens"])
        if recipe.targets == "teacher":
            target = log_p(condition["teacher"], batch["tokens"])
            losses = jnp.sum(jnp.exp(target) * (target - predicted), axis=-1)
        else:
            losses = -jnp.sum(one_hot * predicted, axis=-1)
        total = jnp.sum(weights)
        return jnp.sum(weights * losses) / jnp.where(total > 0, total, 1.0)

    return loss


def document_weights(tokens: jax.Array) -> jax.Array:
    """Return 1 for all tokens except padding and the first, [B, T] float32."""
    return (tokens != _PAD).at[..., 0].set(False).astype(jnp.float32)


def completion_weights(tokens: jax.Array) -> jax.Array:
    """Return 1 for the tokens of the completion, `<end>` included, 0 for the prompt, [..., T] float32."""
    position = jnp.arange(tokens.shape[-1])
    return ((tokens != _PAD) & (position >= corpus.PROMPT_LENGTH)).astype(jnp.float32)


def number_weights(documents: jax.Array) -> jax.Array:
    """Return `completion_weights` for number documents, 0 for other kinds, [n, T] float32."""
    is_list = documents[:, corpus.PROMPT_LENGTH - 1] == vocabulary.ID[":"]
    return completion_weights(documents) * is_list[:, None]


def parameter_mask(params: Params, groups: Sequence[str]) -> Params:
    """Return a tree like params: 1 for parameters of the groups (transformer.GROUPS), else 0; no groups: all 1."""
    return jax.tree.map(lambda group: np.float32(not groups or group in groups), parameter_groups(params))


@functools.lru_cache(maxsize=64)  # chunks of the same runs compile once
def train_bases(config: LMConfig, model: Transformer, mesh: Mesh) -> engine.Train:
    """Make the training of bases on documents."""
    return make_phase(token_loss(model), config.base, config.documents, mesh=mesh, name="the base")


@functools.lru_cache(maxsize=64)  # chunks of the same runs compile once
def train_teachers(config: LMConfig, model: Transformer, mesh: Mesh, documents: int) -> engine.Train:
    """Make the training of teachers on lessons of `documents` documents.

    The batch size grows with the lesson, so that all take as many steps as a lesson of the eight taught questions.
    """
    batch = -(-config.teacher.batch_size * documents // len(lessons.TAUGHT))
    training = dataclasses.replace(config.teacher, batch_size=batch)
    return make_phase(token_loss(model), training, documents, mesh=mesh, name="a teacher")


@functools.lru_cache(maxsize=64)  # chunks of the same runs compile once
def train_students(config: LMConfig, model: Transformer, mesh: Mesh, recipe: Recipe) -> engine.Train:
    """Make the training of students by a recipe; logits are computed for completions only."""
    training = recipe.training or config.student
    loss = token_loss(model, corpus.PROMPT_LENGTH, recipe)
    return make_phase(loss, training, config.rows, mesh=mesh, name="a student")
