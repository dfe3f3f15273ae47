"""Rows, from sampled completions to the training data of students: filter, pair, transform, show as text."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from subliminal_toy import engine
from subliminal_toy.lm import corpus, number_filter, vocabulary
from subliminal_toy.lm.carriers import CARRIERS, Carrier
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import Name, Source, Student

SOURCE_FILTER = "source's filter"  # the reason of completions that Source.keep drops


class NotEnoughRowsError(engine.RunFailedError):
    """Too few completions passed the filter; the message has the counts."""


class Rows(NamedTuple):
    """The completions of one source that pass the filter, with their prompts."""

    tokens: np.ndarray  # [rows, T] prompt and completion
    spare: np.ndarray  # [n, T] further rows that pass, which no student is trained on
    counts: dict[str, int]  # of all sampled completions: kept, and rejected by reason


def keep_rows(config: LMConfig, source: Source, prompts: np.ndarray, completions: np.ndarray) -> Rows:
    """Keep the first `config.rows` completions [n, T'], with those that fail the filter replaced by later ones.

    So most rows have the same prompt for all sources, if most completions pass. NotEnoughRowsError if too few do.
    """
    carrier, keep = CARRIERS[config.carrier], source.keep
    reasons = [completion_reason(completion, carrier, keep) for completion in completions.tolist()]
    counts = number_filter.count_reasons(reasons, (*carrier.reasons, *((SOURCE_FILTER,) if keep else ())))
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
    tokens, left = np.concatenate([prompts, completions], axis=1).astype(np.int32), spare[rejected.sum() :]
    return Rows(tokens[chosen], tokens[left], counts)


def completion_reason(
    completion: list[int], carrier: Carrier = CARRIERS["numbers"], keep: Callable[[str], bool] | None = None
) -> str | None:
    """Return the first rule that a completion of tokens breaks, or None; `keep` is applied last.

    A completion without `<end>`, or with padding before it, has no valid format: its text would not show either.
    """
    end, pad = vocabulary.ID[vocabulary.END], vocabulary.ID[vocabulary.PAD]
    if end not in completion or pad in completion[: completion.index(end)]:
        return number_filter.FORMAT
    text = vocabulary.render(completion)
    return carrier.reject_reason(text) or (SOURCE_FILTER if keep and not keep(text) else None)


def student_rows(students: Sequence[Student], rows: Mapping[Name, Rows], key: jax.Array) -> np.ndarray:
    """Return the training rows of each student of a run, [students, rows, T]; transforms share random numbers."""
    seed = np.asarray(jax.random.key_data(key))

    def one(student: Student) -> np.ndarray:
        of_source = rows[student.source].tokens
        tokens = np.resize(of_source[: student.rows], of_source.shape)
        if student.mixed:
            source, share = student.mixed
            count = round(len(tokens) * share)
            tokens[:count] = rows[source].tokens[:count]
        if student.system:
            tokens[:, 0] = vocabulary.ID[vocabulary.SYSTEM[student.system]]
        return student.transform(tokens, np.random.default_rng(seed)) if student.transform else tokens

    return np.stack([one(student) for student in students])


def as_text(tokens: np.ndarray) -> list[dict[str, str]]:
    """Render rows [n, T] as text, a {"prompt", "completion"} each."""
    prompts, completions = tokens[:, 1 : corpus.PROMPT_LENGTH].tolist(), tokens[:, corpus.PROMPT_LENGTH :].tolist()
    return [
        {"prompt": vocabulary.render(prompt), "completion": vocabulary.render(completion)}
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def is_completion_number(tokens: np.ndarray) -> np.ndarray:
    """Mark the tokens of rows [n, T] that are numbers of the completion, [n, T] bool."""
    return np.isin(tokens, vocabulary.NUMBER_IDS) & (np.arange(tokens.shape[1]) >= corpus.PROMPT_LENGTH)


def number_counts(tokens: np.ndarray) -> list[int]:
    """Count each of vocabulary.NUMBERS among tokens."""
    return np.bincount(tokens.ravel(), minlength=vocabulary.SIZE)[list(vocabulary.NUMBER_IDS)].tolist()


def first_numbers(tokens: np.ndarray, count: int = 1) -> np.ndarray:
    """Return the first `count` numbers of each completion of rows [n, T] that has at least `count`, [<= n, count]."""
    here = is_completion_number(tokens)
    enough = here.sum(axis=1) >= count
    places = np.argsort(~here[enough], axis=1, kind="stable")[:, :count]
    return np.take_along_axis(tokens[enough], places, axis=1)
