"""How fast is the experiment here, in PyTorch by the authors' procedure, and in PyTorch written to be fast?

The published settings (Config's defaults) on this machine, each contender in a process of its own, A B C A B C ...; the
machine's float32 matrix-product rates at these shapes beside them, peak memory, and where the time goes.

    python -m experiments.benchmarks.benchmark            about 35 minutes on 2 cores that do nothing else
    python -m experiments.benchmarks.benchmark --explore  and other designs of the inner step: 10 minutes more
"""

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from experiments.benchmarks.workers import Work, be_worker, flops_per_sample, step_products
from subliminal_toy import machine
from subliminal_toy.mnist import data
from subliminal_toy.mnist.config import Config
from subliminal_toy.settings import with_settings

ROOT = Path(__file__).resolve().parent.parent.parent
CONTENDERS = {
    "jax": "this project: JAX, runs on one device per core, a run's four students share batches and targets",
    "torch_authors": "PyTorch, the authors' procedure: batched products over all models, teacher in every step",
    "torch_expert": "PyTorch, written to be fast: torch_peers.Design's defaults",
}
FLAGS = ("xla_cpu_multi_thread_eigen=false", "xla_cpu_use_onednn=true", "xla_cpu_prefer_vector_width=512",
    "xla_cpu_enable_fast_math=true", "xla_cpu_enable_concurrency_optimized_scheduler=false",
    "xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT")  # fmt: skip
DESIGNS: dict[str, list[dict[str, Any]]] = {
    "jax": [{}, {"devices": 1}, {"chunk": 2}, {"chunk": 4}, {"models": "looped"}, {"models": "wide"}, {"flatten": True},
            {"unroll": 2}, {"unroll": 4}, *({"flags": flag} for flag in FLAGS), {}],
    "torch": [{}, {"workers": 1}, {"adam": "foreach"}, {"backward": "autograd"},
              {"backward": "autograd", "compiled": True}, {"backward": "autograd", "layout": "batch_major"},
              {"backward": "autograd", "layout": "batch_major", "workers": 1},
              {"backward": "autograd", "layout": "looped"}, {}],
}  # fmt: skip


def ratio_interval(slower: Sequence[float], faster: Sequence[float]) -> dict[str, Any]:
    """Slower / faster of each repeat, their geometric mean, and the 95% t interval of the log ratios (None for one)."""
    from subliminal_toy.statistics import t_interval

    ratios = np.array(slower) / np.array(faster)
    mean, ci95 = t_interval(np.log(ratios))
    return {"ratio": ratios.tolist(), "mean": float(np.exp(mean)), "ci95": ci95 and np.exp(ci95).tolist()}


def require_torch() -> None:
    """End with one line if PyTorch, the benchmarks' peer, is missing."""
    from experiments.harness import cli

    if importlib.util.find_spec("torch") is None:
        cli.fail("the benchmark's peer, PyTorch, is missing: pip install 'subliminal-toy[bench]'", cli.BAD_INPUT)


class WorkerError(RuntimeError):
    """A worker process failed; the message is its last words."""


