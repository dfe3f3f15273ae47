"""Which architectures transmit, and between which? Width, depth, tied embeddings, numbers; students times teachers.

The standard arm of lm_numbers for models of other shapes, each with a base, teachers and students of its own; and
students of three shapes, from one more init, on the numbers of teachers of these (after the paper's Fig. 8, left).
Models of different shapes share no init, nor do two shapes start from the same random numbers.

    python -m experiments.studies.lm_architectures
    python -m experiments.studies.lm_architectures --preset paper
    python -m experiments.studies.lm_architectures --parts matrix --runs 2
"""

import dataclasses
from typing import Any

from experiments.harness import cli
from experiments.lm import contrasts
from experiments.lm.arms import STANDARD, PartsConfig, arm, plan_of
from experiments.lm.contrasts import Row, Values, arm_row, column, filter_row, gains, over_runs
from experiments.lm.runs import MAIN, SIDE, SMOKE, SMOKE_TEXT, TWO, Job, Pipeline, count_parameters
from subliminal_toy import lm
from subliminal_toy.lm import BASE, REGULAR, Base, LMConfig, Plan, numbers, teacher
from subliminal_toy.settings import setting, with_settings

SHAPES: dict[str, dict[str, int]] = {
    "width 16": {"width": 16},
    "width 64": {"width": 64},
    "2 layers": {"layers": 2},
    "tied": {"tied": True},
    "30 numbers": {"numbers": 30},
    "10 numbers": {"numbers": 10},
}
WORDS = {  # where a shape's name does not say it all
    "tied": "embedding tied to unembedding",
    "30 numbers": "30 numbers, not 100",
    "10 numbers": "10 numbers, not 100",
}
CROSSED = ("width 16", "2 layers")  # with the config's own shape, in the matrix
PARTS = (*SHAPES, "matrix")


@dataclasses.dataclass(frozen=True)
class ArchitecturesConfig(PartsConfig):
    """The language model's settings (of the shape that the others are compared with), and which others are run."""

    KNOWN = PARTS
    parts: str = setting(",".join(PARTS), "which other shapes, and whether the matrix: a comma-separated list")

    def shapes(self) -> dict[str, "ArchitecturesConfig"]:
        """Return the settings of all shapes that are run, the config's own first."""
        names = [name for name in SHAPES if name in self.part_names() or (self._crossed() and name in CROSSED)]
        shapes = {name: with_settings(self, SHAPES[name]) for name in names}
        if same := [name for name, shape in shapes.items() if shape == self]:
            raise ValueError(f"parts needs {same[0]!r}, but that is the shape that the others are compared with")
        return {MAIN: self} | shapes

    def crossed(self) -> tuple[str, ...]:
        """Return the shapes of the matrix."""
        return (MAIN, *CROSSED) if self._crossed() else ()

    def _crossed(self) -> bool:
        return "matrix" in self.part_names()


SEED = 4  # no other experiment on the language model has the same runs
PRESETS = {
    "smoke": cli.Preset(2, {**SMOKE, "parts": "30 numbers"}, SMOKE_TEXT),
    "default": cli.Preset(2, {"traits": TWO, "parts": "width 16,tied"}, "2 seeds, 2 traits, 3 shapes"),
    "paper": cli.Preset(10, {}, "10 seeds, 5 traits, all shapes"),
}


def jobs(config: ArchitecturesConfig) -> list[Pipeline]:
    """Plan the standard arm of every shape; then students of crossed shapes, of another init, on all their rows."""
    shapes, traits = config.shapes(), config.trait_names()
    standard = plan_of(traits, arm(STANDARD))
    jobs_by_name = {name: Job(shape, standard, measure, init) for init, (name, shape) in enumerate(shapes.items())}
    arms = [arm(name, source=numbers(REGULAR)._replace(job=name)) for name in config.crossed()]
    students = [student for entry in arms for student in entry.students(traits)]
    crossed = Plan((), (), tuple(students), (Base(BASE),), tuple(student.source for student in students))
    for init, (name, shape) in enumerate(shapes.items(), start=len(shapes)):
        if name in config.crossed():
            jobs_by_name[f"students of {name}"] = Job(shape, crossed, measure, init)
    return [Pipeline(jobs_by_name)]


def measure(trained: lm.Trained) -> Values:
    """Measure all questions, and how well unseen rows are foretold."""
    return lm.together(lm.survey(trained), lm.imitation(trained))


def summarize(config: ArchitecturesConfig, values: Values) -> dict[str, list[Row]]:
    """Describe the shapes and the matrix.

    Returns:
        `{"shapes": [{"name", "parameters", ..., "divergence"}], "other_init": [{"name", ...}], "matrix":
        [{"student", "teacher", ...}]}`: changes of the trait's log odds (nats), means over traits with 95% t intervals
        over runs.
    """
    traits, crossed, shapes = config.trait_names(), config.crossed(), config.shapes()

    def crossing(student: str, teacher: str) -> Row:
        """Describe students of a shape, of its init or of another one, on the rows of teachers of a shape."""
        return over_runs(gains(_of(values, f"students of {student}"), traits, teacher))

    def cell(student: str, teacher: str) -> Row:
        same = student == teacher
        return over_runs(gains(_of(values, student), traits)) if same else crossing(student, teacher)

    return {
        "shapes": [_shape(name, shape, _of(values, name)) for name, shape in shapes.items()],
        "other_init": [
            {"name": f"{label(name, config)}, other init", **_fields(name, shapes[name]), **crossing(name, name)}
            for name in crossed
        ],
        "matrix": [
            {
                "student": label(student_shape, config),
                "teacher": label(teacher_shape, config),
                **cell(student_shape, teacher_shape),
            }
            for student_shape in crossed
            for teacher_shape in crossed
        ],
    }


def _of(values: Values, job: str) -> Values:
    return values if job == MAIN else [value[job] for value in values]


def _shape(name: str, config: LMConfig, values: Values) -> Row:
    traits = config.trait_names()
    return {
        "name": label(name, config),
        **_fields(name, config),
        "parameters": count_parameters(config),
        **arm_row(values, traits, STANDARD),
        "kept": filter_row(values, REGULAR)["mean"],
        "divergence": over_runs(column(values, "divergence", [teacher(trait) for trait in traits])),
    }


def _fields(name: str, config: LMConfig) -> Row:
    """Say which shape a row is about, in numbers and in words; whether the others are compared with it."""
    numbers = {field: getattr(config, field) for field in ("width", "layers", "tied", "numbers")}
    return {"words": WORDS.get(name, label(name, config)), "standard": name == MAIN, **numbers}


def label(name: str, config: LMConfig) -> str:
    """Return what a shape is called in tables."""
    return f"width {config.width}" if name == MAIN else name


def table(document: dict[str, Any]) -> str:
    """Write shapes, then the matrix, as Markdown."""
    results = document["results"]
    rows = [(f"{row['name']} ({row['parameters']:,} parameters)", row) for row in results["shapes"]]
    rows += [(row["name"], row) for row in results["other_init"]]
    rows += [(f"student {row['student']}, teacher {row['teacher']}", row) for row in results["matrix"]]
    return contrasts.table(rows, "change of the trait's log odds (nats), mean over traits", results["runs"])


EXPERIMENT = cli.Experiment(
    "lm_architectures", __doc__, PRESETS, jobs, summarize, table, SIDE, ArchitecturesConfig, SEED
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
