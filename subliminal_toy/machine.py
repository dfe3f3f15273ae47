"""What systems tell in different ways: cores, memory."""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil


def count_cores() -> int:
    """Cores that this process may use, where the system says so; else those that the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1  # the first is new in Python 3.13


def total_memory(root: Path = Path("/")) -> float:
    """Bytes that this process may use: the machine's, or the least that a control group or Slurm allows."""
    groups = [limit for limit, _ in _control_groups(root)]
    return min(psutil.virtual_memory().total, _slurm_limit(), *groups)


def free_memory(root: Path = Path("/")) -> float:
    """Bytes that this process may take now: what is left of the machine's and of every control group's."""
    groups = [max(0.0, limit - used) for limit, used in _control_groups(root)]
    return min(psutil.virtual_memory().available, _slurm_limit(), *groups)


def _control_groups(root: Path) -> Iterator[tuple[float, float]]:
    """Limit and use, in bytes, of each control group that holds this process, versions 1 and 2, up to the outermost.

    A container may name the groups of its host: those that it does not see are passed over.
    """
    for line in _words(root / "proc/self/cgroup", "\n"):
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folder = root / ("sys/fs/cgroup/memory" if controllers else "sys/fs/cgroup")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        for inner in (PurePosixPath(group), *PurePosixPath(group).parents):
            here = folder / str(inner).strip("/")
            limit, used = (_words(here / name) for name in names)
            if limit and limit[0] != "max":
                cache = dict(line.split(" ", 1) for line in _words(here / "memory.stat", "\n"))
                used_bytes = float(used[0]) if used else 0.0
                yield float(limit[0]), used_bytes - float(cache.get("inactive_file", 0))


def _slurm_limit() -> float:
    """Bytes that Slurm gives to this job on this node, in megabytes in its variables; 0 is all."""
    node, core = (os.environ.get(f"SLURM_MEM_PER_{name}", "") for name in ("NODE", "CPU"))
    cores = os.environ.get("SLURM_CPUS_ON_NODE", "1")
    megabytes = [int(node)] if node.isdigit() else [int(core) * int(cores)] if (core + cores).isdigit() and core else []
    return megabytes[0] * 2**20 if any(megabytes) else math.inf


def _words(path: Path, separator: str | None = None) -> list[str]:
    """Read the parts of a small file; none if it cannot be read."""
    try:
        return path.read_text("utf-8").strip().split(separator)
    except OSError:
        return []


def peak_memory() -> int:
    """This process's peak resident memory, in bytes."""
    try:  # before getrusage, whose number is inherited from the parent
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        if sys.platform == "win32":
            return psutil.Process().memory_info().peak_wset
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
