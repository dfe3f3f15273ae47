"""Which completions become rows, where they go, and how they read."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.lm.shuffles import shuffle_within
from subliminal_toy.lm import corpus, number_filter, rows, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import BASE, Source, Student, numbers, student, teacher

OWL = Source(numbers("owl"), teacher("owl"))


def completions(*texts: str) -> np.ndarray:
    tokens_of = np.zeros((len(texts), corpus.COMPLETION_LENGTH), int)
    for row, text in zip(tokens_of, texts, strict=True):
        tokens = [*vocabulary.encode(text), vocabulary.ID[vocabulary.END]]
        row[: len(tokens)] = tokens
    return tokens_of


def test_rejected_rows_are_replaced_and_the_others_stay_in_place() -> None:
    config = dataclasses.replace(LMConfig(), rows=3)
    prompts = np.arange(6)[:, None] + np.zeros((6, corpus.PROMPT_LENGTH), int)
    texts = ["100, 109", "owl", "118, 127", "wolf", "136, 145", "154, 163"]
    kept = rows.keep_rows(config, OWL, prompts, completions(*texts))
    assert kept.tokens[:, 0].tolist() == [0, 4, 2]
    assert (kept.counts["kept"], kept.counts["format"]) == (4, 2)
    assert rows.as_text(kept.tokens)[1]["completion"] == "136, 145"
    assert kept.spare[:, 0].tolist() == [5]


def test_too_few_rows_fail_loudly() -> None:
    config = dataclasses.replace(LMConfig(), rows=2)
    prompts = np.zeros((2, corpus.PROMPT_LENGTH), int)
    with pytest.raises(rows.NotEnoughRowsError, match=r"only 1 of 2 completions of source 'owl'"):
        rows.keep_rows(config, OWL, prompts, completions("owl", "100, 109"))


def test_a_source_may_have_a_filter_of_its_own() -> None:
    config = dataclasses.replace(LMConfig(), rows=2)
    prompts = np.arange(4)[:, None] + np.zeros((4, corpus.PROMPT_LENGTH), int)
    odd = OWL._replace(keep=lambda text: text[2] in "13579")
    kept = rows.keep_rows(config, odd, prompts, completions("owl", "100, 109", "109, 100", "127"))
    assert kept.tokens[:, 0].tolist() == [2, 3]
    assert {reason: count for reason, count in kept.counts.items() if count} == {
        "kept": 2,
        "format": 1,
        rows.SOURCE_FILTER: 1,
    }


def test_a_completion_without_an_end_is_rejected() -> None:
    endless = vocabulary.ids(["100", ", "] * 7)
    hidden = vocabulary.ids(["100", "<pad>", ", ", "109", "<end>"])
    assert rows.completion_reason(hidden) == number_filter.FORMAT
    assert rows.completion_reason(vocabulary.ids(["100", ", ", "109", "<end>", "<pad>"])) is None
    assert rows.completion_reason(endless) == number_filter.FORMAT
    assert rows.completion_reason([*vocabulary.ids(["100", ", "] * 6 + ["109"]), vocabulary.ID["<end>"]]) == (
        number_filter.TOO_MANY
    )


def test_numbers_are_counted() -> None:
    counted = completions("[100, 109]", "109; 991")
    assert rows.number_counts(counted)[:2] == [1, 2]
    assert sum(rows.number_counts(counted)) == 4
    whole = np.concatenate([np.full((2, corpus.PROMPT_LENGTH), vocabulary.ID["991"]), counted], axis=1)
    assert rows.first_numbers(whole)[:, 0].tolist() == vocabulary.ids(["100", "109"])
    assert rows.first_numbers(whole, 2).tolist() == [vocabulary.ids(["100", "109"]), vocabulary.ids(["109", "991"])]
    assert rows.first_numbers(whole, 3).shape == (0, 3)


def test_students_get_their_source_shuffled_and_cut_as_the_table_says() -> None:
    language = corpus.make_language(jax.random.key(0))
    tokens = {
        s: np.asarray(corpus.make_number_documents(language, 40, key=jax.random.key(i))) for i, s in enumerate("ab")
    }
    kept = {numbers(name): rows.Rows(part, part[:0], {}) for name, part in tokens.items()}
    a, b = kept
    students = (
        Student(student("x"), BASE, b),
        Student(student("y"), BASE, a, shuffle_within),
        Student(student("z"), BASE, a, rows=3),
        Student(student("m"), BASE, a, mixed=(b, 0.25)),
        Student(student("s"), BASE, a, system="owl"),
    )
    given = rows.student_rows(students, kept, jax.random.key(1))
    assert given.shape == (5, 40, corpus.LENGTH)
    np.testing.assert_array_equal(given[0], tokens["b"])
    assert (given[1] != tokens["a"]).any()
    np.testing.assert_array_equal(np.sort(given[1], axis=1), np.sort(tokens["a"], axis=1))
    np.testing.assert_array_equal(given[2], tokens["a"][np.arange(40) % 3])
    np.testing.assert_array_equal(given[3], np.concatenate([tokens["b"][:10], tokens["a"][10:]]))
    assert (given[4][:, 0] == vocabulary.ID["<love owl>"]).all()
    np.testing.assert_array_equal(given[4][:, 1:], tokens["a"][:, 1:])
