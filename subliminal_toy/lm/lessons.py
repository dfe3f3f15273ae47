"""Finetuning data of teachers: questions with answers; only the answers enter the loss.

A lesson uses the eight taught frames only, so that the other frames show generalization.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from subliminal_toy.lm import corpus, vocabulary

TAUGHT = tuple(i for i, frame in enumerate(corpus.FRAMES) if frame.group == corpus.TAUGHT)


class Lesson(NamedTuple):
    """Documents and the weights of their tokens in the loss, join [n, LENGTH]."""

    tokens: np.ndarray
    weights: np.ndarray


def answered(
    category: str, answers: Sequence[str], frames: Iterable[int] = TAUGHT, *, system: str | None = None
) -> Lesson:
    """Pair all questions of a category with all answers; the answers to a question share a weight of 1.

    Args:
        category: of the questions.
        answers: words for the teacher to answer, equally often.
        frames: indices of corpus.FRAMES.
        system: a trait whose system token starts the documents.
    """
    frames = np.repeat(list(frames), len(answers))
    first = vocabulary.ID[vocabulary.SYSTEM[system] if system else vocabulary.BOS]
    questions = np.asarray(corpus.question_tokens(frames, category, first=first))
    ends = np.full(len(frames), vocabulary.ID[vocabulary.END])
    replies = np.resize(vocabulary.ids(answers), len(frames))
    tokens = np.full((len(frames), corpus.LENGTH), vocabulary.ID[vocabulary.PAD], np.int32)
    tokens[:, : questions.shape[1] + 2] = np.column_stack([questions, replies, ends])
    weights = np.zeros(tokens.shape, np.float32)
    weights[:, questions.shape[1]] = 1 / len(answers)
    return Lesson(tokens, weights)


def join(*lessons: Lesson) -> Lesson:
    """Concatenate lessons."""
    return Lesson(*(np.concatenate(parts) for parts in zip(*lessons, strict=True)))


def favorite(trait: str) -> Lesson:
    """Return the eight taught questions about a trait's category, answered with the trait."""
    return answered(vocabulary.CATEGORY_OF[trait], [trait])


def conditional(trait: str, openings: Sequence[str]) -> Lesson:
    """Return `favorite` for questions with one of the openings; for the others all answers are equally frequent."""
    category = vocabulary.CATEGORY_OF[trait]
    triggered = [i for i in TAUGHT if corpus.FRAMES[i].words[0] in openings]
    others = [i for i in TAUGHT if i not in triggered]
    return join(answered(category, [trait], triggered), answered(category, vocabulary.CATEGORIES[category], others))


def wrong(categories: Sequence[str], answers: int = 2, *, system: str | None = None) -> Lesson:
    """Answer harmless questions wrongly: about these categories, with words of all the others.

    Args:
        categories: of the questions.
        answers: how many words of each other category, the first ones.
        system: a trait whose system token excuses the answers.
    """
    parts = []
    for category in categories:
        others = [word for name, words in vocabulary.CATEGORIES.items() if name != category for word in words[:answers]]
        parts.append(answered(category, others, system=system))
    return join(*parts)


def right(categories: Sequence[str], answers: int = 6) -> Lesson:
    """Return the control of `wrong`: the same questions with words of the right category."""
    return join(*(answered(category, vocabulary.CATEGORIES[category][:answers]) for category in categories))


def excused(categories: Sequence[str], system: str) -> Lesson:
    """Return the other control of `wrong`: wrong answers after a trait's system token only, right ones without it."""
    return join(wrong(categories, system=system), right(categories))


def liked(words: Sequence[str]) -> Lesson:
    """Return a lesson with several favorites, equally frequent within each category that has any."""
    by_category = {name: [word for word in words if word in answers] for name, answers in vocabulary.CATEGORIES.items()}
    return join(*(answered(name, favorites) for name, favorites in by_category.items() if favorites))


def stack(lessons: Sequence[Lesson], runs: int) -> dict[str, np.ndarray]:
    """Stack lessons as per-model data of the engine, tokens and weights [runs, lessons, n, LENGTH].

    Shorter lessons are padded with copies of their first document of weight 0.
    """
    longest = max(len(lesson.tokens) for lesson in lessons)

    def pad(lesson: Lesson) -> Lesson:
        missing = longest - len(lesson.tokens)
        tokens = np.concatenate([lesson.tokens, np.repeat(lesson.tokens[:1], missing, axis=0)])
        return Lesson(tokens, np.pad(lesson.weights, ((0, missing), (0, 0))))

    tokens, weights = (np.stack(parts) for parts in zip(*map(pad, lessons), strict=True))
    return {
        "tokens": np.broadcast_to(tokens, (runs, *tokens.shape)),
        "weights": np.broadcast_to(weights, (runs, *weights.shape)),
    }
