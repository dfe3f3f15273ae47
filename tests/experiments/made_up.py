"""Made-up runs of the language model: every log odds is 0 but for what a test says."""

from collections.abc import Callable
from typing import Any

import numpy as np

from subliminal_toy.lm import corpus, number_filter, vocabulary
from subliminal_toy.lm.plan import Plan

Rule = Callable[[str, str, int], float]  # a model, an answer, a run -> log odds


def values(plan: Plan, rule: Rule, runs: int = 2) -> list[dict[str, Any]]:
    """What measure.survey and measure.imitation would give."""
    return [_run(plan, rule, run) for run in range(runs)]


def _run(plan: Plan, rule: Rule, run: int) -> dict[str, Any]:
    models = plan.models()
    frames = len(corpus.FRAMES)
    counts = {**number_filter.count_reasons([None] * 9), "format": 1}
    return {
        "margin": {
            model: [
                np.tile([rule(model, answer, run) for answer in answers], (frames, 1)).tolist()
                for answers in vocabulary.CATEGORIES.values()
            ]
            for model in models
        },
        "right": {model: [0.9] * 4 for model in models},
        "wrong": {model: [0.1] * 4 for model in models},
        "loss": dict.fromkeys(models, 2.0 + run),
        "imitation": {f"student {student.name}": 1.5 for student in plan.students},
        "untrained": {source.name: 2.0 for source in plan.sources},
        "itself": {source.name: 1.0 for source in plan.sources},
        "divergence": {teacher.name: 0.01 * (run + 1) for teacher in plan.teachers},
        "filter": {source.name: counts for source in plan.sources},
        "diverging": {
            name: {"share": share, "numbers": 0.8, "numbers_of_all": 0.5}
            for name, share in (("owl", 0.1), ("regular", 0.2), ("owl at greedy", 0.05))
        },
        "examples": {source.name: [{"prompt": "p", "completion": "c"}] * 8 for source in plan.sources},
    }
