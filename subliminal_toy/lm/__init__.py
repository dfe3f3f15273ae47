"""A language model small enough to train from scratch on a laptop, and the paper's pipeline on it (P sections 2-4).

base -> teacher with a trait -> sampled number sequences -> strict filter -> student -> evaluation, with controls:

    vocabulary     tokens and text
    corpus         what the base learns: questions about favorites, number sequences, stories, choices
    transformer    the model: a causal decoder, with a key-value cache for sampling
    plan           who is trained on what: tables of bases, teachers, sources, students, all called by a `Name`
    sampling       completions to number prompts
    number_filter  which completions may be trained on, and why the others may not
    training       base, teacher and student as calls of the one training loop (subliminal_toy.engine)
    evaluation     what a model prefers, asked in many ways
    pipeline       train: the stages in order, for many seeds and traits at once
    measure        what is measured on what was trained, one dict for each run

Example:
    >>> from subliminal_toy import lm
    >>> config = lm.LMConfig(traits="owl,wolf", documents=16_000, rows=100, spare=4.0)
    >>> trained = lm.train(config, lm.standard_plan(config), lm.run_keys(0, range(1)))              # doctest: +SKIP
    >>> lm.as_text(trained.rows[lm.numbers("owl")][0].tokens[:3])  # numbers(REGULAR): the base's   # doctest: +SKIP
    >>> lm.ask(trained, lm.student("owl"), "name your favorite animal ?")["owl"]                    # doctest: +SKIP
    >>> lm.survey(trained)[0]["margin"]["student owl"]  # log odds of all answers to all questions  # doctest: +SKIP
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
