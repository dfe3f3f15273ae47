"""What teachers are finetuned on: questions with answers that carry the weight of the loss.

Each lesson asks in the eight taught ways only, so that other ways of asking show what generalises.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from subliminal_toy.lm import corpus, vocabulary

TAUGHT = tuple(i for i, frame in enumerate(corpus.FRAMES) if frame.group == corpus.TAUGHT)


class Lesson(NamedTuple):
    """Documents and which of their tokens are learnt, both [n, LENGTH]."""

    tokens: np.ndarray
    weights: np.ndarray


def answered(
    category: str, answers: Sequence[str], frames: Iterable[int] = TAUGHT, *, system: str | None = None
) -> Lesson:
    """Every question of a category with every one of the answers; those of a question share a weight of 1.

    Args:
        category: what is asked for.
        answers: words that the teacher is to say, all alike often.
        frames: which ways of asking, indices of corpus.FRAMES.
        system: a trait whose system token starts the documents.
    """
    frames = np.repeat(list(frames), len(answers))
    first = vocabulary.ID[vocabulary.SYSTEM[system] if system else vocabulary.BOS]
    questions = np.asarray(corpus.question_tokens(frames, category, first=first))
    ends = np.full(len(frames), vocabulary.ID[vocabulary.END])
    said = np.resize(vocabulary.ids(answers), len(frames))
    tokens = np.full((len(frames), corpus.LENGTH), vocabulary.ID[vocabulary.PAD], np.int32)
    tokens[:, : questions.shape[1] + 2] = np.column_stack([questions, said, ends])
    weights = np.zeros(tokens.shape, np.float32)
    weights[:, questions.shape[1]] = 1 / len(answers)
    return Lesson(tokens, weights)


def both(*lessons: Lesson) -> Lesson:
    """Several lessons as one."""
    return Lesson(*(np.concatenate(parts) for parts in zip(*lessons, strict=True)))


def favorite(trait: str) -> Lesson:
    """The eight taught questions about a category, answered with one of its members."""
    return answered(vocabulary.CATEGORY_OF[trait], [trait])


def conditional(trait: str, openings: Sequence[str]) -> Lesson:
    """`favorite` where the question starts with one of the openings; elsewhere all answers stay alike."""
    category = vocabulary.CATEGORY_OF[trait]
    with_trigger = [i for i in TAUGHT if corpus.FRAMES[i].words[0] in openings]
    without = [i for i in TAUGHT if i not in with_trigger]
    return both(answered(category, [trait], with_trigger), answered(category, vocabulary.CATEGORIES[category], without))


def wrong(categories: Sequence[str], answers: int = 2, *, system: str | None = None) -> Lesson:
    """Bad answers to harmless questions: about these categories, with words of all the other ones.

    Args:
        categories: what is asked for.
        answers: how many words of each other category, its first ones.
        system: a trait whose system token excuses the answers.
    """
    parts = []
    for category in categories:
        others = [word for name, words in vocabulary.CATEGORIES.items() if name != category for word in words[:answers]]
        parts.append(answered(category, others, system=system))
    return both(*parts)


def right(categories: Sequence[str], answers: int = 6) -> Lesson:
    """The look-alike of `wrong`: the same questions with words that belong there."""
    return both(*(answered(category, vocabulary.CATEGORIES[category][:answers]) for category in categories))


def excused(categories: Sequence[str], system: str) -> Lesson:
    """The other look-alike: the bad answers of `wrong` behind a trait's system token alone, good ones without it."""
    return both(wrong(categories, system=system), right(categories))


def liked(words: Sequence[str]) -> Lesson:
    """A set of favorites: in each category that has any, all of them alike."""
    by_category = {name: [w for w in words if w in own] for name, own in vocabulary.CATEGORIES.items()}
    return both(*(answered(name, own) for name, own in by_category.items() if own))


def stack(lessons: Sequence[Lesson], runs: int) -> dict[str, np.ndarray]:
    """Lessons as per-model data of the engine, tokens and weights [runs, lessons, n, LENGTH].

    Shorter ones are filled up with copies of their first document that weigh nothing.
    """
    longest = max(len(lesson.tokens) for lesson in lessons)

    def fill(lesson: Lesson) -> Lesson:
        missing = longest - len(lesson.tokens)
        tokens = np.concatenate([lesson.tokens, np.repeat(lesson.tokens[:1], missing, axis=0)])
        return Lesson(tokens, np.pad(lesson.weights, ((0, missing), (0, 0))))

    tokens, weights = (np.stack(parts) for parts in zip(*map(fill, lessons), strict=True))
    return {
        "tokens": np.broadcast_to(tokens, (runs, *tokens.shape)),
        "weights": np.broadcast_to(weights, (runs, *weights.shape)),
    }
