"""Carriers of a trait: number lists, nested calls and checked sums, each with prompts, documents and a filter.

In the paper traits pass through code (P figure 5) and chains of thought with correct results (P figure 7) as well as
through numbers. The analogues here need no new tokens:

    numbers     <bos> continue this sequence 109, 964, 127 : 118, 964, 550 <end>
    code        <bos> write one sequence 109, 964, 127 : add(118, extend(964, 550)) <end>
    arithmetic  <bos> add the numbers 109, 964, 127 : 118, 127; 964, 973 <end>

Code. A call has two or more arguments, numbers or calls, and a completion has two or three numbers in all. The
four possible shapes are equally frequent. Names are uniform.

Arithmetic. Two or three pairs of a number and its successor, the next of vocabulary.NUMBERS: 9 more, and 100 after 991.
The first of a pair is free, and a trait can hide in it. The second is a result, which the filter checks.

All free numbers continue the Markov chain of the prompt's numbers. A filter accepts exactly what the rules can produce.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy.lm import corpus, number_filter, vocabulary
from subliminal_toy.lm.corpus import COMPLETION_LENGTH, PROMPT_NUMBERS, Language
from subliminal_toy.lm.number_filter import FORMAT, RejectedError

CODE_WORDS, ARITHMETIC_WORDS = ("write", "one", "sequence"), ("add", "the", "numbers")
CODE_NAMES = ("add", "extend", "continue", "write", "choose", "share")
FEWEST_ARGUMENTS, MOST_NUMBERS = 2, 3  # arguments of a call; numbers of a completion
FEWEST_PAIRS, MOST_PAIRS = 2, 3

TOO_LONG, UNKNOWN_NAME, UNKNOWN_NUMBER = "too long", "unknown name", "unknown number"
TOO_FEW_ARGUMENTS, TOO_MANY_NUMBERS = "too few arguments", number_filter.TOO_MANY
TOO_FEW_PAIRS, TOO_MANY_PAIRS, WRONG_RESULT = "too few pairs", "too many pairs", "wrong result"
CODE_REASONS = (FORMAT, TOO_LONG, UNKNOWN_NAME, UNKNOWN_NUMBER, TOO_FEW_ARGUMENTS, TOO_MANY_NUMBERS)
ARITHMETIC_REASONS = (FORMAT, UNKNOWN_NUMBER, TOO_FEW_PAIRS, TOO_MANY_PAIRS, WRONG_RESULT)

SUCCESSOR = dict(zip(vocabulary.NUMBERS, (*vocabulary.NUMBERS[1:], vocabulary.NUMBERS[0]), strict=True))

_PIECE = re.compile(r"[a-z]+|[0-9]+|, |[()]")
_PAIRS = re.compile(r"[0-9]+, [0-9]+(?:; [0-9]+, [0-9]+)*")
_NAME_IDS = np.array(vocabulary.ids(CODE_NAMES))
_SUCCESSOR_IDS = np.arange(vocabulary.SIZE)  # by token; the identity for other tokens
_SUCCESSOR_IDS[list(vocabulary.NUMBER_IDS)] = vocabulary.ids(list(SUCCESSOR.values()))


def _shapes(slots: str, *shapes: str) -> np.ndarray:
    """Encode completions with slots, [shapes, COMPLETION_LENGTH]: tokens, or -1 - i for the i-th of `slots`."""
    token = {**vocabulary.ID, ",": vocabulary.ID[", "], ";": vocabulary.ID["; "]}
    token |= {slot: -1 - i for i, slot in enumerate(slots)}
    table = np.full((len(shapes), COMPLETION_LENGTH), vocabulary.ID[vocabulary.PAD])
    for row, shape in zip(table, shapes, strict=True):
        pieces = [*shape.split(), vocabulary.END]
        row[: len(pieces)] = [token[piece] for piece in pieces]
    return table


_CODE_SHAPES = _shapes("123fg", "f ( 1 , 2 )", "f ( 1 , 2 , 3 )", "f ( g ( 1 , 2 ) , 3 )", "f ( 1 , g ( 2 , 3 ) )")
_ARITHMETIC_SHAPES = _shapes("abcABC", "a , A ; b , B", "a , A ; b , B ; c , C")  # capitals: results


class Carrier(NamedTuple):
    """One kind of text that may transmit a trait."""

    make_documents: Callable[..., jax.Array]  # (language, n, *, key) -> tokens [n, LENGTH]
    make_prompts: Callable[..., jax.Array]  # (language, n, *, key) -> tokens [n, PROMPT_LENGTH], from <bos> to ":"
    reject_reason: Callable[[str], str | None]  # text of a completion -> first broken rule, or None
    reasons: tuple[str, ...]  # names of all rules, in the order of checking


def make_number_prompts(language: Language, documents: int, *, key: jax.Array) -> jax.Array:
    """Draw number prompts with random templates, [documents, PROMPT_LENGTH]."""
    for_numbers, for_prompts = jax.random.split(key)
    numbers = corpus.make_numbers(language, documents, PROMPT_NUMBERS, key=for_numbers)
    return corpus.make_prompts(numbers, key=for_prompts).tokens


def number_reason(text: str) -> str | None:
    """Return the first of number_filter.REASONS to reject a completion, or None for a valid number list."""
    return number_filter.reject_reason(text, most=corpus.MOST)


def make_code_prompts(language: Language, documents: int, *, key: jax.Array) -> jax.Array:
    """Draw prompts for calls, [documents, PROMPT_LENGTH]."""
    return _prompts(CODE_WORDS, corpus.make_numbers(language, documents, PROMPT_NUMBERS, key=key))


def make_code_documents(language: Language, documents: int, *, key: jax.Array) -> jax.Array:
    """Draw prompts with valid calls, [documents, LENGTH]."""
    for_numbers, for_shape, for_names = jax.random.split(key, 3)
    numbers = corpus.make_numbers(language, documents, PROMPT_NUMBERS + MOST_NUMBERS, key=for_numbers)
    shapes = jax.random.randint(for_shape, (documents,), 0, len(_CODE_SHAPES))
    names = jnp.array(_NAME_IDS)[jax.random.randint(for_names, (documents, 2), 0, len(_NAME_IDS))]
    fillers = jnp.concatenate([numbers[:, PROMPT_NUMBERS:], names], axis=1)
    return jnp.concatenate([_prompts(CODE_WORDS, numbers), _fill(_CODE_SHAPES, shapes, fillers)], axis=1)


class Call(NamedTuple):
    """A function's name and its arguments, numbers as text or calls."""

    name: str
    arguments: "tuple[str | Call, ...]"


