"""How fast are the language model's trainings and sampler here, beside the same in PyTorch and beside matrix products?

Tokens per second of the pipeline's own functions, of a plain PyTorch and of one written to be faster, each in a process
of its own, A B C D A B C D ...; D is XLA's rate for the matrix products alone, at these very shapes. Compiling is timed
apart.

    python -m experiments.benchmarks.benchmark_lm
    python -m experiments.benchmarks.benchmark_lm --preset paper
    python -m experiments.benchmarks.benchmark_lm --runs 2
"""

import importlib.metadata
import sys
from statistics import median
from typing import Any, NamedTuple

import jax
import psutil

from experiments.benchmarks import benchmark
from experiments.benchmarks.lm_workers import SOURCES, STUDENTS, TASKS, WORKERS, tokens
from experiments.benchmarks.workers import Work, be_worker
from experiments.harness import cli, tables
from experiments.harness.chunks import MAIN, Chunk, Columns, Values
from experiments.harness.experiment import Advance, Side
from subliminal_toy import engine, machine
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import TWO_BASES
from subliminal_toy.settings import setting_values

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
        1,
        {"documents": 256, "rows": 100, "student.epochs": 1},
        "1 repeat of almost nothing, to see that it works",
    ),
    "default": cli.Preset(5, {"documents": 6_400, "student.epochs": 1}, "5 repeats, 1 epoch, a 16th of the base's"),
    "paper": cli.Preset(10, {}, "10 repeats with the pipeline's sizes"),
}


class Contest(NamedTuple):
    """All contenders, one after the other, on the data of each repeat."""

    config: LMConfig
    side_by_side: int  # runs of the pipeline: one per device
    name: str = MAIN

    def runs(self, asked: int) -> int:
        """As many repeats as are asked for."""
        return asked

    def work(self) -> float:
        """In repeats."""
        return 1.0

    def compute(self, chunk: Chunk, _dataset: Any, advance: Advance) -> Columns:
        """A repeat: every contender's answer, and the load of the machine before it. RunFailedError: one failed."""
        benchmark.require_torch()
        answers: Columns = {"load": [psutil.getloadavg()[0]]}
        for name, (_, worker, design) in CONTENDERS.items():
            own = {**design, "first": chunk.first * self.side_by_side}
            work = Work(worker, self.side_by_side, chunk.seed, settings=setting_values(self.config), design=own)
            try:
                answers[name] = [benchmark.run_worker(work, "experiments.benchmarks.benchmark_lm")]
            except benchmark.WorkerError as error:
                raise engine.RunFailedError(str(error)) from error
            advance(1 / len(CONTENDERS), name)
        return answers


def jobs(config: LMConfig) -> list[Contest]:
    """What is measured."""
    return [Contest(config, len(jax.local_devices()))]


def summarize(config: LMConfig, values: Values) -> dict[str, Any]:
    """The results from what the workers measured.

    Returns:
        `{"repeats", "side_by_side", "cores", "load_before", "torch", "tokens" {task: tokens}, "contenders", "ratios",
        "limit"}`; the tasks are those of `lm_workers`, times are in seconds.
    """
    measured, side_by_side = dict(values[MAIN]), len(jax.local_devices())
    load = measured.pop("load")
    return {
        "repeats": len(load), "side_by_side": side_by_side, "students": STUDENTS, "sources": SOURCES,
        "cores": machine.count_cores(), "load_before": load[0], "torch": importlib.metadata.version("torch"),
        **compare(measured, tokens(config, side_by_side)),
    }  # fmt: skip


def compare(measured: dict[str, list[dict[str, Any]]], sizes: dict[str, int]) -> dict[str, Any]:
    """Speeds, ratios of seconds, and shares of the limit.

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


EXPERIMENT = cli.Experiment(
    "benchmark_lm",
    __doc__,
    PRESETS,
    jobs,
    summarize,
    table,
    Side(LMConfig, title="benchmark_lm", clustered=False, together=1, first=("documents", "rows", "width")),
    LMConfig,
    figure=False,
    runs_text="repeats, each with data of its own",
)
run = EXPERIMENT.run

if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        sys.exit(be_worker(sys.argv[2], WORKERS))
    cli.main(EXPERIMENT)
