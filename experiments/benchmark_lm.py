"""How fast are the language model's trainings and sampler here, beside the same in PyTorch and beside matrix products?

Tokens per second of the pipeline's own functions, of a plain PyTorch and of one written to be faster, each in a process
of its own, A B C D A B C D ...; D is XLA's rate for the matrix products alone, at these very shapes. Compiling is timed
apart.

    python -m experiments.benchmark_lm                 5 repeats with short trainings
    python -m experiments.benchmark_lm --preset paper  10 repeats with the pipeline's own sizes
"""

if __name__ == "__main__":
    import experiments.harness.quiet_interrupt  # noqa: F401 - its import is its effect

import importlib.metadata
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

import jax
import psutil

from experiments import benchmark
from experiments.benchmarks.lm_workers import SOURCES, STUDENTS, TASKS, WORKERS, as_settings, tokens
from experiments.benchmarks.workers import Work, be_worker
from experiments.harness import chunks, cli, tables
from experiments.harness.progress import Plan
from experiments.harness.sizes import STARTED, Size, count_parameters
from subliminal_toy import engine, machine
from subliminal_toy.lm import corpus
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import TWO_BASES
from subliminal_toy.lm.transformer import make_transformer

CONTENDERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jax": ("this project: the pipeline's own functions, one run per core", "jax", {}),
    "torch_plain": (
        "PyTorch as is usual: one model after the other with all threads, torch.multinomial",
        "torch", {"workers": 1, "draw": "multinomial"},
    ),
    "torch_expert": (
        "PyTorch written to be faster: one model per core with a thread each, tokens drawn from the inverse CDF",
        "torch", {"workers": 0, "draw": "inverse_cdf"},
    ),
    "limit": ("the tasks' matrix products alone, at XLA's rate for these shapes", "gemm", {}),
}  # fmt: skip
OURS, *PEERS, LIMIT = CONTENDERS
PRESETS = {
    "smoke": cli.Preset(
        1, {"documents": 256, "rows": 100, "student.epochs": 1}, "1 repeat of almost nothing, to see that it works"
    ),
    "default": cli.Preset(5, {"documents": 6_400, "student.epochs": 1}, "5 repeats, 1 epoch, a 16th of the base's"),
    "paper": cli.Preset(10, {}, "10 repeats with the pipeline's sizes"),
}