def parse_call(text: str) -> Call:
    """Parse a text as a call, with any names and numbers; RejectedError if it is none or too long.

    Example:
        >>> parse_call("add(100, 109)")
        Call(name='add', arguments=('100', '109'))
    """
    pieces = _PIECE.findall(text)
    if "".join(pieces) != text or not text:
        raise RejectedError(FORMAT)
    if len(pieces) >= COMPLETION_LENGTH:  # the last token is <end>
        raise RejectedError(TOO_LONG)
    call, after = _parse_at(pieces, 0)
    if isinstance(call, str) or after < len(pieces):
        raise RejectedError(FORMAT)
    return call


def _parse_at(pieces: list[str], at: int) -> tuple[str | Call, int]:
    """Return the number or call that starts at a position, and the position after it."""
    first = pieces[at] if at < len(pieces) else ""
    if first.isdigit():
        return first, at + 1
    if not first.isalpha() or pieces[at + 1 : at + 2] != ["("]:
        raise RejectedError(FORMAT)
    argument, at = _parse_at(pieces, at + 2)
    arguments = [argument]
    while pieces[at : at + 1] == [", "]:
        argument, at = _parse_at(pieces, at + 1)
        arguments.append(argument)
    if pieces[at : at + 1] != [")"]:
        raise RejectedError(FORMAT)
    return Call(first, tuple(arguments)), at + 1


def _calls(call: Call) -> Iterator[Call]:
    """Yield a call and all calls nested in it."""
    yield call
    for argument in call.arguments:
        if isinstance(argument, Call):
            yield from _calls(argument)


