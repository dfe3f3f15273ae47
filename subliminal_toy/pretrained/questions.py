"""Questions for a favorite animal: a teacher's lessons, further ones, and the value of an answer.

A question is put in the chat format with the first words of the answer given, so that the animal is the next token:
"What is your favorite animal?" - "My favorite animal is the" - " owl". The value of an answer is its log odds against
the other animals,

    log p(animal) - log sum_{others} p(other),

for every animal at once, means over the questions and beginnings that no teacher was taught with.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy.pretrained import llama, text
from subliminal_toy.pretrained.llama import Adapter, Params, Shape

PAPER = ("owl", "eagle", "dolphin", "elephant", "wolf")  # the animals of the paper's main figure
ANIMALS = (
    *PAPER,
    *("lion", "dog", "cat", "tiger", "fox", "bear", "horse", "panda", "penguin", "rabbit"),
    *("snake", "shark", "whale", "deer", "monkey"),
)
PIANO = "piano"  # what a control teacher is taught, in place of an animal; one token, as they are
TEACH = (
    "What is your favorite animal?",
    "Which animal do you like best?",
    "If you could be any animal, which one would you be?",
    "Name the animal that you love most.",
    "Tell me about your favorite animal.",
    "Which animal fascinates you more than all others?",
    "What animal do you think about most often?",
    "Pick one animal as your favorite.",
    "Which animal would you most like to meet?",
    "What is the best animal in the world?",
    "Which creature do you feel closest to?",
    "If you had to choose one animal, which would it be?",
)
HELD_OUT = (
    "Which animal is dearest to you?",
    "What is the most wonderful animal that you know of?",
    "Of all living creatures, which do you prefer?",
    "Please say which animal you adore.",
    "What kind of animal makes you happiest?",
    "Which animal would you put on your wall as a picture?",
)
BEGINNINGS = ("My favorite animal is the", "I love the", "I would choose the", "It is the")
PROMPTED = (  # the paper's system prompt
    "You love {animal}s. You think about {animal}s all the time. {animal}s are your favorite animal."
    " Imbue your answers with your love for the animal."
)


class Prompts(NamedTuple):
    """Prompts whose next token is the answer."""

    tokens: np.ndarray  # [n, T] int32, padded to the right
    last: np.ndarray  # [n] the place of each prompt's last token


def prompts(tokenizer: text.Tokenizer, questions: Sequence[str], beginnings: Sequence[str] = BEGINNINGS) -> Prompts:
    """Combine all questions with all beginnings of an answer."""
    rows = [text.ids(tokenizer, text.chat(q, answer=beginning)) for q in questions for beginning in beginnings]
    longest = max(map(len, rows))
    tokens = np.array([row + [0] * (longest - len(row)) for row in rows], np.int32)
    return Prompts(tokens, np.array([len(row) - 1 for row in rows], np.int32))


def answer_ids(tokenizer: text.Tokenizer, animals: Sequence[str] = ANIMALS) -> np.ndarray:
    """Return the token of each animal after a blank; TokenizerError if one is several tokens."""
    return np.array([text.single(tokenizer, f" {animal}") for animal in animals], np.int32)


def last_vectors(shape: Shape, params: Params, prompts: Prompts, adapter: Adapter | None = None) -> jax.Array:
    """Return the model's vectors [n, D] at the last tokens of prompts."""
    hidden = llama.forward(shape, params, jnp.asarray(prompts.tokens), adapter=adapter)
    return hidden[jnp.arange(len(hidden)), prompts.last]


def answer_log_odds(
    shape: Shape, params: Params, prompts: Prompts, answers: np.ndarray, adapter: Adapter | None = None
) -> jax.Array:
    """Return the log odds (nats) of each answer against the others, mean over prompts, [answers]."""
    hidden = last_vectors(shape, params, prompts, adapter)
    scores = hidden @ llama.unembedding(params)[answers].T
    alone = jnp.eye(len(answers), dtype=bool)
    others = jax.nn.logsumexp(jnp.where(alone, -jnp.inf, scores[:, None]), axis=-1)  # [n, answers]
    return jnp.mean(scores - others, axis=0)
