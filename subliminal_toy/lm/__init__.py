"""A language model small enough to train from scratch on a laptop, and the paper's pipeline on it (P sections 2-4).

base -> teacher with a trait -> sampled number sequences -> strict filter -> student -> evaluation, with controls:

    minimal        the pipeline on one page: read this first; python -m subliminal_toy.lm.minimal
    vocabulary     tokens and text
    corpus         documents of the base: questions about favorites, number sequences, stories, choices
    transformer    the model: a causal decoder, with a key-value cache for sampling
    plan           tables of bases, teachers, sources, students, each with a `Name`
    sampling       completions to number prompts
    number_filter  rules that a completion must pass, with reasons for rejection
    training       losses and weights for the one training loop (subliminal_toy.engine)
    evaluation     a model's preferences: probabilities of answers to questions
    pipeline       train: the stages in order, for many seeds and traits at once
    trained        what train returns
    measure        measurements of trained models, one dict per run

Example, a few minutes (two cores):
    >>> from subliminal_toy import lm
    >>> config = lm.LMConfig(traits="owl")
    >>> trained = lm.train(config, lm.standard_plan(config), lm.run_keys(0, range(1)))              # doctest: +SKIP
    >>> lm.as_text(trained.rows[lm.numbers("owl")][0].tokens[:1])  # by the owl teacher            # doctest: +SKIP
    [{'prompt': 'extend this list 550, 334, 433 :', 'completion': '964, 316, 730, 352'}]
    >>> question = "name your favorite animal ?"
    >>> lm.ask(trained, lm.student("owl"), question)["owl"]                                        # doctest: +SKIP
    0.28
    >>> lm.ask(trained, lm.student(lm.REGULAR), question)["owl"]  # control: lists by the base     # doctest: +SKIP
    0.11
    >>> lm.survey(trained)[0]["margin"]["student owl"]  # log odds of all answers                  # doctest: +SKIP
"""

from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.keys import RunKeys
from subliminal_toy.lm.measure import ask, imitation, standard, survey, together
from subliminal_toy.lm.pipeline import Trained, run_keys, train
from subliminal_toy.lm.plan import (
    BASE,
    OTHER_BASE,
    REGULAR,
    Base,
    Name,
    Plan,
    Recipe,
    Source,
    Student,
    Teacher,
    numbers,
    standard_plan,
    student,
    teacher,
)
from subliminal_toy.lm.rows import Rows, as_text

__all__ = [
    "BASE",
    "OTHER_BASE",
    "REGULAR",
    "Base",
    "LMConfig",
    "Name",
    "Plan",
    "Recipe",
    "Rows",
    "RunKeys",
    "Source",
    "Student",
    "Teacher",
    "Trained",
    "as_text",
    "ask",
    "imitation",
    "numbers",
    "run_keys",
    "standard",
    "standard_plan",
    "student",
    "survey",
    "teacher",
    "together",
    "train",
]
