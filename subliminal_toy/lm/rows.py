"""From sampled completions to what students are trained on: filtering, pairing, transforming, and text for readers."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from subliminal_toy import engine
from subliminal_toy.lm import corpus, number_filter, vocabulary
from subliminal_toy.lm.carriers import CARRIERS, Carrier
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import Name, Source, Student

NOT_KEPT = "source's filter"  # the reason of completions that a source's own filter drops


class NotEnoughRowsError(engine.RunFailedError):
    """Too few completions passed the filter; the message has the counts."""


class Rows(NamedTuple):
    """The completions of one source that a student may be trained on."""

    tokens: np.ndarray  # [rows, T] prompt and completion
    spare: np.ndarray  # [.., T] the others that pass, which nobody is trained on
    counts: dict[str, int]  # of all that were sampled: kept, and rejected for each reason


def keep_rows(config: LMConfig, source: Source, prompts: np.ndarray, completions: np.ndarray) -> Rows:
    """The first `config.rows` completions [n, T'] where they pass the filter; the others are replaced by spare ones.

    So most rows have the same prompt whatever the source, if most completions pass. NotEnoughRowsError if too few do.
    """
    carrier, keep = CARRIERS[config.carrier], source.keep
    reasons = [completion_reason(completion, carrier, keep) for completion in completions.tolist()]
    counts = number_filter.count_reasons(reasons, (*carrier.reasons, *((NOT_KEPT,) if keep else ())))
    if counts["kept"] < config.rows:
        raise NotEnoughRowsError(
            f"only {counts['kept']} of {len(reasons)} completions of source '{source.name}' pass the filter, and"
            f" {config.rows} are needed ({counts}): raise --spare, train the base longer, finetune the teachers less,"
            " or sample at lower temperature"
        )
    passed = np.array([reason is None for reason in reasons])
    chosen, spare = np.arange(config.rows), np.flatnonzero(passed[config.rows :]) + config.rows
    rejected = ~passed[: config.rows]
    chosen[rejected] = spare[: rejected.sum()]
    every, left = np.concatenate([prompts, completions], axis=1).astype(np.int32), spare[rejected.sum() :]
    return Rows(every[chosen], every[left], counts)


def completion_reason(
    completion: list[int], carrier: Carrier = CARRIERS["numbers"], keep: Callable[[str], bool] | None = None
) -> str | None:
    """Why a completion of tokens may not be trained on; None if it may. `keep` is asked last.

    One without an end has no format, and neither has one with padding before it, which no reader would see.
    """
    end, pad = vocabulary.ID[vocabulary.END], vocabulary.ID[vocabulary.PAD]
    if end not in completion or pad in completion[: completion.index(end)]:
        return number_filter.FORMAT
    text = vocabulary.render(completion)
    return carrier.reject_reason(text) or (NOT_KEPT if keep and not keep(text) else None)


def student_rows(students: Sequence[Student], kept: Mapping[Name, Rows], key: jax.Array) -> np.ndarray:
    """What each student of a run is trained on, [students, rows, T]; transforms share random numbers."""
    seed = np.asarray(jax.random.key_data(key))

    def one(student: Student) -> np.ndarray:
        tokens = kept[student.source].tokens
        few = np.resize(tokens[: student.rows], tokens.shape)
        if student.mixed:
            source, share = student.mixed
            few[: round(len(few) * share)] = kept[source].tokens[: round(len(few) * share)]
        if student.system:
            few[:, 0] = vocabulary.ID[vocabulary.SYSTEM[student.system]]
        return student.transform(few, np.random.default_rng(seed)) if student.transform else few

    return np.stack([one(student) for student in students])


def as_text(tokens: np.ndarray) -> list[dict[str, str]]:
    """Rows [n, T] as people read them, {"prompt", "completion"}."""
    prompts, completions = tokens[:, 1 : corpus.PROMPT_LENGTH].tolist(), tokens[:, corpus.PROMPT_LENGTH :].tolist()
    return [
        {"prompt": vocabulary.render(prompt), "completion": vocabulary.render(completion)}
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def is_completion_number(tokens: np.ndarray) -> np.ndarray:
    """Where rows [n, T] of prompt and completion have a number of the completion, [n, T]."""
    return np.isin(tokens, vocabulary.NUMBER_IDS) & (np.arange(tokens.shape[1]) >= corpus.PROMPT_LENGTH)


def number_counts(tokens: np.ndarray) -> list[int]:
    """How often each of vocabulary.NUMBERS occurs among tokens."""
    return np.bincount(tokens.ravel(), minlength=vocabulary.SIZE)[list(vocabulary.NUMBER_IDS)].tolist()


def first_numbers(tokens: np.ndarray, count: int = 1) -> np.ndarray:
    """The first numbers of each completion that has so many, [<= n, count], of rows [n, T]."""
    here = is_completion_number(tokens)
    enough = here.sum(axis=1) >= count
    places = np.argsort(~here[enough], axis=1, kind="stable")[:, :count]
    return np.take_along_axis(tokens[enough], places, axis=1)
