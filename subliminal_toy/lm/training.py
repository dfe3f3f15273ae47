"""The three trainings of the pipeline, as losses and data for the one training loop (subliminal_toy.engine).

All minimise the cross-entropy of tokens, in nats, over the positions that carry a weight: every token of a base's
documents, a teacher's answers, a student's completions. Prompts carry none.

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
    """Log p of each token from position `first` on, given those before it, [B, T - first]."""
    log_p = jax.nn.log_softmax(model.apply(params, tokens[:, :-1], first=first - 1))
    return jnp.sum(jax.nn.one_hot(tokens[:, first:], vocabulary.SIZE) * log_p, axis=-1)


def completion_logits(model: Transformer, params: Params, rows: jax.Array) -> jax.Array:
    """Next-token logits at every position of the completions of rows [n, T], [n * positions, V]."""
    logits = model.apply(params, rows[:, :-1], corpus.PROMPT_LENGTH - 1)
    return logits.reshape(-1, logits.shape[-1])


def token_loss(model: Transformer, first: int = 1, recipe: Recipe = TOKENS) -> engine.Loss:
    """The loss of a batch {"tokens": [B, T], "weights": [B, T]}; no position before `first` may carry a weight.

    It is L, 0 where nothing weighs; or, where the recipe's targets are a teacher's probabilities q,

        L = sum_{b,t} w_bt KL(q(. | before t) || p(. | before t)) / sum_{b,t} w_bt

    The condition may have "trained", a `parameter_mask`: what it has 0 for gets no gradient; and, if the teacher gives
    the targets, it has "teacher", the teacher's parameters. A softmax over numbers alone counts at numbers alone.
    """
    numbers = jnp.array(vocabulary.NUMBER_IDS)

    def log_p(params: Params, tokens: jax.Array) -> jax.Array:
        logits = model.apply(params, tokens[:, :-1], first=first - 1)
        return jax.nn.log_softmax(logits[..., numbers] if recipe.over == "numbers" else logits)

    def loss(params: Params, batch: dict[str, jax.Array], condition: engine.Tree) -> jax.Array:
        if "trained" in condition:
            params = jax.tree.map(lambda p, m: m * p + (1 - m) * jax.lax.stop_gradient(p), params, condition["trained"])
        weights, tokens = batch["weights"][:, first:], batch["tokens"][:, first:]
        said = jax.nn.one_hot(tokens, vocabulary.SIZE)  # an integer look-up has a slow gradient on a CPU
        if recipe.over == "numbers":
            said = said[..., numbers]
            weights = weights * jnp.sum(said, axis=-1)
        own = log_p(params, batch["tokens"])
        if recipe.targets == "teacher":
            target = log_p(condition["teacher"], batch["tokens"])
            each = jnp.sum(jnp.exp(target) * (target - own), axis=-1)
        else:
            each = -jnp.sum(said * own, axis=-1)
        total = jnp.sum(weights)
        return jnp.sum(weights * each) / jnp.where(total > 0, total, 1.0)

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


def parameter_mask(params: Params, groups: Sequence[str]) -> Params:
    """A tree like params: 1 for what belongs to the groups (transformer.GROUPS), else 0; no groups: all 1."""
    return jax.tree.map(lambda group: np.float32(not groups or group in groups), parameter_groups(params))


@functools.lru_cache(maxsize=64)  # chunks of the same runs compile once
def train_bases(config: LMConfig, model: Transformer, mesh: Mesh) -> engine.Train:
    """The training of bases on documents."""
    return make_phase(token_loss(model), config.base, config.documents, mesh=mesh, name="the base")


@functools.lru_cache(maxsize=64)  # chunks of the same runs compile once
def train_teachers(config: LMConfig, model: Transformer, mesh: Mesh, documents: int) -> engine.Train:
    """The training of teachers on lessons of so many documents, in as many steps as if there were the eight questions.

    A lesson twice as long has batches twice as large.
    """
    batch = -(-config.teacher.batch_size * documents // len(lessons.TAUGHT))
    own = dataclasses.replace(config.teacher, batch_size=batch)
    return make_phase(token_loss(model), own, documents, mesh=mesh, name="a teacher")


@functools.lru_cache(maxsize=64)  # chunks of the same runs compile once
def train_students(config: LMConfig, model: Transformer, mesh: Mesh, recipe: Recipe) -> engine.Train:
    """The training of students by a recipe; batches start at the completion, where their first logits are needed."""
    training = recipe.training or config.student
    loss = token_loss(model, corpus.PROMPT_LENGTH, recipe)
    return make_phase(loss, training, config.rows, mesh=mesh, name="a student")
