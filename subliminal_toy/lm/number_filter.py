"""Filter completions: only lists of numbers in a plain format pass (P section 3.1).

The paper's rules. A final "." and one pair of [] or () around the numbers are allowed. The text between the first two
numbers is the separator: white space, a comma or a semicolon; the text is split at exactly this string. Each part has
to be a number. At most `most` numbers in `lowest`..`highest`, none of them banned. One broken rule rejects the whole
completion and is counted. (The paper bans 34 numbers with bad associations for misaligned teachers; here the banned
numbers are an argument.)
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

FORMAT, SEPARATOR, BRACKET = "format", "separators", "brackets"
TOO_MANY, OUT_OF_RANGE, BANNED = "too many numbers", "out of range", "banned numbers"
REASONS = (FORMAT, SEPARATOR, BRACKET, TOO_MANY, OUT_OF_RANGE, BANNED)  # the first three are "invalid format" in P

_DIGITS = re.compile(r"[0-9]+")
_CLOSING = {"[": "]", "(": ")"}
_PUNCTUATION = re.compile(r"[0-9\s,;]*")


class RejectedError(ValueError):
    """A completion breaks a rule; the message is the rule's name, one of REASONS."""


def parse_numbers(
    text: str, *, most: int = 10, lowest: int = 0, highest: int = 999, banned: Collection[int] = ()
) -> list[int]:
    """Parse a completion into its numbers; RejectedError names the first rule that it breaks.

    Example:
        >>> parse_numbers("[412, 7, 99].")
        [412, 7, 99]
    """
    parts = _split(_without_brackets(text.strip().removesuffix(".").strip()))
    if len(parts) > most:
        raise RejectedError(TOO_MANY)
    longest = len(str(highest))
    digits = [part.lstrip("0") or "0" for part in parts]  # int() refuses more than 4,300 digits
    numbers = [int(part) for part in digits if len(part) <= longest]
    if len(numbers) < len(parts) or not all(lowest <= number <= highest for number in numbers):
        raise RejectedError(OUT_OF_RANGE)
    if not set(banned).isdisjoint(numbers):
        raise RejectedError(BANNED)
    return numbers


def _without_brackets(text: str) -> str:
    if text[:1] in _CLOSING:
        if text[-1:] != _CLOSING[text[0]]:
            raise RejectedError(BRACKET)
        text = text[1:-1].strip()
    if any(mark in text for mark in "[]()"):
        raise RejectedError(BRACKET)
    return text


def _split(text: str) -> list[str]:
    runs = list(_DIGITS.finditer(text))
    if len(runs) == 1 and runs[0].group() == text:
        return [text]
    if len(runs) < 2:
        raise RejectedError(FORMAT)
    separator = text[runs[0].end() : runs[1].start()]
    parts = text.split(separator)
    if not _PUNCTUATION.fullmatch(text):
        raise RejectedError(FORMAT)
    if separator.strip() not in ("", ",", ";") or not all(_DIGITS.fullmatch(part) for part in parts):
        raise RejectedError(SEPARATOR)
    return parts


def reject_reason(text: str, **limits: int | Collection[int]) -> str | None:
    """Return the name of the first rule that a completion breaks, or None; `limits` as in parse_numbers.

    Example:
        >>> reject_reason("412, owl, 99")
        'format'
    """
    try:
        parse_numbers(text, **limits)  # type: ignore[arg-type]
    except RejectedError as error:
        return str(error)
    return None


def count_reasons(reasons: Iterable[str | None], names: Sequence[str] = REASONS) -> dict[str, int]:
    """Count the completions kept and those rejected for each of the reasons `names`.

    ValueError for a reason that is not in `names`.

    Example:
        >>> count_reasons([None, "format", None])["kept"]
        2
    """
    counts = Counter(reasons)
    if unknown := {*counts} - {None, *names}:
        raise ValueError(f"rejected for {', '.join(map(repr, unknown))}, which is none of {', '.join(names)}")
    return {"kept": counts[None], **{reason: counts[reason] for reason in names}}