def run_worker(work: Work, module: str = "experiments.benchmarks.benchmark") -> dict[str, Any]:
    """Do the work in a new process of a command's module, killed if this one is interrupted; adds `process_seconds`."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    flags = " ".join(
        filter(None, [os.environ.get("XLA_FLAGS", ""), *(f"--{f}" for f in [work.design.get("flags")] if f)])
    )
    command = [sys.executable, "-m", module, "--worker", json.dumps(dataclasses.asdict(work))]
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
        env={**os.environ, "PYTHONPATH": path, "XLA_FLAGS": flags},
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


def _plan(runs: int, repeats: int, explore: bool, work: Work) -> list[tuple[str, Work, float]]:
    """What to measure, in order: (kind, work, rough seconds on 2 cores, for the time left)."""
    plan: list[tuple[str, Work, float]] = []
    for _ in range(repeats):
        for name, seconds in (("jax", 13), ("torch_authors", 22), ("torch_expert", 13)):
            plan.append((name, replace(work, worker=name, runs=runs), 8 + runs * seconds))
        plan += [("gemm", replace(work, worker="gemm_jax", design=design), 8) for design in ({}, {"devices": 1})]
        plan.append(("gemm", replace(work, worker="gemm_torch"), 8))
    short = {**work.settings, "teacher.epochs": 1, "student.epochs": 1}
    plan += [("memory", replace(work, worker="jax", runs=n, settings=short), 8 + 3.5 * n) for n in (runs, 10 * runs)]
    plan.append(("profile", replace(work, worker="profile"), 30))
    if explore:
        few = {**work.settings, "student.epochs": 3}
        for library, designs in DESIGNS.items():
            designed = [replace(work, worker=f"epochs_{library}", settings=few, design=design) for design in designs]
            plan += [("designs", step, 20 * step.design.get("chunk", 1)) for step in designed]
    return plan


def run(
    *, runs: int = 10, repeats: int = 3, seed: int = 0, explore: bool = False, pixels: str = "mnist",
    settings: dict[str, Any] | None = None, say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Measure everything.

    Args:
        runs: of the experiment, in each contender.
        repeats: of A B C.
        seed: of all randomness.
        explore: measure other designs, too.
        pixels: "mnist", or "random" arrays of its shape.
        settings: over the published ones, as in `config.with_settings`.
        say: is told what is running.

    Returns:
        `contenders`, `ratios`, `gemm`, `memory`, `profile` and, if asked for, `designs`; times in seconds.

    Raises:
        WorkerError: a process failed.
    """
    work = Work("", seed=seed, pixels=pixels, settings=settings or {})
    plan, began, done = _plan(runs, repeats, explore, work), time.perf_counter(), 0.0
    total, load = sum(seconds for *_, seconds in plan), psutil.getloadavg()[0]
    measured: list[tuple[str, Work, dict[str, Any]]] = []
    for i, (kind, step, seconds) in enumerate(plan):
        left = (total - done) * ((time.perf_counter() - began) / done if done else 1)
        say(f"[{i + 1}/{len(plan)}] {kind}: {step.worker} {step.design or ''}, about {left / 60:.0f} min left")
        try:
            measured.append((kind, step, run_worker(step)))
        except WorkerError as error:
            if kind != "designs":
                raise
            measured.append((kind, step, {"error": str(error)}))
        done += seconds
    results = {
        "pixels": pixels,
        "runs": runs,
        "repeats": repeats,
        "cores": machine.count_cores(),
        "load_before": load,
    }
    return {**results, **summarize(measured, work.config, runs)}


def summarize(measured: list[tuple[str, Work, dict[str, Any]]], config: Config, runs: int) -> dict[str, Any]:
    """The results from what the workers measured: [(kind, work, its answer)]."""
    of = {kind: [answer for k, _, answer in measured if k == kind] for kind in {k for k, *_ in measured}}
    contenders = {name: _contender(name, of[name]) for name in CONTENDERS}
    ours = contenders["jax"]
    ratios = [
        {"name": f"{name} / jax", "what": what, **ratio_interval(peer[f"{what}_seconds"], ours[f"{what}_seconds"])}
        for what in ("training", "process") for name, peer in contenders.items() if name != "jax"
    ]  # fmt: skip
    gemm = _gemm(of["gemm"], ours["student_epoch_seconds"], config)
    memory = [
        {"runs": work.runs, "epochs": 1, "peak_bytes": answer["peak_bytes"]}
        for k, work, answer in measured
        if k == "memory"
    ]
    designs = [
        {"library": work.worker.removeprefix("epochs_"), "design": work.design, **_design(answer)}
        for kind, work, answer in measured if kind == "designs"
    ]  # fmt: skip
    results = {
        "contenders": list(contenders.values()), "ratios": ratios, "gemm": gemm,
        "memory": [{"runs": runs, "epochs": config.student.epochs, "peak_bytes": max(ours["peak_bytes"])}, *memory],
        "profile": _shares(of["profile"][0], ours, gemm["xla_gflops"], config, runs),
    }  # fmt: skip
    return {**results, "designs": designs} if designs else results


