"""Is what a student from another init gains real, and what has it to share with its teacher for it?

lm_numbers finds that such a student gains 0.044 nats if the two bases learnt the same documents, and 0.019 if each
learnt its own; seed by seed the difference is 0.025 with a standard deviation of 0.059. A paired t test tells it from 0
with power 0.8 at 46 seeds ((1.96 + 0.84)^2 0.059^2 / 0.025^2, and two more for t): before the first run it was fixed
that there are 48, of seed 5, which no other experiment has. Bases that the students start from, all from other inits
than the teachers' base:

    same documents   learnt the very documents
    own documents    others of the same language, with its statistics
    own language     of another language: only words and rules are shared

Each has a student of every teacher's rows, and one of regular rows of the same prompts with the same sampling noise.
From the first base there are two more students of regular rows, of other prompts and of other noise. These cannot tell
a gain from none by themselves: what is shared with the control changes the variance of a difference, not its mean,
since one regular student is as good as another. That is checked, and "specific" is free of it: a student's gain of its
own trait over what students of the other teachers' rows gain of that trait.

    python -m experiments.studies.lm_other_init
    python -m experiments.studies.lm_other_init --preset paper
    python -m experiments.studies.lm_other_init --runs 4 --rows 1000
"""

from typing import Any

import numpy as np

from experiments.harness import cli
from experiments.lm import contrasts
from experiments.lm.arms import arm, joined, plan_of
from experiments.lm.contrasts import Row, Values, gains, row
from experiments.lm.runs import MAIN, SIDE, SMOKE, SMOKE_TEXT, TWO, Job, Pipeline
from subliminal_toy import lm
from subliminal_toy.lm import BASE, REGULAR, Base, LMConfig, Name, Plan, Source, Student, numbers, student

SEED = 5  # no other experiment on the language model has the same runs
FIRST, DOCUMENTS, LANGUAGE = (Name("base", name) for name in ("same documents", "own documents", "own language"))
STARTS = (Base(FIRST), Base(DOCUMENTS, documents=1), Base(LANGUAGE, documents=1, language=1))
ARMS = [arm(base.name.trait, base.name) for base in STARTS]
CONTROLS = (  # other regular numbers
    Source(numbers(REGULAR, "own prompts"), BASE, prompts=1, noise=1),
    Source(numbers(REGULAR, "own noise"), BASE, noise=1),
)
PAIRED = ((FIRST, DOCUMENTS), (FIRST, LANGUAGE), (DOCUMENTS, LANGUAGE))
PRESETS = {
    "smoke": cli.Preset(2, {**SMOKE, "traits": TWO}, SMOKE_TEXT),
    "default": cli.Preset(2, {"traits": TWO}, "2 seeds, 2 traits"),
    "paper": cli.Preset(48, {}, "48 seeds, 5 traits"),
}


def make_plan(config: LMConfig) -> Plan:
    """Plan one base with teachers, and students from all others."""
    students = [Student(source.name._replace(role="student"), FIRST, source.name) for source in CONTROLS]
    return joined([plan_of(config.trait_names(), *ARMS), Plan((), CONTROLS, tuple(students), STARTS)])


def jobs(config: LMConfig) -> list[Pipeline]:
    """Plan all arms, and the questions alone."""
    return [Pipeline({MAIN: Job(config, make_plan(config), lm.survey)})]


def summarize(config: LMConfig, values: Values) -> dict[str, list[Row]]:
    """Describe the gain from each base, against each control; its specific part; and paired differences.

    Returns:
        `{"rows": [{"name", "kind", "words", ...}]}`: changes of the trait's log odds (nats), means over traits with
        95% intervals over runs; a "gain", or a "difference" of two.
    """
    traits, kinds = config.trait_names(), ("", ", specific")[: len(config.trait_names())]
    gain_of = {base.name.trait: gains(values, traits, base.name.trait) for base in STARTS}
    for source in CONTROLS:
        control = source.name._replace(role="student")
        gain_of[f"{FIRST}, {control.arm}"] = gains(values, traits, FIRST.trait, control=control)
    for base in STARTS if len(traits) > 1 else ():
        label = base.name.trait
        others = [gains(values, traits, label, control=student(other_trait, label)) for other_trait in traits]
        gain_of[f"{label}, specific"] = np.sum(others, axis=0) / (len(traits) - 1)  # against a trait's own it is 0
    pairs = [(f"{a}{kind}", f"{b}{kind}") for kind in kinds for a, b in PAIRED]
    pairs += [(f"{FIRST}, {source.name.arm}", str(FIRST)) for source in CONTROLS]
    rows = [row(name, gain, kind="gain", words=name) for name, gain in gain_of.items()]
    names = {f"{a} - {b}": gain_of[a] - gain_of[b] for a, b in pairs}
    return {"rows": rows + [row(name, difference, kind="difference", words=name) for name, difference in names.items()]}


def table(document: dict[str, Any]) -> str:
    """Write all rows as Markdown."""
    results = document["results"]
    header = "change of the trait's log odds (nats), mean over traits"
    return contrasts.table([(row["name"], row) for row in results["rows"]], header, results["runs"])


EXPERIMENT = cli.Experiment("lm_other_init", __doc__, PRESETS, jobs, summarize, table, SIDE, LMConfig, SEED)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
