"""Is it enough to read the teacher's numbers, or must one be trained on them? Compare the paper's Fig. 9.

A base whose context holds nine documents learns from long ones in which what was read before matters: all answers are
those of one somebody, and every third number is one of three that somebody likes. It is asked for its favorite behind
eight rows of a teacher, against eight regular rows. Beside it: students of the same rows; eight questions answered with
the trait in the context; and how much better a list of numbers is foretold behind eight documents than behind none.

    python -m experiments.lm_in_context
    python -m experiments.lm_in_context --preset paper
    python -m experiments.lm_in_context --traits oak --runs 4
"""

import dataclasses
from typing import Any

from experiments.harness import cli
from experiments.lm import contrasts
from experiments.lm.arms import STANDARD, arm, plan_of
from experiments.lm.contrasts import Row, Values, column, gains, of_own, row
from experiments.lm.runs import MAIN, SIDE, SMOKE, SMOKE_TEXT, TWO, Job, Pipeline
from subliminal_toy import lm
from subliminal_toy.config import Training, setting
from subliminal_toy.lm import REGULAR, LMConfig, numbers

SEED = 6  # no other experiment on the language model has the same runs
_BASE = dataclasses.replace(LMConfig().base, batch_size=16)


@dataclasses.dataclass(frozen=True)
class InContextConfig(LMConfig):
    """The language model's settings, with a longer context and as many fewer and smaller batches of documents."""

    documents: int = setting(12_800, "long documents that the base is trained on", unit="documents", low=1)
    context: int = setting(9, "documents that a long one has", low=2, high=100)
    base: Training = _BASE


PRESETS = {
    "smoke": cli.Preset(2, {**SMOKE, "documents": 5_400, "base.batch_size": 8, "context": 3}, SMOKE_TEXT),
    "default": cli.Preset(2, {"traits": TWO}, "2 seeds, 2 traits"),
    "paper": cli.Preset(10, {}, "10 seeds, 5 traits"),
}


def jobs(config: InContextConfig) -> list[Pipeline]:
    """The standard arm, and what the base reads."""
    return [Pipeline({MAIN: Job(config, plan_of(config.trait_names(), arm(STANDARD)), measure)})]


def measure(trained: lm.Trained) -> Values:
    """The questions alone, and behind what the base reads."""
    return lm.together(lm.survey(trained), lm.in_context(trained))


def summarize(config: InContextConfig, values: Values) -> dict[str, list[Row]]:
    """One row for each way to meet the teacher's rows, and for what the base makes of its context.

    Returns:
        `{"rows": [{"name", ...}]}`: changes of the trait's log odds (nats) or as named, means over traits with
        95% intervals over runs.
    """
    traits, read = config.trait_names(), config.context - 1
    regular = column(values, "in_context", [numbers(REGULAR)])  # [runs, 1, answers]
    behind_rows = column(values, "in_context", [numbers(trait) for trait in traits]) - regular
    answered = column(values, "answered", traits) - regular
    helped = [[value["by_place"][0] - value["by_place"][-1]] for value in values]
    rows = [
        row("trained on the teacher's rows", gains(values, traits)),
        row(f"{read} of them in the context", of_own(behind_rows, traits)),
        row(f"{read} answered questions in it", of_own(answered, traits)),
        row(f"{read} documents help lists (nats per token)", helped),
    ]
    return {"rows": rows}


def table(document: dict[str, Any]) -> str:
    """All rows as Markdown."""
    results = document["results"]
    header = "change of the trait's log odds (nats) or as named, mean over traits"
    return contrasts.table([(row["name"], row) for row in results["rows"]], header, results["runs"])


EXPERIMENT = cli.Experiment("lm_in_context", __doc__, PRESETS, jobs, summarize, table, SIDE, InContextConfig, SEED)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
