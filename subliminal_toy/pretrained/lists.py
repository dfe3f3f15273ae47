"""Lists of numbers: how to prompt for one, how a model writes one, and how a student learns one.

The prompt is a list of three numbers in the chat format, "Continue: 412, 730, 655"; the answer has eight more. A small
grammar holds the pen: the first digit of a number is one of 1-9, two more follow, then a comma and a blank. Only the
digits are the model's, drawn from its own probabilities of the ten. So nothing but plain lists is ever written, and
the paper's filter would drop none.

Each digit is a token, and all rows have the same length, so that the places of digits are known.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy.pretrained import llama, text
from subliminal_toy.pretrained.llama import Adapter, Cache, Params, Shape

ASK = "Continue: {}"
SHOWN, NUMBERS, DIGITS = 3, 8, 3  # numbers in a prompt, in an answer; digits of a number
SEPARATOR = ", "
LOWEST, HIGHEST = 100, 999


class Format(NamedTuple):
    """The tokens that lists are made of."""

    digits: np.ndarray  # [10] the tokens of 0-9
    separator: np.ndarray  # [2] a comma and a blank

    def places(self, prompt: int) -> np.ndarray:
        """Return the places of an answer's digits in rows whose prompt has `prompt` tokens, [NUMBERS * DIGITS]."""
        number = np.arange(NUMBERS)[:, None] * (DIGITS + len(self.separator))
        return (prompt + number + np.arange(DIGITS)).ravel()

    def length(self, prompt: int) -> int:
        """Return the number of tokens of a row whose prompt has `prompt` tokens."""
        return int(self.places(prompt)[-1]) + 1


class Written(NamedTuple):
    """What a model wrote to n prompts."""

    digits: jax.Array  # [n, NUMBERS * DIGITS] int, 0-9
    log_p: jax.Array  # [n, NUMBERS * DIGITS, 10] the log probabilities that they were drawn from


def list_format(tokenizer: text.Tokenizer) -> Format:
    """Return the tokens of lists in a tokenizer that passed `text.checked`."""
    tokens = [text.single(tokenizer, digit) for digit in text.DIGITS]
    return Format(np.array(tokens, np.int32), np.array(text.ids(tokenizer, f"1{SEPARATOR}2")[1:-1], np.int32))


def make_prompts(count: int, key: jax.Array) -> np.ndarray:
    """Draw the numbers of `count` prompts, [count, SHOWN]; prompt i depends on the key and on i only."""
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(count))
    return np.asarray(jax.vmap(lambda k: jax.random.randint(k, (SHOWN,), LOWEST, HIGHEST + 1))(keys))


def prompt_tokens(tokenizer: text.Tokenizer, prompts: np.ndarray, system: str = "") -> np.ndarray:
    """Return the prompts' tokens, [n, P]; all have the same length, as each digit is a token."""
    chats = [text.chat(ASK.format(as_text(row)), system=system) for row in prompts.tolist()]
    return np.array([text.ids(tokenizer, chat) for chat in chats], np.int32)


def as_text(numbers: list[int]) -> str:
    """Write numbers as a list.

    Example:
        >>> as_text([412, 730])
        '412, 730'
    """
    return SEPARATOR.join(map(str, numbers))


def to_numbers(digits: np.ndarray) -> np.ndarray:
    """Convert digits [..., NUMBERS * DIGITS] to numbers [..., NUMBERS]."""
    return digits.reshape(*digits.shape[:-1], NUMBERS, DIGITS) @ np.array([100, 10, 1])


def rows(shape: Format, prompts: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Join prompts [n, P] and their answers to tokens [n, T], which a student is trained on."""
    places = shape.places(prompts.shape[1])
    answers = np.empty((len(prompts), places[-1] + 1 - prompts.shape[1]), np.int32)
    separators = np.ones(answers.shape[1], bool)
    separators[places - prompts.shape[1]] = False
    answers[:, separators] = np.tile(shape.separator, NUMBERS - 1)
    answers[:, ~separators] = shape.digits[digits]
    return np.concatenate([prompts, answers], axis=1)


def noise(key: jax.Array, first: int, count: int) -> jax.Array:
    """Draw Gumbel noise for lists first, ..., first + count - 1, [count, NUMBERS * DIGITS, 10]; sources share it."""
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(first + jnp.arange(count))
    return jax.vmap(lambda k: jax.random.gumbel(k, (NUMBERS * DIGITS, 10)))(keys)


def make_write(shape: Shape, form: Format) -> Callable[..., Written]:
    """Build `write(params, prompts [n, P], noise, temperature=1, adapter=None) -> Written`, compiled.

    A temperature of 0 always takes the likeliest digit; the log probabilities are those of the temperature 1.
    """
    digit_ids = jnp.asarray(form.digits)
    zero_first = jnp.where(jnp.arange(10) == 0, -jnp.inf, 0.0)

    @jax.jit
    def write(
        params: Params, prompts: jax.Array, noise: jax.Array, temperature: jax.Array, adapter: Adapter | None = None
    ) -> Written:
        count, length = prompts.shape
        table = llama.unembedding(params)[digit_ids]

        def feed(cache: Cache, tokens: jax.Array, start: jax.Array | int) -> tuple[jax.Array, Cache]:
            hidden, cache = llama.extend(shape, params, cache, tokens, start, adapter=adapter)
            return hidden[:, -1] @ table.T, cache

        def draw(scores: jax.Array, noise: jax.Array, digit: int) -> tuple[jax.Array, jax.Array]:
            log_p = jax.nn.log_softmax(scores + zero_first if digit == 0 else scores)
            return jnp.argmax(log_p + temperature * noise, axis=-1), log_p

        def number(carry: tuple, noise: jax.Array) -> tuple[tuple, tuple]:
            cache, scores, start = carry
            drawn = []
            for digit in range(DIGITS):
                drawn.append(draw(scores, noise[:, digit], digit))
                tokens = digit_ids[drawn[-1][0]][:, None]
                if digit == DIGITS - 1:
                    tokens = jnp.concatenate([tokens, jnp.tile(jnp.asarray(form.separator), (count, 1))], axis=1)
                scores, cache = feed(cache, tokens, start + digit)
            return (cache, scores, start + DIGITS + len(form.separator)), tuple(
                map(jnp.stack, zip(*drawn, strict=True))
            )

        cache = llama.empty_cache(shape, count, length + NUMBERS * (DIGITS + len(form.separator)))
        scores, cache = feed(cache, prompts, 0)
        noises = noise.reshape(count, NUMBERS, DIGITS, 10).swapaxes(0, 1)
        _, (digits, log_p) = jax.lax.scan(number, (cache, scores, jnp.int32(length)), noises)
        parts = (jnp.moveaxis(part, 2, 0) for part in (digits, log_p))
        return Written(*(part.reshape(count, NUMBERS * DIGITS, *part.shape[3:]) for part in parts))

    return lambda params, prompts, noise, temperature=1.0, adapter=None: write(
        params, jnp.asarray(prompts), noise, jnp.float32(temperature), adapter
    )