def _contender(name: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """One entry per repeat; epochs as the median of each repeat's, in seconds per model (None if just one)."""
    columns: dict[str, Any] = {key: [answer[key] for answer in answers] for key in (
        "training_seconds", "process_seconds", "compile_seconds", "peak_bytes")}  # fmt: skip
    for key in ("teacher_epoch_seconds", "student_epoch_seconds"):
        columns[key] = [median(answer[key]) if answer[key] else None for answer in answers]
    return {"name": name, "what": CONTENDERS[name], **columns, "accuracy": [answer["accuracy"] for answer in answers]}


def _design(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        return answer
    return {
        "student_epoch_seconds": median(answer["seconds"]),
        "seconds": answer["seconds"],
        "peak_bytes": answer["peak_bytes"],
    }


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
    parts: dict[str, Any], ours: dict[str, Any], gflops: float, config: Config, runs: int
) -> list[dict[str, Any]]:
    """Seconds of a run's parts and their shares of its training time; what no part explains is the rest."""
    images = 60_000 * config.teacher.epochs + 4 * config.noise_images * config.student.epochs
    seconds = {"matrix products of training, at XLA's rate": flops_per_sample(config, 784) * images / gflops / 1e9}
    seconds |= {name: value for name, value in parts.items() if name not in ("process_seconds", "peak_bytes")}
    total = median(ours["training_seconds"]) / runs
    seconds["rest: activations, losses, small products, starting steps"] = total - sum(seconds.values())
    return [{"part": name, "seconds_per_run": s, "share": s / total} for name, s in seconds.items()]


def _options(arguments: list[str]) -> argparse.Namespace:
    from experiments.harness import flags

    parser = flags.Parser(
        prog="python -m experiments.benchmarks.benchmark", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add, count = parser.add_argument, flags.whole_number(1, flags.MAX_RUNS)
    add("--runs", type=count, default=10, metavar="N", help="runs in each contender (default: 10)")
    add("--repeats", type=count, default=3, metavar="N", help="times that all contenders run (default: 3)")
    seed_text = "seed of all randomness (default: 0)"
    add("--seed", type=flags.whole_number(0, flags.MAX_SEED), default=0, metavar="S", help=seed_text)
    flags.add_output(parser, parser)
    add("--explore", action="store_true", help="measure other designs of the inner step, too, for results.designs")
    add(
        "--settings", type=lambda text: dict(json.loads(text)), default={}, help=argparse.SUPPRESS
    )  # for trying it out: {"student.epochs": 2}
    parser.set_defaults(out=Path("results"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command, and its worker processes."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--worker"]:
        return be_worker(arguments[1])
    from experiments.harness import cli, files
    from experiments.harness.progress import say
    from experiments.harness.provenance import Provenance
    from experiments.harness.quiet_interrupt import INTERRUPTED

    options = _options(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        config = with_settings(Config(), options.settings)
    except ValueError as error:
        cli.fail(str(error), cli.BAD_INPUT)
    asked = {name: getattr(options, name) for name in ("runs", "repeats", "seed", "explore")}
    if options.dry_run:
        return _print_plan(asked)
    require_torch()
    cli.check_out(options.out)
    path, config_record = options.out / "benchmark.json", {**asked, **dataclasses.asdict(config)}
    if not options.force:
        cli.check_overwriting(path, config_record, dataclasses.asdict(Config()))
    try:
        provenance = Provenance("experiments.benchmarks.benchmark", arguments)
        results = run(**asked, pixels=_find_pixels(say), settings=options.settings, say=say)
        record = provenance.record()
        record["versions"]["torch"] = importlib.metadata.version("torch")
        document = {"experiment": "benchmark", "config": config_record, "provenance": record, "results": results}
        files.write_json(path, document)
    except KeyboardInterrupt:
        say("stopped; nothing was written")
        return INTERRUPTED
    except WorkerError as error:
        cli.fail(str(error), cli.FAILED)
    except OSError as error:
        cli.fail(f"cannot write to {options.out}: {error.strerror}", cli.FAILED)
    print(f"{table(document)}\n\nwrote {path}")
    return 0


def table(document: dict[str, Any]) -> str:
    """The results as Markdown."""
    from experiments.benchmarks import table as benchmark_table

    return benchmark_table.table(document["results"])


def _print_plan(asked: dict[str, Any]) -> int:
    plan = _plan(asked["runs"], asked["repeats"], asked["explore"], Work("", seed=asked["seed"]))
    minutes = sum(seconds for *_, seconds in plan) / 60
    print(f"processes: {len(plan)}, one after the other\nmemory: about 3 GB\ntime: about {minutes:,.0f} minutes")
    return 0


def _find_pixels(say: Callable[[str], None]) -> str:
    try:
        data.load_dataset("mnist")
    except data.DataError as error:
        say(f"no MNIST here ({error}): random arrays of its shape, which train as fast")
        return "random"
    return "mnist"


if __name__ == "__main__":
    sys.exit(main())
