"""What systems tell in different ways: cores, memory."""

import math
import os
import sys
from pathlib import Path

import psutil


def count_cores() -> int:
    """Cores that this process may use, where the system says so; else those that the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1  # the first is new in Python 3.13


def total_memory() -> float:
    """Bytes of the machine's memory, or what its container may use of it."""
    try:
        limit = float(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # not Linux, or "max"
        limit = math.inf
    return min(limit, psutil.virtual_memory().total)


def peak_memory() -> int:
    """This process's peak resident memory, in bytes."""
    try:  # before getrusage, whose number is inherited from the parent
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        if sys.platform == "win32":
            return psutil.Process().memory_info().peak_wset
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
