"""How fast is the experiment here, in PyTorch by the authors' procedure, and in PyTorch written to be fast?

The published settings on MNIST, each contender in a process of its own, A B C A B C ...; the machine's float32
matrix-product rates at these shapes beside them, peak memory, and where the time goes. Without MNIST random images of
its shape are used, which train as fast.

    python -m experiments.benchmarks.benchmark
    python -m experiments.benchmarks.benchmark --preset paper
    python -m experiments.benchmarks.benchmark --runs 1 --contender-runs 2
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import psutil

from experiments.benchmarks import table as tables
from experiments.benchmarks.workers import Work, be_worker, flops_per_sample, step_products
from experiments.harness import cli
from experiments.harness.chunks import MAIN, Chunk, Columns, Values
from experiments.harness.experiment import Advance, Side
from experiments.harness.progress import say
from subliminal_toy import engine, machine
from subliminal_toy.mnist import data
from subliminal_toy.mnist.config import Config
from subliminal_toy.settings import setting, setting_fields, setting_value
from subliminal_toy.statistics import t_interval

ROOT = Path(__file__).resolve().parent.parent.parent
CONTENDERS = {
    "jax": "this project: JAX, runs on one device per core, a run's four students share batches and targets",
    "torch_authors": "PyTorch, the authors' procedure: batched products over all models, teacher in every step",
    "torch_expert": "PyTorch, written to be fast: torch_peers.run_expert",
}
RATES: list[tuple[str, dict[str, Any]]] = [("gemm_jax", {}), ("gemm_jax", {"devices": 1}), ("gemm_torch", {})]
PARTS = "memory and profile"


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(Config):
    """The settings of the MNIST experiment, and how many runs of it each contender computes."""

    contender_runs: int = setting(10, "runs of the experiment in each contender", unit="runs", low=1, high=1000)


TINY = {"contender_runs": 1, "teacher.epochs": 2, "student.epochs": 2, "noise_images": 4096}
PRESETS = {
    "smoke": cli.Preset(1, TINY, "1 repeat of almost nothing, to see that it works"),
    "default": cli.Preset(3, {}, "3 repeats of 10 runs"),
    "paper": cli.Preset(10, {}, "10 repeats of 10 runs"),
}


class Contest(NamedTuple):
    """All contenders and the rates of matrix products, one after the other."""

    config: BenchmarkConfig
    name: str = MAIN

    def runs(self, asked: int) -> int:
        """As many repeats as are asked for."""
        return asked

    def work(self) -> float:
        """In repeats."""
        return 1.0

    def compute(self, chunk: Chunk, _dataset: Any, advance: Advance) -> Columns:
        """A repeat: every contender's answer, and the load of the machine before it. RunFailedError: one failed."""
        require_torch()
        columns: Columns = {"load": [psutil.getloadavg()[0]]}
        for name in CONTENDERS:
            columns[name] = [_answer(self.config, chunk, name, runs=self.config.contender_runs)]
            advance(0.9 / len(CONTENDERS), name)
        columns["gemm"] = [[_answer(self.config, chunk, name, design=design) for name, design in RATES]]
        advance(0.1, "matrix products")
        return columns


class Parts(NamedTuple):
    """Peak memory with few and many runs, and where the time goes: measured once."""

    config: BenchmarkConfig
    name: str = PARTS

    def runs(self, _asked: int) -> int:
        """One."""
        return 1

    def work(self) -> float:
        """In repeats of the contest."""
        return 0.5

    def compute(self, chunk: Chunk, _dataset: Any, advance: Advance) -> Columns:
        """Measure both. RunFailedError: a worker failed."""
        runs, short = self.config.contender_runs, {"teacher.epochs": 1, "student.epochs": 1}
        memory = [
            {"runs": n, "epochs": 1, "peak_bytes": _answer(self.config, chunk, "jax", short, runs=n)["peak_bytes"]}
            for n in (runs, 10 * runs)
        ]
        advance(0.4, "memory")
        profile = _answer(self.config, chunk, "profile")
        advance(0.1, "profile")
        return {"memory": [memory], "profile": [profile]}


def _answer(
    config: BenchmarkConfig, chunk: Chunk, worker: str, changes: dict[str, Any] | None = None, **work: Any
) -> dict[str, Any]:
    settings = {name: setting_value(config, name) for name in setting_fields(Config)} | (changes or {})
    try:
        return run_worker(Work(worker, seed=chunk.seed, pixels=find_pixels(), settings=settings, **work))
    except WorkerError as error:
        raise engine.RunFailedError(str(error)) from error


@functools.cache
def find_pixels() -> str:
    """Return "mnist", or "random" where there is none."""
    try:
        data.load_dataset("mnist")
    except data.DataError as error:
        say(f"no MNIST here ({error}): random arrays of its shape, which train as fast")
        return "random"
    return "mnist"


def require_torch() -> None:
    """End with one line if PyTorch, the benchmarks' peer, is missing."""
    if importlib.util.find_spec("torch") is None:
        cli.fail("the benchmark's peer, PyTorch, is missing: pip install 'subliminal-toy[bench]'", cli.BAD_INPUT)


class WorkerError(RuntimeError):
    """A worker process failed; the message is its last words."""


