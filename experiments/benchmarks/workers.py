"""What the benchmark's worker processes measure, each in a process of its own: `be_worker(json)`.

All of them import JAX, PyTorch's too, which is in their peaks of memory and in the seconds of a whole process.
"""

import collections
import dataclasses
import functools
import itertools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.harness.chunks import chunk_ranges
from subliminal_toy import engine, machine, mnist
from subliminal_toy.mnist import data, losses, models, noise
from subliminal_toy.mnist.config import Config
from subliminal_toy.settings import with_settings
from subliminal_toy.training import make_optimizer

Product = tuple[
    tuple[int, ...], tuple[int, ...], str
]  # shapes of both factors, and which are transposed: "nn", "nt", "tn"


@dataclasses.dataclass(frozen=True)
class Work:
    """What a worker process is asked to do; travels as JSON."""

    worker: str  # a name in WORKERS
    runs: int = 1
    seed: int = 0
    pixels: str = "mnist"  # or "random"
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)  # over the published ones
    design: dict[str, Any] = dataclasses.field(default_factory=dict)  # how the worker does it, where it has a choice

    @property
    def config(self) -> Config:
        """The settings of the experiment."""
        return with_settings(Config(), self.settings)


def step_products(config: Config, pixels: int) -> list[Product]:
    """The large matrix products of one model's step."""
    batch, sizes = config.student.batch_size, [pixels, *[config.width] * config.depth]
    products: list[Product] = []
    for i, (d_in, d_out) in enumerate(itertools.pairwise(sizes)):
        products += [((batch, d_in), (d_in, d_out), "nn"), ((batch, d_in), (batch, d_out), "tn")]
        products += [((batch, d_out), (d_in, d_out), "nt")] if i else []
    return products


def flops_per_sample(config: Config, pixels: int) -> int:
    """Necessary FLOPs of forward and backward pass; the first layer's input needs no gradient.

    Example:
        >>> flops_per_sample(Config(), 784)
        1216000
    """
    sizes = [pixels, *[config.width] * config.depth, config.logits]
    layers = [2 * d_in * d_out for d_in, d_out in itertools.pairwise(sizes)]
    return 3 * sum(layers) - layers[0]


def product_flops(products: Sequence[Product]) -> int:
    """FLOPs of matrix products; leading axes are batches."""
    return sum(2 * math.prod(a) * (b[-2] if how[1] == "t" else b[-1]) for a, b, how in products)


def _arrays(pixels: str) -> data.Dataset:
    """MNIST, or random arrays of its shape: the speed does not depend on the pixels."""
    if pixels == "mnist":
        return data.load_dataset("mnist")
    rng = np.random.default_rng(0)
    images = [2 * rng.random((n, 784), np.float32) - 1 for n in (60_000, 10_000)]
    labels = [rng.integers(10, size=len(part), dtype=np.int32) for part in images]
    return data.Dataset("mnist", images[0], labels[0], images[1], labels[1], (28, 28), "random")


def _train_jax(work: Work) -> dict[str, Any]:
    """This project's experiment; tracing and compiling are timed apart."""
    engine.use_cpu_cores()
    config, dataset, mesh = work.config, _arrays(work.pixels), engine.run_mesh(work.runs)
    epochs: dict[str, list[float]] = {"teacher": [], "students": []}
    accuracy: dict[str, list[float]] = collections.defaultdict(list)
    compiling, began = watch_compiling(), time.perf_counter()
    for first, count in chunk_ranges(work.runs, mesh.size):
        marks: list[float] = []

        def on_epoch(phase: str, passes: float, i: int, count: int = count, marks: list[float] = marks) -> None:
            marks.append(time.perf_counter())
            if i > 0:  # the first one may compile
                epochs[phase].append((marks[-1] - marks[-2]) / (count * passes))

        keys = mnist.run_keys(work.seed, engine.fill_devices(first, count, mesh))
        found = mnist.accuracies(mnist.train(config, dataset, mnist.STUDENTS, keys, on_epoch=on_epoch), dataset)
        for name, column in found.items():
            accuracy[name] += np.asarray(column)[:count].tolist()
    seconds, compile_seconds = time.perf_counter() - began, covered(compiling)
    return {
        "training_seconds": seconds - compile_seconds, "compile_seconds": compile_seconds,
        "teacher_epoch_seconds": epochs["teacher"], "student_epoch_seconds": epochs["students"],
        "accuracy": {name: float(np.mean(column)) for name, column in accuracy.items()},
    }  # fmt: skip


