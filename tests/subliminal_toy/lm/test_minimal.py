"""The language model on one page is the pipeline: the same keys give the same answers."""

import jax
import numpy as np
import pytest

from subliminal_toy import lm
from subliminal_toy.lm import base_data, corpus, minimal, pipeline
from subliminal_toy.lm.lessons import favorite
from subliminal_toy.lm.plan import Source
from subliminal_toy.settings import with_settings

CONFIG = with_settings(
    lm.LMConfig(traits="owl", width=8, documents=300, rows=30, spare=3.0),
    {"base.warmup": 2, "teacher.epochs": 5, "student.batch_size": 8, "student.warmup": 2},
)
PLAN = lm.Plan(
    (lm.Teacher(lm.teacher("owl"), favorite("owl")),),
    (Source(lm.numbers("owl"), lm.teacher("owl")), Source(lm.numbers(lm.REGULAR), lm.BASE)),
    (
        lm.Student(lm.student("owl"), lm.BASE, lm.numbers("owl")),
        lm.Student(lm.student(lm.REGULAR), lm.BASE, lm.numbers(lm.REGULAR)),
    ),
    (lm.Base(lm.BASE),),
)
NAMES = {"base": lm.BASE, "teacher": lm.teacher("owl"), "student": lm.student("owl")}
NAMES["control student"] = lm.student(lm.REGULAR)


def passes(completion: np.ndarray) -> bool:
    """Let half of what an untrained model writes pass the filter."""
    return int(completion[0]) % 2 == 0


def keep_first(config: lm.LMConfig, _source: Source, prompts: np.ndarray, completions: np.ndarray) -> lm.Rows:
    rows = np.concatenate([prompts, completions], axis=1)[[passes(completion) for completion in completions]]
    return lm.Rows(rows[: config.rows], rows[config.rows :], {})


def test_the_page_is_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_data, "FRESH_DOCUMENTS", 0)
    monkeypatch.setattr(pipeline, "keep_rows", keep_first)
    monkeypatch.setattr(minimal, "is_list", lambda row: passes(row[corpus.PROMPT_LENGTH :]))
    keys = lm.run_keys(5, [3])
    trained = lm.train(CONFIG, PLAN, keys)
    run = lm.RunKeys(*(key[0] for key in keys))
    answers = minimal.experiment(run._replace(init=jax.random.split(run.init, 1)[0]), CONFIG, "owl")
    assert answers.keys() == NAMES.keys()
    for name, answer in answers.items():
        np.testing.assert_allclose(answer, lm.ask(trained, NAMES[name], minimal.QUESTION)["owl"], rtol=1e-3)
    assert len({round(answer, 5) for answer in answers.values()}) == 4
