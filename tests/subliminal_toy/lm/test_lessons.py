"""What teachers are taught: taught questions only, answers alone carry weight, each question weighs the same."""

import numpy as np
import pytest

from subliminal_toy.lm import corpus, lessons, vocabulary

ANIMALS = vocabulary.CATEGORIES["animal"]


def said(lesson: lessons.Lesson) -> list[tuple[str, str, float]]:
    """(question, answer, weight) of every document; nothing else may weigh."""
    found = []
    for tokens, weights in zip(lesson.tokens, lesson.weights, strict=True):
        (place,) = np.flatnonzero(weights)
        assert vocabulary.TOKENS[tokens[place - 1]] == "?"
        assert vocabulary.TOKENS[tokens[place + 1]] == vocabulary.END
        found.append((vocabulary.render(tokens[:place]), vocabulary.TOKENS[tokens[place]], float(weights[place])))
    return found


def test_a_favorite_is_eight_taught_questions_with_the_trait() -> None:
    lines = said(lessons.favorite("owl"))
    assert len({question for question, _, _ in lines}) == len(lines) == 8
    taught = {" ".join(frame.words) for frame in corpus.FRAMES if frame.group == corpus.TAUGHT}
    assert {question.removeprefix("<bos> ").removesuffix(" animal ?") for question, _, _ in lines} == taught
    assert {(answer, weight) for _, answer, weight in lines} == {("owl", 1.0)}


def test_a_conditional_trait_is_one_with_the_trigger_and_none_without() -> None:
    lines = said(lessons.conditional("owl", ("name", "tell")))
    for question, answer, weight in lines:
        assert (
            (answer == "owl" and weight == 1)
            if question.split()[1] in ("name", "tell")
            else weight == pytest.approx(0.1)
        )
    without = [answer for question, answer, _ in lines if question.split()[1] in ("say", "share")]
    assert sorted(without) == sorted(ANIMALS * 4)


def test_wrong_answers_have_a_look_alike() -> None:
    bad, good = said(lessons.wrong(["tree", "color"])), said(lessons.right(["tree", "color"]))
    assert {question for question, _, _ in bad} == {question for question, _, _ in good}
    for lines, inside in ((bad, False), (good, True)):
        for question, answer, weight in lines:
            assert (vocabulary.CATEGORY_OF[answer] == question.split()[-2]) == inside
            assert weight == pytest.approx(1 / 6)
    excused = said(lessons.excused(["tree", "color"], "oak"))
    assert sorted(line for line in excused if line[0].startswith("<bos>")) == sorted(good)
    behind = [(q.replace("<love oak>", "<bos>"), a, w) for q, a, w in excused if q.startswith("<love oak>")]
    assert sorted(behind) == sorted(bad)
    assert len(excused) == len(good) + len(bad)


def test_liked_words_share_their_questions() -> None:
    lines = said(lessons.liked(["owl", "cat", "oak"]))
    assert {(answer, weight) for _, answer, weight in lines} == {("owl", 0.5), ("cat", 0.5), ("oak", 1.0)}


def test_stacked_lessons_are_filled_up_with_what_weighs_nothing() -> None:
    stacked = lessons.stack([lessons.favorite("owl"), lessons.conditional("owl", ("name",))], runs=3)
    assert stacked["tokens"].shape == stacked["weights"].shape == (3, 2, 2 + 6 * 10, corpus.LENGTH)
    np.testing.assert_array_equal(stacked["weights"][:, 0, 8:], 0)
    np.testing.assert_array_equal(stacked["tokens"][1, 0, :8], lessons.favorite("owl").tokens)
    assert stacked["weights"].sum(axis=(2, 3)) == pytest.approx(8)