def watch_compiling() -> list[tuple[float, float]]:
    """A list to which JAX will append start and end, in seconds, of whatever it traces or compiles."""
    intervals: list[tuple[float, float]] = []

    def on_duration(event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            intervals.append((time.perf_counter() - duration_secs, time.perf_counter()))

    jax.monitoring.register_event_duration_secs_listener(on_duration)
    return intervals


def covered(intervals: Sequence[tuple[float, float]]) -> float:
    """Total length of the union of intervals (start, end)."""
    total, reached = 0.0, -np.inf
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return float(total)


def _train_torch(work: Work) -> dict[str, Any]:
    from experiments.benchmarks import torch_peers

    dataset = _arrays(work.pixels)
    began = time.perf_counter()
    outcome = torch_peers.PEERS[work.worker](work.config, dataset, runs=work.runs, seed=work.seed)
    return {
        "training_seconds": time.perf_counter() - began, "compile_seconds": 0.0,
        "teacher_epoch_seconds": outcome.teacher_epochs, "student_epoch_seconds": outcome.student_epochs,
        "accuracy": {name: float(np.mean(column)) for name, column in outcome.accuracy.items()},
    }  # fmt: skip


def _gemm_torch(work: Work) -> dict[str, float]:
    from experiments.benchmarks import torch_gemm

    products = step_products(work.config, 784)
    return {name: product_flops(products) / s / 1e9 for name, s in torch_gemm.gemm_seconds(products).items()}


def _gemm_jax(work: Work) -> dict[str, float]:
    """GFLOP/s of the step's products."""
    mesh = _jax_devices(work)
    products = step_products(work.config, 784)
    name = "one device per core" if mesh.size > 1 else "one device, all threads"
    return {name: product_flops(products) / xla_seconds(products, mesh) / 1e9}


def xla_seconds(products: Sequence[Product], mesh: Mesh) -> float:
    """Seconds of matrix products, over the number of devices that all do them; eight of each in a call if not large."""
    seconds, rng = 0.0, np.random.default_rng(0)
    for (*shapes, how), times in collections.Counter(products).items():
        copies = min(8, max(1, 2**23 // max(math.prod(shape) for shape in shapes)))

        def multiply(lefts: list, rights: list, how: str = how) -> list:
            turned = [[m.mT if t == "t" else m for m in side] for t, side in zip(how, (lefts, rights), strict=True)]
            return [a @ b for a, b in zip(*turned, strict=True)]

        sides = [
            [engine.shard_runs(rng.random((mesh.size, *shape), np.float32), mesh) for _ in range(copies)]
            for shape in shapes
        ]
        seconds += times * best_seconds(engine.over_runs(multiply, mesh), *sides) / copies / mesh.size
    return seconds


def _jax_devices(work: Work) -> Mesh:
    """A mesh of `devices` devices of the CPU, by default the engine's choice."""
    if "devices" in work.design:
        jax.config.update("jax_num_cpu_devices", work.design["devices"])
    else:
        engine.use_cpu_cores()
    return engine.run_mesh()


def best_seconds(function: Callable, *args: Any, calls: int = 5) -> float:
    """The shortest of a few calls; the first one, which compiles, is not timed."""
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - began)
    return min(times)


def _profile(work: Work) -> dict[str, float]:
    """Seconds per run of what is not the matrix products of training, part by part, at the real shapes."""
    mesh = _jax_devices(work)
    config, dataset = work.config, _arrays(work.pixels)
    model, optimizer = models.make_mlp(config, 784), make_optimizer(config.student, config.noise_images)
    keys = engine.shard_runs(jax.random.split(jax.random.key(work.seed), mesh.size), mesh)
    params = engine.over_runs(lambda key: jax.vmap(model.init)(jax.random.split(key, 4)), mesh)(keys)
    one = engine.over_runs(model.init, mesh)(keys)
    images, test = (
        engine.replicate(part, mesh) for part in (dataset.train_images, (dataset.test_images, dataset.test_labels))
    )
    make_noise = engine.over_runs(lambda key: noise.make_noise(config, (28, 28), jnp.zeros((1, 784)), key=key), mesh)
    steps = -(-config.noise_images // config.student.batch_size)

    def label(net: Any, x: Any) -> Any:
        return jax.lax.map(functools.partial(model.apply, net), x, batch_size=1000)

    def gather(x: Any, key: Any) -> Any:
        rows = jax.random.permutation(key, len(x))[: len(x) // 1024 * 1024].reshape(-1, 1024)
        return jax.lax.scan(lambda _, i: (x.at[i].get(mode="promise_in_bounds"), None), x[:1024], rows)[0]

    def optimize(net: Any) -> Any:
        update = jax.vmap(optimizer.update)

        def step(carry: Any, _: None) -> tuple:
            updates, state = update(net, *carry[1:], carry[0])
            return (jax.tree.map(jnp.add, carry[0], updates), state), None

        return jax.lax.scan(step, (net, jax.vmap(optimizer.init)(net)), length=steps)[0]

    def test_all(x: Any, y: Any, net: Any) -> Any:
        return jax.vmap(lambda p: losses.accuracy(model.apply(p, x), y, config.classes))(net)

    inputs = make_noise(keys)
    parts = {
        "noise": (1, make_noise, keys),
        "targets": (1, engine.over_runs(label, mesh), one, inputs),
        "gather, teacher": (config.teacher.epochs, engine.over_runs(gather, mesh, shared=1), images, keys),
        "gather, students": (config.student.epochs, engine.over_runs(gather, mesh), inputs, keys),
        "optimizer": (config.student.epochs + config.teacher.epochs / 4, engine.over_runs(optimize, mesh), params),
        "evaluation": (6 / 4, engine.over_runs(test_all, mesh, shared=2), *test, params),
    }
    return {name: times * best_seconds(*call) / mesh.size for name, (times, *call) in parts.items()}


WORKERS: dict[str, Callable[[Work], dict[str, Any]]] = {
    "jax": _train_jax, "torch_authors": _train_torch, "torch_expert": _train_torch, "gemm_jax": _gemm_jax,
    "gemm_torch": _gemm_torch, "profile": _profile,
}  # fmt: skip


def be_worker(text: str, workers: Mapping[str, Callable[[Work], dict[str, Any]]] = WORKERS) -> int:
    """Do the `Work` of this JSON, print what was measured and this process's peak memory (bytes), return the status."""
    work = Work(**json.loads(text))
    print(json.dumps({**workers[work.worker](work), "peak_bytes": machine.peak_memory()}))
    return 0
