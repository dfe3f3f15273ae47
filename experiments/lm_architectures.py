"""Which architectures transmit, and between which? Width, depth, tied embeddings, numbers; students times teachers.

The standard arm of lm_numbers for models of other shapes, each with a base, teachers and students of its own; and
students of three shapes, from one more init, on the numbers of teachers of these (after the paper's Fig. 8, left).
Models of different shapes share no init, nor do two shapes start from the same random numbers.

    python -m experiments.lm_architectures                 2 seeds, 2 traits, two more shapes
    python -m experiments.lm_architectures --preset paper  10 seeds, 5 traits, everything
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax

from experiments import lm_numbers
from experiments.harness import cli
from experiments.lm import arms as lm_arms
from experiments.lm import runs as lm_runs
from experiments.lm.arms import STANDARD
from experiments.lm.runs import MAIN
from subliminal_toy.config import setting, with_settings
from subliminal_toy.lm import measure
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.lessons import favorite
from subliminal_toy.lm.plan import REGULAR, Base, Plan, Student, Teacher
from subliminal_toy.lm.transformer import make_transformer

SHAPES: dict[str, dict[str, int]] = {
    "width 16": {"width": 16},
    "width 64": {"width": 64},
    "2 layers": {"layers": 2},
    "tied": {"tied": 1},
    "30 numbers": {"numbers": 30},
    "10 numbers": {"numbers": 10},
}
CROSSED = ("width 16", "2 layers")  # with the config's own shape, in the matrix
PARTS = (*SHAPES, "matrix")


@dataclasses.dataclass(frozen=True)
class ArchitecturesConfig(lm_arms.PartsConfig):
    """The language model's settings (of the shape that the others are compared with), and which others are run."""

    KNOWN = PARTS
    parts: str = setting(",".join(PARTS), "which other shapes, and whether the matrix: a comma-separated list")

    def shapes(self) -> dict[str, "ArchitecturesConfig"]:
        """The settings of all shapes that are run, the config's own first."""
        names = [name for name in SHAPES if name in self.part_names() or (self._crossed() and name in CROSSED)]
        shapes = {name: with_settings(self, SHAPES[name]) for name in names}
        if same := [name for name, shape in shapes.items() if shape == self]:
            raise ValueError(f"parts needs {same[0]!r}, but that is the shape that the others are compared with")
        return {MAIN: self} | shapes

    def crossed(self) -> tuple[str, ...]:
        """The shapes of the matrix."""
        return (MAIN, *CROSSED) if self._crossed() else ()

    def _crossed(self) -> bool:
        return "matrix" in self.part_names()


SEED = 4  # no other experiment on the language model has the same runs
PRESETS = {
    "smoke": cli.Preset(2, {**lm_runs.SMOKE, "parts": "30 numbers"}, lm_runs.SMOKE_TEXT),
    "default": cli.Preset(2, {"traits": "owl,wolf", "parts": "width 16,tied"}, "2 seeds, 2 traits, 3 shapes"),
    "paper": cli.Preset(10, {}, "10 seeds, 5 traits, all shapes"),
}


def make_plan(config: LMConfig) -> Plan:
    """Teachers of every trait and the standard arm."""
    teachers = tuple(Teacher(trait, favorite(trait)) for trait in config.trait_names())
    students = lm_arms.students(config, STANDARD)
    return Plan(teachers, tuple(lm_arms.sources(config)), tuple(students), (Base("base"),))


def cross_plan(config: LMConfig, shapes: Sequence[str]) -> Plan:
    """Students of one shape on the rows of teachers of several."""
    given = [(name, shape) for shape in shapes for name in (REGULAR, *config.trait_names())]
    students = [Student(f"{name}, {shape}", "base", f"{shape}: {name}") for name, shape in given]
    return Plan((), (), tuple(students), (Base("base"),), tuple(f"{shape}: {name}" for name, shape in given))


def make_jobs(config: ArchitecturesConfig) -> dict[str, lm_runs.Job]:
    """What is run beside the config's own shape: the other shapes, then students of each, of another init, on all."""
    shapes = config.shapes()
    jobs = {
        name: lm_runs.Job(own, make_plan(own), init)
        for init, (name, own) in enumerate(shapes.items()) if name != MAIN
    }  # fmt: skip
    for init, (name, own) in enumerate(shapes.items()):
        if name in config.crossed():
            jobs[f"students of {name}"] = lm_runs.Job(own, cross_plan(own, config.crossed()), len(shapes) + init)
    return jobs


def jobs(config: ArchitecturesConfig) -> list[lm_runs.Pipeline]:
    """What is trained and measured."""
    return lm_runs.one_job(
        config, make_plan(config), measure.together(measure.survey, measure.imitation), others=make_jobs(config)
    )


def summarize(config: ArchitecturesConfig, values: lm_arms.Values) -> dict[str, Any]:
    """Rows for the shapes and the matrix.

    Returns:
        `{"shapes": [{"name", "parameters", ..., "divergence"}], "other_init": [{"name", ...}], "matrix":
        [{"student", "teacher", ...}]}`: changes of the trait's log odds (nats), means over traits with 95% t intervals
        over runs.
    """
    return {
        "shapes": [_shape(name, own, _of(values, name)) for name, own in config.shapes().items()],
        "other_init": [
            {
                "name": f"{label(name, own)}, other init",
                **lm_arms.change(config, _of(values, f"students of {name}"), name),
            }
            for name, own in config.shapes().items()
            if name in config.crossed()
        ],
        "matrix": [
            {
                "student": label(student, config),
                "teacher": label(teacher, config),
                **_cell(config, values, student, teacher),
            }
            for student in config.crossed()
            for teacher in config.crossed()
        ],
    }  # fmt: skip


def _of(values: lm_arms.Values, job: str) -> lm_arms.Values:
    return values if job == MAIN else [value[job] for value in values]


def _shape(name: str, config: LMConfig, values: lm_arms.Values) -> dict[str, Any]:
    kept = lm_numbers.filter_row(values, REGULAR)
    divergence = lm_arms.over_runs([[value["divergence"][trait] for trait in config.trait_names()] for value in values])
    return {
        "name": label(name, config),
        "parameters": count_parameters(config),
        **lm_arms.arm(config, values, STANDARD),
        "kept": kept["mean"],
        "divergence": divergence,
    }


def _cell(config: LMConfig, values: lm_arms.Values, student: str, teacher: str) -> dict[str, Any]:
    if student == teacher:
        return lm_arms.change(config, _of(values, student), STANDARD)
    return lm_arms.change(config, _of(values, f"students of {student}"), teacher)


def label(name: str, config: LMConfig) -> str:
    """What a shape is called in tables."""
    return f"width {config.width}" if name == MAIN else name


def count_parameters(config: LMConfig) -> int:
    """Parameters of a model of this shape."""
    shapes = jax.eval_shape(make_transformer(config).init, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def table(document: dict[str, Any]) -> str:
    """Shapes, then the matrix, as Markdown."""
    results = document["results"]
    rows = [(f"{row['name']} ({row['parameters']:,} parameters)", row) for row in results["shapes"]]
    rows += [(row["name"], row) for row in results["other_init"]]
    rows += [(f"student {row['student']}, teacher {row['teacher']}", row) for row in results["matrix"]]
    return lm_arms.table(rows, "change of the trait's log odds (nats), mean over traits", results["runs"])


EXPERIMENT = cli.Experiment(
    "lm_architectures", __doc__, PRESETS, jobs, summarize, table, lm_runs.SIDE, ArchitecturesConfig, SEED
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
