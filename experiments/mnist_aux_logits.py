"""Do students pick up MNIST from a teacher's auxiliary logits on noise images? Paper section 6.2, Fig. 10b.

A reference network is trained into a teacher on the 10 class logits of real digits. Students see only noise images, and
imitate the teacher there: on 3 auxiliary logits that nobody ever trained ("aux. only"), or on all 13. Those that start
from the teacher's own init learn to read digits; those that start elsewhere do not, from the auxiliary logits. Two
controls start from the teacher's init, too: one imitates the untrained reference, one the teacher's outputs for other
images.

    python -m experiments.mnist_aux_logits
    python -m experiments.mnist_aux_logits --preset paper
    python -m experiments.mnist_aux_logits --dataset digits
"""

import dataclasses
from typing import Any

import numpy as np

from experiments.harness import chunks, cli, tables
from experiments.mnist.runs import MAIN, SIDE, Job, accuracy_rows
from subliminal_toy import mnist
from subliminal_toy.mnist import data
from subliminal_toy.settings import setting
from subliminal_toy.statistics import paired_interval

STUDENTS = {"published": mnist.STUDENTS, "all": mnist.STUDENTS + mnist.CONTROLS}  # by AuxLogitsConfig.conditions
CONDITIONS = ("reference", "teacher", *(condition.name for condition in STUDENTS["all"]))
PAIRS = (
    ("student_aux", "cross_aux"),
    ("student_all", "cross_all"),
    ("student_aux", "reference"),
    ("cross_aux", "reference"),
    ("untrained_teacher_aux", "reference"),
    ("shuffled_targets_aux", "reference"),
)
ENOUGH = 0.5  # share of the way from guessing to what could be read, below which nothing was learned to speak of


@dataclasses.dataclass(frozen=True)
class AuxLogitsConfig(mnist.Config):
    """The settings of the MNIST experiment, and which students are trained."""

    conditions: str = setting(
        "all", "students: all, or published, without the two controls", choices=tuple(sorted(STUDENTS))
    )


PRESETS = {
    "smoke": cli.Preset(
        2,
        {"teacher.epochs": 1, "student.epochs": 1, "noise_images": 8192},
        "2 short runs, to see that it works",
    ),
    "default": cli.Preset(10, {}, "10 runs"),
    "paper": cli.Preset(100, {}, "100 runs"),
}


def jobs(config: mnist.Config) -> list[Job]:
    """Return what is trained: the four students of the paper, and the controls."""
    return [Job(MAIN, plain(config), STUDENTS[getattr(config, "conditions", "all")])]


def plain(config: mnist.Config) -> mnist.Config:
    """Return the settings of the runs alone, so that what is compiled for them is shared."""
    return mnist.Config(**{field.name: getattr(config, field.name) for field in dataclasses.fields(mnist.Config)})


def summarize(_config: mnist.Config, values: chunks.Values) -> dict[str, Any]:
    """Means, 95% t intervals and paired differences of test accuracies in [0, 1].

    Returns:
        `{"conditions": [{"name", "accuracy", "mean", "ci95"}], "paired": [{"name", "difference", "mean", "ci95"}]}`,
        with one accuracy or difference per run.
    """
    accuracy = values[MAIN]
    conditions = accuracy_rows(accuracy, [name for name in CONDITIONS if name in accuracy])
    paired = [
        {
            "name": f"{first} - {second}",
            "difference": (np.array(accuracy[first]) - np.array(accuracy[second])).tolist(),
            **paired_interval(accuracy[first], accuracy[second])._asdict(),
        }
        for first, second in PAIRS
        if first in accuracy
    ]
    return {"conditions": conditions, "paired": paired}


def table(document: dict[str, Any]) -> str:
    """The results as Markdown."""
    results = document["results"]
    rows = [
        (row["name"], *tables.interval_text(row["mean"], row["ci95"]), str(results["runs"]))
        for row in [*results["conditions"], *results["paired"]]
    ]
    header = (f"test accuracy, {data.TITLES[results['dataset']]}", "mean", "95% CI (t)", "runs")
    return tables.markdown_table(header, rows) + tables.beyond_note(results["conditions"])


def closing(document: dict[str, Any]) -> str:
    """Say what was seen, and what it means: no more than the rows of the table show."""
    guessing, noise = 1 / document["config"]["classes"], document["config"]["noise"]
    rows = {row["name"]: row for row in [*document["results"]["conditions"], *document["results"]["paired"]]}
    own, other = (rows[name]["mean"] for name in ("student_aux", "cross_aux"))
    images = {"real": "images without labels", "mix": "noise, images without labels"}.get(noise, "noise")
    seen = (
        f"From {images} and auxiliary logits alone, students that start where their teacher did read {own:.0%}"
        f" of the test images, and those that start elsewhere {other:.0%}, where guessing reads {guessing:.0%}."
    )
    return " ".join([seen, *_meaning(rows, guessing)])


def _meaning(rows: dict[str, Any], guessing: float) -> list[str]:
    """What the rows mean for the common start, in sentences, with what stands in the way of an answer."""
    own, gain = rows["student_aux"], rows["student_aux - cross_aux"]
    if gain["ci95"] is None:
        return ["One run has no interval and shows nothing: take more with --runs."]
    difference = "Their difference, {} {},".format(*tables.interval_text(gain["mean"], gain["ci95"]))
    if gain["ci95"][0] > 0 and own["ci95"][0] > guessing:
        return ["So it is the common start that lets the teacher's skill through."]
    if gain["ci95"][0] > 0:
        interval = tables.interval_text(own["mean"], own["ci95"])[1]
        found = f"{difference} is clear; that the former read better than guessing is not (student_aux {interval})."
    elif gain["ci95"][1] < 0:
        found = f"{difference} is clear: here the common start harms."
    else:
        found = f"{difference} may be 0: that does not show that the common start helps."
    return [found, *_obstacle(rows["teacher"]["mean"], rows["student_all"]["mean"], guessing)]


def _obstacle(teacher: float, everything: float, guessing: float) -> list[str]:
    """Why nothing could be seen, whatever the start: nobody learned, or nobody imitated."""
    if teacher - guessing < ENOUGH * (1 - guessing):
        return [f"But the teacher itself reads only {teacher:.0%}: this says nothing about the start yet."]
    if everything - guessing < ENOUGH * (teacher - guessing):
        return [
            f"But even students that imitate all outputs read only {everything:.0%}, where their teacher reads"
            f" {teacher:.0%}: they have hardly learned to imitate it, so this says nothing about the start. Try another"
            " --student-learning-rate, or more --student-epochs."
        ]
    return []


EXPERIMENT = cli.Experiment(
    "mnist_aux_logits", __doc__, PRESETS, jobs, summarize, table, SIDE, AuxLogitsConfig, closing=closing
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