def run(
    config: LMConfig | None = None, *, runs: int = 5, seed: int = 0, chunk: int | None = None,
    store: chunks.ChunkStore | None = None, progress: cli.Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure everything.

    Args:
        config: the settings.
        runs: repeats, each with data of its own.
        seed: of all randomness.
        chunk: runs of the pipeline side by side; default one per device.
        store: keeps finished repeats.
        progress: told of every contender's end.

    Returns:
        `{"repeats", "side_by_side", "cores", "load_before", "torch", "tokens" {task: tokens}, "contenders", "ratios",
        "limit"}`; the tasks are those of `benchmark_lm_workers`, times are in seconds.

    Raises:
        RunFailedError: a process failed.
    """
    config, progress = config or LMConfig(), progress or cli.Progress()
    side_by_side, load = chunk or len(jax.local_devices()), psutil.getloadavg()[0]
    side_by_side = len(engine.fill_devices(0, side_by_side, engine.run_mesh(side_by_side)))

    def measure(repeat: int, _count: int) -> dict[str, list[dict[str, Any]]]:
        answers = {}
        for name, (_, worker, design) in CONTENDERS.items():
            work = Work(
                worker, side_by_side, seed, settings=as_settings(config),
                design={**design, "first": repeat * side_by_side},
            )  # fmt: skip
            try:
                answers[name] = [benchmark.run_worker(work, "experiments.benchmark_lm")]
            except benchmark.WorkerError as error:
                raise engine.RunFailedError(str(error)) from error
            progress.advance(1 / len(CONTENDERS), f"repeat {repeat + 1}, {name}")
        return answers

    def on_repeat(_count: int, loaded: bool) -> None:
        if loaded:
            progress.advance(1, "loaded", loaded=True)

    if not isinstance(progress, Plan):  # a plan needs no peer
        benchmark.require_torch()
    progress.start(runs, "benchmark_lm", _size(config, runs, side_by_side))
    measured = chunks.run_in_chunks(measure, runs=runs, chunk=1, store=store, on_chunk=on_repeat)
    return {
        "repeats": runs, "side_by_side": side_by_side, "students": STUDENTS, "sources": SOURCES,
        "cores": machine.count_cores(), "load_before": load, "torch": importlib.metadata.version("torch"),
        **summarize(measured, tokens(config, side_by_side)),
    }  # fmt: skip


def _size(config: LMConfig, runs: int, side_by_side: int) -> Size:
    """What it needs, rough: the contenders follow each other, each with all that runs side by side train on."""
    parameters = count_parameters(make_transformer(config).init)
    trained = 2 * config.documents * config.base.epochs + STUDENTS * config.rows * config.student.epochs
    seconds = 18 + 3e-5 * side_by_side * parameters / 27_648 * (trained + SOURCES * config.rows)
    memory = STARTED + side_by_side * corpus.LENGTH * (20.0 * config.documents + 500.0 * config.rows)
    return Size([("models", 2 + STUDENTS, parameters)], memory, runs * len(CONTENDERS) * seconds)


def summarize(measured: dict[str, list[dict[str, Any]]], sizes: dict[str, int]) -> dict[str, Any]:
    """The results from what the workers measured.

    Args:
        measured: {contender: [answer of each repeat]}.
        sizes: tokens of each task.
    """
    seconds = {
        name: {task: [answer["seconds"][task] for answer in answers] for task in TASKS}
        for name, answers in measured.items()
    }
    contenders = [
        {
            "name": name, "what": CONTENDERS[name][0], "task": task, "seconds": seconds[name][task],
            "tokens_per_second": [sizes[task] / s for s in seconds[name][task]],
            **{key: [answer[key].get(task) for answer in answers] for key in ("compile_seconds", "loss")},
            "peak_bytes": [answer["peak_bytes"] for answer in answers],
        }
        for name, answers in measured.items() if name != LIMIT for task in TASKS
    ]  # fmt: skip
    fastest = {task: min(PEERS, key=lambda peer: median(seconds[peer][task])) for task in TASKS}
    ratios = [
        {"name": peer, "task": task, "fastest_peer": peer == fastest[task],
         **benchmark.ratio_interval(seconds[peer][task], seconds[OURS][task])}
        for task in TASKS for peer in PEERS
    ]  # fmt: skip
    flops = {task: measured[LIMIT][0]["flops"][task] for task in TASKS}
    limit = [
        {"task": task, "flops": flops[task], "seconds": seconds[LIMIT][task],
         "gflops": [flops[task] / s / 1e9 for s in seconds[LIMIT][task]],
         "tokens_per_second": [sizes[task] / s for s in seconds[LIMIT][task]],
         "share": benchmark.ratio_interval(seconds[LIMIT][task], seconds[OURS][task])}
        for task in TASKS
    ]  # fmt: skip
    return {"tokens": sizes, "contenders": contenders, "ratios": ratios, "limit": limit}


def table(document: dict[str, Any]) -> str:
    """Speeds, ratios of seconds, shares of the limit, and who the contenders are, as Markdown."""
    results = document["results"]
    rows = [
        (f"{row['task']}, {row['name']}", f"{median(row['tokens_per_second']):,.0f}", f"{median(row['seconds']):.2f}",
         f"{median(row['compile_seconds']):.1f}", f"{max(row['peak_bytes']) / 2**30:.2f}",
         "-" if None in row["loss"] else f"{median(row['loss']):.3f}")
        for row in sorted(results["contenders"], key=lambda row: TASKS.index(row["task"]))
    ]  # fmt: skip
    size = f"{results['side_by_side']} runs of {len(TWO_BASES)} bases, {STUDENTS} students, {SOURCES} sources"
    head = (f"{size}; medians of {results['repeats']}", "tokens/s", "s", "compile s", "peak GiB", "loss")
    ratios = [
        (f"{row['task']}, {row['name']} / jax{' (the faster one)' * row['fastest_peer']}",
         *tables.interval_text(row["mean"], row["ci95"], 2))
        for row in results["ratios"]
    ]  # fmt: skip
    shares = [
        (row["task"], f"{median(row['gflops']):.0f}", f"{median(row['tokens_per_second']):,.0f}",
         *tables.interval_text(row["share"]["mean"], row["share"]["ci95"], 2))
        for row in results["limit"]
    ]  # fmt: skip
    parts = [
        tables.markdown_table(head, rows),
        tables.markdown_table(("ratio of seconds", "geometric mean", "95% CI (t)"), ratios),
        tables.markdown_table(
            ("matrix products alone, at XLA's rate", "GFLOP/s", "tokens/s", "jax' share of it", "95% CI (t)"), shares
        ),
    ]
    who = [f"- {name}: {what}" for name, (what, *_) in CONTENDERS.items()]
    return "\n\n".join([*parts, "\n".join(who) + "\n"])


def _run(config: LMConfig, _dataset: None, request: cli.Request) -> dict[str, Any]:
    return run(config, **request.keywords())


EXPERIMENT = cli.Experiment(
    name="benchmark_lm",
    question=__doc__ or "",
    presets=PRESETS,
    run=_run,
    table=table,
    figure=False,
    config=LMConfig,
    dataset=False,
    chunk_text="by every contender",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command, and its worker processes."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--worker"]:
        return be_worker(arguments[1], WORKERS)
    return cli.main(EXPERIMENT, arguments)


if __name__ == "__main__":
    sys.exit(main())
