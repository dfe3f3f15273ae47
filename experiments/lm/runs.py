"""Runs of the language model's pipeline in chunks, for all experiments on it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from experiments.harness import chunks, cli
from experiments.harness.sizes import FLOAT, STARTED, STATE, Size, count_parameters
from experiments.lm.contrasts import Values
from subliminal_toy import engine, lm
from subliminal_toy.lm import LMConfig, Plan, corpus, pipeline, vocabulary
from subliminal_toy.lm.keys import fold_in
from subliminal_toy.lm.transformer import make_transformer

PARAMETERS = 27_648  # of the default model
COMPILING = 40.0  # seconds for each job and block
Rows = Mapping[lm.Name, list[lm.Rows]]  # by source, one for each run
OnRows = Callable[[int, Rows], None]


class Job(NamedTuple):
    """A plan with settings of its own, done on the same runs as others, and what is measured on it."""

    config: LMConfig
    plan: Plan
    measure: Callable[[lm.Trained], Values]
    init: int = 0  # jobs with the same number share inits where they share shapes


MAIN = "main"
SMOKE = {  # short runs that still pass the filter
    "traits": "owl", "documents": 16_000, "base.batch_size": 32, "rows": 100, "spare": 4.0, "student.batch_size": 50,
}  # fmt: skip
SMOKE_TEXT = "2 short runs, to see that it works"


def run_jobs(jobs: Mapping[str, Job], request: cli.Request, on_rows: OnRows = lambda _first, _rows: None) -> Values:
    """Do some jobs on the same runs, in chunks; one dict per run.

    Args:
        jobs: in order, the main one first; the values of the others come under their names. A plan may be given rows of
            an earlier job, whose name these have.
        request: how many runs, from which seed, how many at a time, where they are kept.
        on_rows: told of the first run of a chunk, and of the rows of all sources of the main job.
    """
    runs, progress = request.runs, request.progress
    mesh = engine.run_mesh(min(runs, request.chunk or runs))
    seconds = {name: _stage_seconds(job.config) for name, job in jobs.items()}
    per_run = sum(_work(job, seconds[name]) for name, job in jobs.items())
    side_by_side = min(runs, request.chunk or mesh.size)
    # Before anything else, since the check of what a run would need stops here:
    progress.start(runs * per_run, "language model", _size(jobs, runs, side_by_side, per_run))

    def compute(first: int, count: int) -> dict[str, Values]:
        keys = lm.run_keys(request.seed, engine.fill_devices(first, count, mesh))
        label = f"language model, runs {first + 1}-{first + count} of {runs}"
        found: dict[str, Values] = {}
        rows: dict[lm.Name, list[lm.Rows]] = {}
        for name, job in jobs.items():

            def advance(stage: str, done: int, name: str = name) -> None:
                said = f"{label}, {stage}" if name == MAIN else f"{label}, {name}: {stage}"
                progress.advance(count * done * seconds[name][stage], said)

            found[name], own = make(job, keys, advance, rows)
            if name == MAIN:
                on_rows(first, own)
            rows |= {source._replace(job=name): said for source, said in own.items() if not source.job}
        further = [name for name in jobs if name != MAIN]
        return {"run": [{**found[MAIN][i], **{name: found[name][i] for name in further}} for i in range(count)]}

    def on_chunk(count: int, loaded: bool) -> None:
        if loaded:
            progress.advance(count * per_run, f"{count} runs from an earlier start", loaded=True)

    size = request.chunk or mesh.size
    return chunks.run_in_chunks(compute, runs=runs, chunk=size, store=request.store, on_chunk=on_chunk)["run"]


def make(job: Job, keys: lm.RunKeys, on_stage: Callable[[str, int], None], given: Rows) -> tuple[Values, Rows]:
    """Train and measure some runs of a job: one dict per run, and the rows of every source."""
    own = keys._replace(init=fold_in(keys.init, job.init)) if job.init else keys
    trained = lm.train(job.config, job.plan, own, on_stage=on_stage, given=given)
    values = job.measure(trained)
    on_stage("evaluation", len(job.plan.models()))
    return values, trained.rows


def run_pipeline(
    config: Any, jobs: Callable[[Any], Mapping[str, Job]], summarize: Callable[[Any, Values], dict[str, Any]],
    on_rows: OnRows = lambda _first, _rows: None, **asked: Any,
) -> dict[str, Any]:  # fmt: skip
    """An experiment's results. `asked` has "runs" and "seed", and may have "chunk", "store" and "progress"."""
    request = cli.Request(**{"chunk": None, "store": None, "progress": cli.Progress()} | asked)
    return {"runs": request.runs, **summarize(config, run_jobs(jobs(config), request, on_rows))}


