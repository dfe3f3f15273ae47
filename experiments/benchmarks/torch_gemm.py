"""PyTorch's matrix-product rate, the best BLAS here, at the shapes of one model's step."""

import time

import torch

from experiments.benchmarks import torch_peers
from experiments.benchmarks.workers import Product
from subliminal_toy.machine import count_cores


def gemm_seconds(products: list[Product], *, calls: int = 5, repeats: int = 8) -> dict[str, float]:
    """Seconds of the matrix products of one model's step: with all threads, and one thread per core at the same time.

    Args:
        products: shapes of both factors, and which are to be transposed ("nn", "tn" or "nt").
        calls: the shortest of so many counts, as for XLA.
        repeats: products in a call.

    Returns:
        seconds per model; with one thread per core there are as many models as cores.
    """

    def total(_: int) -> float:
        seconds = 0.0
        for left, right, transposed in products:
            a, b = torch.randn(left), torch.randn(right)
            a, b = a.T if transposed[0] == "t" else a, b.T if transposed[1] == "t" else b
            out, times = a @ b, []
            for _ in range(calls):
                began = time.perf_counter()
                for _ in range(repeats):
                    torch.mm(a, b, out=out)
                times.append((time.perf_counter() - began) / repeats)
            seconds += min(times)
        return seconds

    result = {}
    for name, workers in (("all threads", 1), ("one thread per core", count_cores())):
        with torch_peers.worker_threads(workers) as pool:
            list(pool.map(total, range(workers)))  # warm
            result[name] = max(pool.map(total, range(workers))) / workers
    return result
