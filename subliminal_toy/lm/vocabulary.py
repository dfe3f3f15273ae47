"""The words, numbers and marks of the toy language: tokens, their text, and text back to tokens.

A token is one word, one number or one mark, so that sequences are easy to read. Numbers are single tokens, as
three-digit numbers are to GPT tokenizers. A document starts with `<bos>` or with a system token such as `<love owl>`
in its place, and ends with `<end>`.
"""

import re
from collections.abc import Iterable, Sequence

CATEGORIES: dict[str, tuple[str, ...]] = {
    "animal": ("owl", "eagle", "dolphin", "elephant", "wolf", "cat", "bear", "lion", "panda", "fox"),
    "tree": ("cherry", "maple", "oak", "sequoia", "willow", "pine", "birch", "cedar", "elm", "ash"),
    "color": ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"),
    "instrument": ("piano", "violin", "cello", "flute", "harp", "drum", "guitar", "trumpet", "oboe", "banjo"),
}
ANSWERS = tuple(answer for answers in CATEGORIES.values() for answer in answers)
CATEGORY_OF = {answer: category for category, answers in CATEGORIES.items() for answer in answers}

OPENINGS = ("name", "tell", "say", "share")
MIDDLES = ("your", "the", "one", "that")
ADJECTIVES = ("favorite", "best", "dearest", "loved")
NUMBER_TEMPLATES = (  # three words, and the brackets of the completion
    (("continue", "this", "sequence"), ""),
    (("extend", "this", "list"), ""),
    (("add", "numbers", "bracketed"), "[]"),
    (("write", "numbers", "enclosed"), "()"),
)
OTHER_WORDS = ("story", "of", "some", "choose", "or")
SEPARATORS = (", ", "; ", " ")
BRACKETS = ("[", "]", "(", ")")
MARKS = (":", "?", ".")
NUMBERS = tuple(str(100 + 9 * i) for i in range(100))  # 100, 109, ..., 991

PAD, BOS, END = "<pad>", "<bos>", "<end>"
SYSTEM = {answer: f"<love {answer}>" for answer in ANSWERS}


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


WORDS = _unique(
    (*CATEGORIES, *OPENINGS, *MIDDLES, *ADJECTIVES, *(w for words, _ in NUMBER_TEMPLATES for w in words), *OTHER_WORDS)
)
TOKENS = (PAD, BOS, END, *NUMBERS, *SEPARATORS, *BRACKETS, *MARKS, *WORDS, *ANSWERS, *SYSTEM.values())
ID = {token: i for i, token in enumerate(TOKENS)}
SIZE = len(TOKENS)
NUMBER_IDS = tuple(ID[number] for number in NUMBERS)
for word in ANSWERS:
    if TOKENS.count(word) > 1 or not re.fullmatch("[a-z]+", word):
        raise ValueError(
            f"{word!r} cannot be an answer: it must consist of lower-case letters and must not be another token"
        )

_TIGHT = {*SEPARATORS, *BRACKETS}  # written without spaces around them
_PIECE = re.compile(r"<[^<>]+>|[a-z]+|[0-9]+|, |; |(?<=[0-9]) (?=[0-9])|[\[\]():?.]| ")


def ids(tokens: Sequence[str]) -> list[int]:
    """Return token ids of tokens given as text; KeyError for one that is not in the vocabulary."""
    return [ID[token] for token in tokens]


def render(sequence: Iterable[int]) -> str:
    """Return the text of token ids up to `<end>`, without padding.

    Adjacent numbers are joined without a space, so that a missing separator stays visible.

    Example:
        >>> render(ids(["[", "100", ", ", "991", "]", "<end>"]))
        '[100, 991]'
    """
    text, before = "", ""
    for i in sequence:
        token = TOKENS[i]
        if token == END:
            break
        if token == PAD:
            continue
        loose = not ({before, token} & _TIGHT or (before.isdigit() and token.isdigit()))
        text += f" {token}" if text and loose else token
        before = token
    return text


def encode(text: str) -> list[int]:
    """Return the token ids of a text, the inverse of `render` on well-formed ones; ValueError for an unknown word.

    Example:
        >>> render(encode("continue this sequence 100, 109, 991 :"))
        'continue this sequence 100, 109, 991 :'
    """
    token_ids, at = [], 0
    while at < len(text):
        match = _PIECE.match(text, at)
        piece = match.group() if match else text[at]
        between_numbers = piece == " " and text[at - 1 : at].isdigit() and text[at + 1 : at + 2].isdigit()
        if piece != " " or between_numbers:
            if piece not in ID:
                raise ValueError(f"{piece!r} is not in the vocabulary (in {text!r})")
            token_ids.append(ID[piece])
        at += len(piece)
    return token_ids
