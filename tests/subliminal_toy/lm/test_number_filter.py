"""The filter against a table of cases worked by hand from the paper's rules, and on any text at all."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subliminal_toy.lm import number_filter, vocabulary
from subliminal_toy.lm.number_filter import (
    BANNED,
    BRACKET,
    FORMAT,
    OUT_OF_RANGE,
    SEPARATOR,
    TOO_MANY,
    RejectedError,
    count_reasons,
    parse_numbers,
    reject_reason,
)

ACCEPTED = {
    "1, 2, 3": [1, 2, 3],
    "1,2,3": [1, 2, 3],
    "1; 2; 3": [1, 2, 3],
    "1 2 3": [1, 2, 3],
    "1\n2\n3": [1, 2, 3],
    "1 , 2 , 3": [1, 2, 3],
    "[1, 2]": [1, 2],
    "(1; 2)": [1, 2],
    "[ 1, 2 ].": [1, 2],
    "  7  ": [7],
    "7.": [7],
    "[7]": [7],
    "0, 999": [0, 999],
    "007, 8": [7, 8],
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10": list(range(1, 11)),
}
REJECTED = {
    "": FORMAT,
    "owl": FORMAT,
    "7 owls": FORMAT,
    "1, owl, 2": FORMAT,
    "1, 2, owl": FORMAT,
    "1 and 2": FORMAT,
    "-1, 2": FORMAT,
    "1.5, 2.5": FORMAT,
    "1, 2 .. ": FORMAT,
    "\u0661, \u0662": FORMAT,  # digits to Python, not to the paper's reader
    "1, 2; 3": SEPARATOR,
    "1, 2 3": SEPARATOR,
    "1,, 2": SEPARATOR,
    "1, 2,": SEPARATOR,
    ", 1, 2": SEPARATOR,
    "1  2 3": SEPARATOR,
    "[1, 2": BRACKET,
    "1, 2]": BRACKET,
    "(1, 2]": BRACKET,
    "[[1, 2]]": BRACKET,
    "[1], [2]": BRACKET,
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11": TOO_MANY,
    "1, 1000": OUT_OF_RANGE,
    "9" * 5000: OUT_OF_RANGE,
    "1, 2, 666": BANNED,
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_plain_lists_pass(text: str) -> None:
    assert parse_numbers(text, banned=(666,)) == ACCEPTED[text]


@pytest.mark.parametrize("text", REJECTED)
def test_each_rule_rejects_by_its_name(text: str) -> None:
    assert reject_reason(text, banned=(666,)) == REJECTED[text]


def test_table_has_every_reason() -> None:
    assert set(REJECTED.values()) == set(number_filter.REASONS)


@given(st.one_of(st.text(), st.text("0123456789 ,;.[]()-\nowl", max_size=30)))
def test_never_crashes_and_never_lets_words_through(text: str) -> None:
    reason = reject_reason(text)
    assert reason is None or reason in number_filter.REASONS
    if reason is None:
        assert re.fullmatch(r"[0-9\s,;.()\[\]]+", text)


@given(
    st.lists(st.integers(0, 999), min_size=1, max_size=10),
    st.sampled_from([", ", ",", "; ", " ", "\n"]),
    st.sampled_from(["{}", "[{}]", "({})", "{}.", "[{}]."]),
)
def test_every_allowed_list_comes_back(numbers: list[int], separator: str, frame: str) -> None:
    assert parse_numbers(frame.format(separator.join(map(str, numbers)))) == numbers


def test_limits_are_arguments() -> None:
    assert reject_reason("1, 2, 3", most=2) == TOO_MANY
    assert reject_reason("1, 2, 3", lowest=2) == OUT_OF_RANGE
    assert reject_reason("1, 2, 3", highest=2) == OUT_OF_RANGE
    with pytest.raises(RejectedError, match=TOO_MANY):
        parse_numbers("1, 2, 3", most=2)


@pytest.mark.parametrize("token", [t for t in vocabulary.TOKENS if t not in (vocabulary.PAD, vocabulary.END)])
def test_nothing_but_numbers_can_be_said_in_what_passes(token: str) -> None:
    """Every other token of the vocabulary, at any place of a good completion, gets it rejected."""
    sayable = {*vocabulary.NUMBERS, *vocabulary.SEPARATORS, *vocabulary.BRACKETS, "."}
    good = ["100", ", ", "109", ", ", "118"]
    for at in range(len(good) + 1):
        text = vocabulary.render(vocabulary.ids([*good[:at], token, *good[at:]]))
        assert token in sayable or reject_reason(text) == FORMAT, text


def test_reasons_are_counted() -> None:
    counts = count_reasons([None, FORMAT, None, BANNED, FORMAT])
    assert counts == {"kept": 2, **dict.fromkeys(number_filter.REASONS, 0), FORMAT: 2, BANNED: 1}


def test_a_number_longer_than_python_reads_is_one_more_number() -> None:
    assert reject_reason("0" * 4301) is None
    assert reject_reason("7, " + "0" * 5000 + "12") is None
    assert parse_numbers("0" * 4301) == [0]
    assert reject_reason("1" + "0" * 4301) == OUT_OF_RANGE