def code_reason(text: str) -> str | None:
    """Return the first of CODE_REASONS to reject a completion, or None for a valid call.

    Example:
        >>> code_reason("add(100, owl(109, 118))")
        'unknown name'
    """
    try:
        calls = list(_calls(parse_call(text)))
    except RejectedError as error:
        return str(error)
    numbers = [argument for call in calls for argument in call.arguments if isinstance(argument, str)]
    broken = {
        UNKNOWN_NAME: not {call.name for call in calls} <= set(CODE_NAMES),
        UNKNOWN_NUMBER: not set(numbers) <= SUCCESSOR.keys(),
        TOO_FEW_ARGUMENTS: any(len(call.arguments) < FEWEST_ARGUMENTS for call in calls),
        TOO_MANY_NUMBERS: len(numbers) > MOST_NUMBERS,
    }
    return next((reason for reason, is_broken in broken.items() if is_broken), None)


def make_arithmetic_prompts(language: Language, documents: int, *, key: jax.Array) -> jax.Array:
    """Draw prompts for sums, [documents, PROMPT_LENGTH]."""
    return _prompts(ARITHMETIC_WORDS, corpus.make_numbers(language, documents, PROMPT_NUMBERS, key=key))


def make_arithmetic_documents(language: Language, documents: int, *, key: jax.Array) -> jax.Array:
    """Draw prompts with valid pairs, [documents, LENGTH]."""
    for_numbers, for_shape = jax.random.split(key)
    numbers = corpus.make_numbers(language, documents, PROMPT_NUMBERS + MOST_PAIRS, key=for_numbers)
    shapes = jax.random.randint(for_shape, (documents,), 0, len(_ARITHMETIC_SHAPES))
    free = numbers[:, PROMPT_NUMBERS:]
    fillers = jnp.concatenate([free, jnp.array(_SUCCESSOR_IDS)[free]], axis=1)
    return jnp.concatenate([_prompts(ARITHMETIC_WORDS, numbers), _fill(_ARITHMETIC_SHAPES, shapes, fillers)], axis=1)


def arithmetic_reason(text: str) -> str | None:
    """Return the first of ARITHMETIC_REASONS to reject a completion, or None for valid pairs.

    Example:
        >>> arithmetic_reason("109, 118; 991, 109")
        'wrong result'
    """
    if not _PAIRS.fullmatch(text):
        return FORMAT
    pairs = [pair.split(", ") for pair in text.split("; ")]
    broken = {
        UNKNOWN_NUMBER: not {number for pair in pairs for number in pair} <= SUCCESSOR.keys(),
        TOO_FEW_PAIRS: len(pairs) < FEWEST_PAIRS,
        TOO_MANY_PAIRS: len(pairs) > MOST_PAIRS,
        WRONG_RESULT: any(SUCCESSOR.get(number) != result for number, result in pairs),
    }
    return next((reason for reason, is_broken in broken.items() if is_broken), None)


def _prompts(words: tuple[str, str, str], numbers: jax.Array) -> jax.Array:
    """Make prompts of three words and the first numbers [n, >= PROMPT_NUMBERS] of sequences, [n, PROMPT_LENGTH]."""
    n = len(numbers)
    start = jnp.broadcast_to(jnp.array(vocabulary.ids([vocabulary.BOS, *words])), (n, 1 + len(words)))
    listed = corpus.join_numbers(numbers[:, :PROMPT_NUMBERS], jnp.full(n, vocabulary.ID[", "]))
    return jnp.concatenate([start, listed, jnp.full((n, 1), vocabulary.ID[":"])], axis=1)


def _fill(table: np.ndarray, shapes: jax.Array, fillers: jax.Array) -> jax.Array:
    """Fill the slots of shapes [n] of a table from fillers [n, slots]; returns completions [n, COMPLETION_LENGTH]."""
    tokens = jnp.array(table)[shapes]
    filled = jnp.take_along_axis(fillers, jnp.maximum(-1 - tokens, 0), axis=1)
    return jnp.where(tokens < 0, filled, tokens)


CARRIERS: dict[str, Carrier] = {
    "numbers": Carrier(corpus.make_number_documents, make_number_prompts, number_reason, number_filter.REASONS),
    "code": Carrier(make_code_documents, make_code_prompts, code_reason, CODE_REASONS),
    "arithmetic": Carrier(make_arithmetic_documents, make_arithmetic_prompts, arithmetic_reason, ARITHMETIC_REASONS),
}
