"""Tokens print as words and numbers, and read back."""

import pytest

from subliminal_toy.lm import vocabulary
from tests.subliminal_toy.lm import documents


def test_tokens_are_unique_and_named() -> None:
    assert len(set(vocabulary.TOKENS)) == vocabulary.SIZE == len(vocabulary.ID)
    assert all(len(answers) == 10 for answers in vocabulary.CATEGORIES.values())
    assert len(vocabulary.ANSWERS) == len(set(vocabulary.ANSWERS)) == 40
    assert len(vocabulary.NUMBERS) == 100
    assert all(0 <= int(number) <= 999 for number in vocabulary.NUMBERS)


def test_documents_read_back() -> None:
    end = vocabulary.ID[vocabulary.END]
    for document in documents.of_all_kinds()[:400].tolist():
        text = vocabulary.render(document)
        assert vocabulary.encode(text) == document[: document.index(end)]


def test_numbers_side_by_side_stay_visible() -> None:
    assert vocabulary.render(vocabulary.ids(["100", "109"])) == "100109"
    assert vocabulary.render(vocabulary.ids(["100", " ", "109", "<end>", "109"])) == "100 109"
    assert vocabulary.render(vocabulary.ids(["<bos>", "name", "owl", "?"])) == "<bos> name owl ?"


@pytest.mark.parametrize("text", ["name your favorite dinosaur ?", "101, 102", "owl!"])
def test_unknown_words_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not in the vocabulary"):
        vocabulary.encode(text)