def run_worker(work: Work, module: str = "experiments.benchmarks.benchmark") -> dict[str, Any]:
    """Do the work in a new process of a command's module, killed if this one is interrupted; adds `process_seconds`."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", module, "--worker", json.dumps(dataclasses.asdict(work))]
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
        env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        try:
            out, errors = process.communicate()
        except BaseException:
            process.kill()
            process.wait()
            raise
    if process.returncode:
        words = (errors.strip().splitlines() or ["no message"])[-1]
        raise WorkerError(
            f"the worker {work.worker} {work.design or ''} ended with status {process.returncode}: {words}"
        )
    return {**json.loads(out.splitlines()[-1]), "process_seconds": time.perf_counter() - began}


def jobs(config: BenchmarkConfig) -> list[Contest | Parts]:
    """What is measured."""
    return [Contest(config), Parts(config)]


def summarize(config: BenchmarkConfig, values: Values) -> dict[str, Any]:
    """The results from what the workers measured.

    Returns:
        `{"pixels", "runs", "repeats", "cores", "load_before", "torch", "contenders", "ratios", "gemm", "memory",
        "profile"}`: times in seconds, `runs` those of each contender.
    """
    answers, (memory,), (profile,) = values[MAIN], values[PARTS]["memory"], values[PARTS]["profile"]
    contenders = {name: _contender(name, answers[name]) for name in CONTENDERS}
    ours = contenders["jax"]
    ratios = [
        {"name": f"{name} / jax", "what": what, **ratio_interval(peer[f"{what}_seconds"], ours[f"{what}_seconds"])}
        for what in ("training", "process") for name, peer in contenders.items() if name != "jax"
    ]  # fmt: skip
    gemm = _gemm([rate for repeat in answers["gemm"] for rate in repeat], ours["student_epoch_seconds"], config)
    longest = {"runs": config.contender_runs, "epochs": config.student.epochs, "peak_bytes": max(ours["peak_bytes"])}
    return {
        "pixels": find_pixels(), "runs": config.contender_runs, "repeats": len(answers["load"]),
        "cores": machine.count_cores(), "load_before": answers["load"][0],
        "torch": importlib.metadata.version("torch"), "contenders": list(contenders.values()), "ratios": ratios,
        "gemm": gemm, "memory": [longest, *memory], "profile": _shares(profile, ours, gemm["xla_gflops"], config),
    }  # fmt: skip


def ratio_interval(slower: Sequence[float], faster: Sequence[float]) -> dict[str, Any]:
    """Slower / faster of each repeat, their geometric mean, and the 95% t interval of the log ratios (None for one)."""
    ratios = np.array(slower) / np.array(faster)
    mean, ci95 = t_interval(np.log(ratios))
    return {"ratio": ratios.tolist(), "mean": float(np.exp(mean)), "ci95": ci95 and np.exp(ci95).tolist()}


def _contender(name: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """One entry per repeat; epochs as the median of each repeat's, in seconds per model (None if just one)."""
    columns: dict[str, Any] = {key: [answer[key] for answer in answers] for key in (
        "training_seconds", "process_seconds", "compile_seconds", "peak_bytes")}  # fmt: skip
    for key in ("teacher_epoch_seconds", "student_epoch_seconds"):
        columns[key] = [median(answer[key]) if answer[key] else None for answer in answers]
    return {"name": name, "what": CONTENDERS[name], **columns, "accuracy": [answer["accuracy"] for answer in answers]}


def _gemm(answers: list[dict[str, Any]], student_epochs: list[float | None], config: Config) -> dict[str, Any]:
    """Matrix-product rates in GFLOP/s, and the students' training as a fraction of them (medians over the repeats)."""
    libraries: dict[str, dict[str, list[float]]] = {"xla": {}, "blas": {}}
    for answer in answers:
        for name, rate in answer.items():
            if name not in ("process_seconds", "peak_bytes"):
                libraries["xla" if "device" in name else "blas"].setdefault(name, []).append(rate)
    best = {f"{library}_gflops": max(median(rates) for rates in ways.values()) for library, ways in libraries.items()}
    work = flops_per_sample(config, 784) * config.noise_images / 1e9
    rates = [work / seconds for seconds in student_epochs if seconds]
    fractions = (
        {f"fraction_of_{library}": median(rates) / best[f"{library}_gflops"] for library in libraries} if rates else {}
    )
    return {
        "products": step_products(config, 784), "flops_per_sample": flops_per_sample(config, 784), **libraries, **best,
        "student_gflops": rates, **fractions,
    }  # fmt: skip


def _shares(
    parts: dict[str, Any], ours: dict[str, Any], gflops: float, config: BenchmarkConfig
) -> list[dict[str, Any]]:
    """Seconds of a run's parts and their shares of its training time; what no part explains is the rest."""
    images = 60_000 * config.teacher.epochs + 4 * config.noise_images * config.student.epochs
    seconds = {"matrix products of training, at XLA's rate": flops_per_sample(config, 784) * images / gflops / 1e9}
    seconds |= {name: value for name, value in parts.items() if name not in ("process_seconds", "peak_bytes")}
    total = median(ours["training_seconds"]) / config.contender_runs
    seconds["rest: activations, losses, small products, starting steps"] = total - sum(seconds.values())
    return [{"part": name, "seconds_per_run": s, "share": s / total} for name, s in seconds.items()]


def table(document: dict[str, Any]) -> str:
    """The results as Markdown."""
    return tables.table(document["results"])


EXPERIMENT = cli.Experiment(
    "benchmark",
    __doc__,
    PRESETS,
    jobs,
    summarize,
    table,
    Side(BenchmarkConfig, title="benchmark", clustered=False, together=1, first=("contender_runs",)),
    figure=False,
    runs_text="repeats of all contenders",
)
run = EXPERIMENT.run

if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        sys.exit(be_worker(sys.argv[2]))
    cli.main(EXPERIMENT)
