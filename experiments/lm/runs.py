"""Runs of the language model's pipeline: what is trained and measured, and what it takes."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from experiments.harness.chunks import MAIN as MAIN
from experiments.harness.chunks import Chunk, Columns, Values
from experiments.harness.experiment import Advance, Side
from subliminal_toy import lm
from subliminal_toy.lm import LMConfig, Plan, pipeline
from subliminal_toy.lm.config import TRAITS
from subliminal_toy.lm.keys import fold_in
from subliminal_toy.lm.transformer import make_transformer

PARAMETERS = 27_648  # of the default model


Rows = dict[lm.Name, list[lm.Rows]]  # by source, one for each run


class Job(NamedTuple):
    """A plan with settings of its own, done on the same runs as others, and what is measured on it."""

    config: LMConfig
    plan: Plan
    measure: Callable[[lm.Trained], list[dict[str, Any]]]
    init: int = 0  # jobs with the same number share inits where they share shapes


TWO, THREE = (",".join(TRAITS[i] for i in places) for places in ((0, 4), (0, 1, 4)))  # traits of small presets
SMOKE = {  # short runs that still pass the filter
    "traits": TRAITS[0], "documents": 16_000, "base.batch_size": 32, "rows": 100, "spare": 4.0,
    "student.batch_size": 50,
}  # fmt: skip
SMOKE_TEXT = "2 short runs, to see that it works"


class Pipeline(NamedTuple):
    """All that is done on a run: its jobs one after the other, each with the rows of those before it.

    A job's plan may be given rows of an earlier one, whose name these have. With `rows`, the first run's data sets are
    among the values, for files of their own.
    """

    jobs: Mapping[str, Job]  # the main one first; the others' values come under their names
    rows: bool = False
    name: str = MAIN

    def runs(self, asked: int) -> int:
        """Return how many runs there are: as many as are asked for."""
        return asked

    def work(self) -> float:
        """Estimate the seconds of a run."""
        return sum(_work(job, _stage_seconds(job.config)) for job in self.jobs.values())

    def compute(self, chunk: Chunk, _dataset: Any, advance: Advance) -> Columns:
        """Train and measure some runs; those that fill the devices are left out."""
        keys, written, measured = lm.run_keys(chunk.seed, chunk.runs()), Rows(), {}
        for name, job in self.jobs.items():
            seconds = _stage_seconds(job.config)

            def tell(stage: str, done: int, name: str = name, seconds: Mapping[str, float] = seconds) -> None:
                advance(done * seconds[stage], stage if name == MAIN else f"{name}: {stage}")

            measured[name], rows = train_and_measure(job, keys, tell, written)
            written |= {source._replace(job=name): lists for source, lists in rows.items() if not source.job}
        further = [{name: measured[name][i] for name in self.jobs if name != MAIN} for i in range(chunk.count)]
        columns: Columns = {"run": [{**measured[MAIN][i], **further[i]} for i in range(chunk.count)]}
        if self.rows:
            shown = written.items() if chunk.first == 0 else ()
            sets = {
                str(name._replace(job="")): lm.as_text(lists[0].tokens) for name, lists in shown if name.job == MAIN
            }
            columns["rows"] = [sets, *[{}] * (chunk.count - 1)]
        return columns


def train_and_measure(
    job: Job, keys: lm.RunKeys, on_stage: pipeline.OnStage, given: Rows
) -> tuple[list[dict[str, Any]], Rows]:
    """Train and measure some runs of a job: one dict for each, and the rows of every source."""
    run_keys = keys._replace(init=fold_in(keys.init, job.init)) if job.init else keys
    trained = lm.train(job.config, job.plan, run_keys, on_stage=on_stage, given=given)
    values = job.measure(trained)
    on_stage("evaluation", len(job.plan.models()))
    return values, trained.rows


def gather(values: Values) -> list[dict[str, Any]]:
    """Return what a summary is given: one dict for each run."""
    return values[MAIN]["run"]


FIRST = ("parts", "traits", "rows", "width", "temperature")
SIDE = Side(lm.LMConfig, chunk_text="about 1 GB each", title="language model", gather=gather, first=FIRST)


def count_parameters(config: LMConfig) -> int:
    """Count a model's parameters from its shapes; nothing is computed."""
    shapes = jax.eval_shape(make_transformer(config).init, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def _stage_seconds(config: LMConfig) -> dict[str, float]:
    """Estimate seconds on one core: of a base's or student's epoch, a source, a model that is measured."""
    times = {"base": 6.0, "teachers": 0.02, "samples": 0.5, "students": 0.4, "evaluation": 0.2}  # the default settings'
    usual, size = LMConfig(), count_parameters(config) / PARAMETERS
    rows = config.rows / usual.rows
    often = {"base": config.documents / usual.documents, "students": rows, "samples": rows * (1 + config.spare) / 1.2}
    return {stage: each * size * often.get(stage, 1.0) for stage, each in times.items()}


def _work(job: Job, seconds: Mapping[str, float]) -> float:
    """Estimate the seconds of a run."""
    counts = {**job.plan.epochs(job.config), "evaluation": len(job.plan.models())}
    return sum(seconds[stage] * count for stage, count in counts.items())
