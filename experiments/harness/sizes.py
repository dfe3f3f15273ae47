"""What a run will need, known from its shapes before it is tried: parameters, memory, time. All of it is rough."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from subliminal_toy import machine

FLOAT = 4  # bytes
STARTED = 0.6e9  # bytes of a process that has imported and compiled everything
STATE = 7  # copies of the parameters in training: start, now, next, gradient, Adam's two means and the update
FLOPS = 6  # of a parameter in training, for each example or token: forward, and backward twice
RATE = 100e9  # FLOP/s of one device, a core with AVX-512; other machines differ by a small factor
COMPILING = 10.0  # seconds
MOST_SECONDS = 100 * 86_400.0


class Size(NamedTuple):
    """What an experiment needs."""

    models: Sequence[tuple[str, int, int]]  # what, how many in a run, parameters of each
    memory: float  # bytes at the same time
    seconds: float  # of all runs


def total(parts: Sequence[Size]) -> Size:
    """What several need that are computed one after the other."""
    models = [model for size in parts for model in size.models]
    return Size(models, max(size.memory for size in parts), sum(size.seconds for size in parts))


def count_parameters(init: Callable[[jax.Array], Any]) -> int:
    """Parameters of the tree that `init(key)` makes; nothing is computed."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))))


def machine_memory() -> float:
    """Bytes that the devices have: a CPU's are the machine's."""
    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        return sum((device.memory_stats() or {}).get("bytes_limit", math.inf) for device in devices)
    return machine.total_memory()


def memory_text(size: float) -> str:
    """Bytes in words."""
    return f"{size / 1e9:,.1f} GB"


def time_text(seconds: float) -> str:
    """Seconds in words."""
    days = seconds / 86_400
    return f"{days:,.0f} days" if days > 2 else f"{seconds / 60:,.1f} minutes"


def lacking(size: Size) -> str | None:
    """What this machine, or a user's patience, has too little of; None if neither."""
    if size.memory > machine_memory():
        return f"about {memory_text(size.memory)} of memory where there are {memory_text(machine_memory())}"
    if size.seconds > MOST_SECONDS:
        return f"about {time_text(size.seconds)}, more than the {time_text(MOST_SECONDS)} that are tried"
    return None