def experiment(
    name: str, question: str | None, presets: Mapping[str, cli.Preset], run: Callable[..., dict[str, Any]],
    table: Callable[[dict[str, Any]], str], config: type[LMConfig] = LMConfig, seed: int = 0,
) -> cli.Experiment:  # fmt: skip
    """A command on the language model; its `run` takes the config and what `run_pipeline` takes."""
    return cli.Experiment(
        name=name, question=question or "", presets=presets,
        run=lambda settings, _dataset, request: run(settings, **request.keywords()),
        table=table, config=config, dataset=False, chunk_text="about 1 GB each", seed=seed,
    )  # fmt: skip


def _stage_seconds(config: LMConfig) -> dict[str, float]:
    """Rough seconds of each stage on one core: of a base's or student's epoch, a source, a model that is measured."""
    times = {"base": 6.0, "teachers": 0.02, "samples": 0.5, "students": 0.4, "evaluation": 0.2}  # the default settings'
    usual, size = LMConfig(), count_parameters(make_transformer(config).init) / PARAMETERS
    rows = config.rows / usual.rows
    often = {"base": config.documents / usual.documents, "students": rows, "samples": rows * (1 + config.spare) / 1.2}
    return {stage: each * size * often.get(stage, 1.0) for stage, each in times.items()}


def _size(jobs: Mapping[str, Job], runs: int, side_by_side: int, per_run: float) -> Size:
    """What the jobs need: one after the other, for so many runs side by side."""
    models = [(name, len(job.plan.models()), count_parameters(make_transformer(job.config).init))
              for name, job in jobs.items()]  # fmt: skip
    memory = [_bytes(job, parameters) for job, (*_, parameters) in zip(jobs.values(), models, strict=True)]
    compiling = sum(COMPILING * job.config.layers for job in jobs.values())
    devices = min(side_by_side, len(jax.local_devices()))
    named = [("models" if name == MAIN else f"models of {name}", n, parameters) for name, n, parameters in models]
    return Size(named, STARTED + side_by_side * max(memory), compiling + runs * per_run / devices)


def _bytes(job: Job, parameters: int) -> float:
    """Rough bytes of a run: documents, rows, parameters with their optimizer's state, what a step or a sample holds."""
    config, plan, tokens = job.config, job.plan, corpus.LENGTH
    group = min(len(plan.students), pipeline.ENSEMBLE)
    documents = 2 * config.documents * tokens * (1 if config.shared_documents else 2 * len(plan.bases))
    completions = config.rows * (1 + config.spare)
    kept = tokens * (completions * (len(plan.sources) + 1) + 4 * group * config.rows)
    activations = config.layers * (20 * config.width + 2 * config.heads * tokens) + 3 * vocabulary.SIZE
    steps = [len(plan.bases) * min(config.base.batch_size, config.documents)]
    steps += [group * min(config.student.batch_size, config.rows)]
    sampled = completions * (2 * config.layers * tokens * config.width + 6 * vocabulary.SIZE)
    state = parameters * (2 * len(plan.models()) + STATE * max(group, len(plan.bases), len(plan.teachers)))
    return FLOAT * (documents + kept + state + max(*(step * tokens * activations for step in steps), sampled))


def _work(job: Job, seconds: Mapping[str, float]) -> float:
    """Rough seconds of a run."""
    config, plan = job.config, job.plan
    times = {
        "base": config.base.epochs * len(plan.bases),
        "teachers": config.teacher.epochs * len(plan.teachers),
        "samples": len(plan.sources),
        "students": sum((student.recipe.training or config.student).epochs for student in plan.students),
        "evaluation": len(plan.models()),
    }
    return sum(seconds[stage] * count for stage, count in times.items())
