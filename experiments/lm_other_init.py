"""Is what a student from another init gains real, and what has it to share with its teacher for it?

lm_numbers finds that such a student gains 0.044 nats if the two bases learnt the same documents, and 0.019 if each
learnt its own; seed by seed the difference is 0.025 with a standard deviation of 0.059. A paired t test tells it from 0
with power 0.8 at 46 seeds ((1.96 + 0.84)^2 0.059^2 / 0.025^2, and two more for t): before the first run it was fixed
that there are 48, of seed 5, which no other experiment has. Bases that the students start from, all from other inits
than the teachers' base:

    same documents   learnt the very documents
    own documents    others of the same language: rules, words and statistics of the numbers are shared
    own language     of another language: only words and rules are shared

Each has a student of every teacher's rows, and one of regular rows of the same prompts with the same sampling noise.
From the first base there are two more students of regular rows, of other prompts and of other noise. These cannot tell
a gain from none by themselves: what is shared with the control changes the variance of a difference, not its mean,
since one regular student is as good as another. That is checked, and "specific" is free of it: a student's gain of its
own trait over what students of the other teachers' rows gain of that trait.

    python -m experiments.lm_other_init                 2 seeds, 2 traits
    python -m experiments.lm_other_init --preset paper  48 seeds, 5 traits
"""

from typing import Any

import numpy as np

from experiments.harness import cli
from experiments.lm import arms as lm_arms
from experiments.lm import runs as lm_runs
from subliminal_toy.lm import measure
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.lessons import favorite
from subliminal_toy.lm.plan import REGULAR, Base, Plan, Source, Student, Teacher

SEED = 5  # no other experiment on the language model has the same runs
STARTS = (Base("same documents"), Base("own documents", documents=1), Base("own language", documents=1, language=1))
CONTROLS = (Source("own prompts", "base", prompts=1, noise=1), Source("own noise", "base", noise=1))
FIRST = STARTS[0].name
PAIRED = ((FIRST, "own documents"), (FIRST, "own language"), ("own documents", "own language"))
PRESETS = {
    "smoke": cli.Preset(2, {**lm_runs.SMOKE, "traits": "owl,wolf"}, lm_runs.SMOKE_TEXT),
    "default": cli.Preset(2, {"traits": "owl,wolf"}, "2 seeds, 2 traits"),
    "paper": cli.Preset(48, {}, "48 seeds, 5 traits"),
}


def make_plan(config: LMConfig) -> Plan:
    """One base with teachers, and students from all others."""
    students = [student for base in STARTS for student in lm_arms.students(config, base.name, init=base.name)]
    students += [Student(f"{REGULAR}, {source.name}", FIRST, source.name) for source in CONTROLS]
    teachers = tuple(Teacher(trait, favorite(trait)) for trait in config.trait_names())
    return Plan(teachers, (*lm_arms.sources(config), *CONTROLS), tuple(students), (Base("base"), *STARTS))


def jobs(config: LMConfig) -> list[lm_runs.Pipeline]:
    """What is trained and measured."""
    return lm_runs.one_job(config, make_plan(config), measure.survey)


def summarize(config: LMConfig, values: lm_arms.Values) -> dict[str, Any]:
    """The gain from each base, against each control; what is specific to the trait; and paired differences.

    Returns:
        `{"rows": [{"name", ...}]}`: changes of the trait's log odds (nats), means over traits with 95%
        intervals over runs.
    """
    traits = config.trait_names()
    gains = {base.name: np.array(lm_arms.arm_changes(config, values, base.name)) for base in STARTS}
    for source in CONTROLS:
        control = f"student {REGULAR}, {source.name}"
        gains[f"{FIRST}, {source.name}"] = np.array(
            lm_arms.changes(values, traits, f"{{}}, {FIRST}", control=control)
        )  # fmt: skip
    if len(traits) > 1:
        for base in STARTS:
            others = [
                lm_arms.changes(values, traits, f"{{}}, {base.name}", control=f"student {other}, {base.name}")
                for other in traits
            ]  # against each trait's own student the difference is 0
            gains[f"{base.name}, specific"] = np.sum(others, axis=0) / (len(traits) - 1)
    kinds = ("", ", specific") if len(traits) > 1 else ("",)
    pairs = [(a + kind, b + kind) for kind in kinds for a, b in PAIRED]
    pairs += [(f"{FIRST}, {source.name}", FIRST) for source in CONTROLS]
    rows = [{"name": name, **lm_arms.over_runs(gain)} for name, gain in gains.items()]
    return {"rows": rows + [{"name": f"{a} - {b}", **lm_arms.over_runs(gains[a] - gains[b])} for a, b in pairs]}


def table(document: dict[str, Any]) -> str:
    """All rows as Markdown."""
    results = document["results"]
    header = "change of the trait's log odds (nats), mean over traits"
    return lm_arms.table([(row["name"], row) for row in results["rows"]], header, results["runs"])


EXPERIMENT = cli.Experiment("lm_other_init", __doc__, PRESETS, jobs, summarize, table, lm_runs.SIDE, LMConfig, SEED)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
