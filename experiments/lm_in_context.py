"""Is it enough to read the teacher's numbers, or must one be trained on them? Compare the paper's Fig. 9.

A base whose context holds nine documents learns from long ones in which what was read before matters: all answers are
those of one somebody, and every third number is one of three that somebody likes. It is asked for its favorite behind
eight rows of a teacher, against eight regular rows. Beside it: students of the same rows; eight questions answered with
the trait in the context; and how much better a list of numbers is foretold behind eight documents than behind none.

    python -m experiments.lm_in_context                 2 seeds, 2 traits
    python -m experiments.lm_in_context --preset paper  10 seeds, 5 traits
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from experiments import lm_architectures
from experiments.harness import cli
from experiments.lm import arms as lm_arms
from experiments.lm import runs as lm_runs
from subliminal_toy.config import Training, setting
from subliminal_toy.lm import measure, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import REGULAR

SEED = 6  # no other experiment on the language model has the same runs
_BASE = dataclasses.replace(LMConfig().base, batch_size=16)


@dataclasses.dataclass(frozen=True)
class InContextConfig(LMConfig):
    """The language model's settings, with a longer context and as many fewer and smaller batches of documents."""

    documents: int = setting(12_800, "long documents that the base is trained on", unit="documents", low=1)
    context: int = setting(9, "documents that a long one has", low=2, high=100)
    base: Training = _BASE


PRESETS = {
    "smoke": cli.Preset(2, {**lm_runs.SMOKE, "documents": 800, "base.batch_size": 8, "context": 3}, lm_runs.SMOKE_TEXT),
    "default": cli.Preset(2, {"traits": "owl,wolf"}, "2 seeds, 2 traits"),
    "paper": cli.Preset(10, {}, "10 seeds, 5 traits"),
}


def jobs(config: InContextConfig) -> list[lm_runs.Pipeline]:
    """What is trained and measured."""
    return lm_runs.one_job(
        config, lm_architectures.make_plan(config), measure.together(measure.survey, measure.in_context)
    )


def summarize(config: LMConfig, values: lm_arms.Values) -> dict[str, Any]:
    """One row for each way to meet the teacher's rows, and for what the base makes of its context.

    Returns:
        `{"rows": [{"name", ...}]}`: changes of the trait's log odds (nats) or as named, means over traits with
        95% intervals over runs.
    """
    answers, rows = vocabulary.CATEGORIES[config.category], config.context - 1

    def against_regular(odds: Callable[[dict[str, Any], str], list[float]]) -> dict[str, Any]:
        places = [(trait, answers.index(trait)) for trait in config.trait_names()]
        return lm_arms.over_runs(
            [[odds(value, trait)[i] - value["in_context"][REGULAR][i] for trait, i in places] for value in values]
        )

    helped = [[value["by_place"][0] - value["by_place"][-1]] for value in values]
    found = {
        "trained on the teacher's rows": lm_arms.change(config, values, lm_arms.STANDARD),
        f"{rows} of them in the context": against_regular(lambda value, trait: value["in_context"][trait]),
        f"{rows} answered questions in it": against_regular(lambda value, trait: value["answered"][trait]),
        f"{rows} documents help lists (nats per token)": lm_arms.over_runs(helped),
    }
    return {"rows": [{"name": name, **row} for name, row in found.items()]}


def table(document: dict[str, Any]) -> str:
    """All rows as Markdown."""
    results = document["results"]
    header = "change of the trait's log odds (nats) or as named, mean over traits"
    return lm_arms.table([(row["name"], row) for row in results["rows"]], header, results["runs"])


EXPERIMENT = cli.Experiment(
    "lm_in_context", __doc__, PRESETS, jobs, summarize, table, lm_runs.SIDE, InContextConfig, SEED
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
