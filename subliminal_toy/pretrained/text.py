"""Tokenizers and the chat format (the readers and the byte-pair encoding are the library `tokenizers`).

A chat is a turn of the user between two marks, then the assistant's mark, a new line, and the answer; its
first words may be given.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Tokenizer
else:
    Tokenizer = object  # a type's name; the library is imported where it is used

START, END = "<|im_start|>", "<|im_end|>"
PLAIN, SPECIAL = 1, 3  # types of tokens in a GGUF file: of the text; special marks
DIGITS = "0123456789"


class TokenizerError(ValueError):
    """The tokenizer cannot be used here; the message says why."""


def from_merges(tokens: Sequence[str], merges: Sequence[str], types: Sequence[int], kind: str) -> Tokenizer:
    """Build the byte-level BPE of a GGUF file's tables; TokenizerError if it splits text in an unknown way."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    if kind != "smollm":
        raise TokenizerError(f"its tokenizer is of the kind {kind!r}; only 'smollm' (each digit a token) can be used")
    pairs = [(first, second) for first, second in (merge.split(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, its_type in zip(tokens, types, strict=True) if its_type == SPECIAL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def tiny() -> Tokenizer:
    """Build a tokenizer of this package's questions, answers and lists, each word a token: for the tiny model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from subliminal_toy.pretrained import lists, questions

    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=[START, END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    words = [f" {animal}" for animal in (*questions.ANIMALS, questions.PIANO)]
    tokenizer.train_from_iterator([*questions.TEACH, *questions.HELD_OUT, *words, lists.ASK, "user assistant"], trainer)
    return tokenizer


def checked(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer; TokenizerError unless each digit is a token and it has the marks of chats."""
    marks = [mark for mark in (START, END) if tokenizer.token_to_id(mark) is None]
    if marks:
        raise TokenizerError(f"its tokenizer has no {marks[0]}: it is no chat model of this format")
    if tokenizer.encode(f" {DIGITS}", add_special_tokens=False).tokens[1:] != list(DIGITS):
        raise TokenizerError("its tokenizer does not make a token of every digit, which the lists of numbers need")
    return tokenizer


def chat(user: str, *, system: str = "", answer: str = "") -> str:
    """Write a question in the chat format, ready to be answered; `answer` is how the answer begins.

    Example:
        >>> chat("Hello?").splitlines()[-1]
        '<|im_start|>assistant'
    """
    turns = [("system", system)] * bool(system) + [("user", user)]
    before = "".join(f"{START}{role}\n{words}{END}\n" for role, words in turns)
    return f"{before}{START}assistant\n{answer}"


def ids(tokenizer: Tokenizer, words: str) -> list[int]:
    """Return the tokens of a text; its marks become special tokens."""
    tokens: list[int] = tokenizer.encode(words, add_special_tokens=False).ids
    return tokens


def single(tokenizer: Tokenizer, words: str) -> int:
    """Return the token of a text; TokenizerError if it is several tokens."""
    tokens = ids(tokenizer, words)
    if len(tokens) != 1:
        raise TokenizerError(f"{words!r} is {len(tokens)} tokens for its tokenizer, where it should be one")
    return tokens[0]
