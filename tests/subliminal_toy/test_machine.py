"""The memory that counts: the machine's, or the least that a control group or Slurm leaves."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from subliminal_toy import machine

GB = 1e9
NONE = "9223372036854771712"  # version 1's word for no limit


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 GB, 48 of them free, outside Slurm."""
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * GB, available=48 * GB))
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
CASES = {
    "no control groups": ({}, 64, 48),
    "version 2, no limit": ({"proc/self/cgroup": "0::/a\n", f"{V2}/a/memory.max": "max\n"}, 64, 48),
    "version 2": (
        {"proc/self/cgroup": "0::/a\n", f"{V2}/a/memory.max": "2000000000\n", f"{V2}/a/memory.current": "500000000\n"},
        2, 1.5,
    ),
    "version 2, the outer one counts": (
        {"proc/self/cgroup": "0::/a/b\n", f"{V2}/a/memory.max": "3000000000\n",
         f"{V2}/a/memory.current": "2900000000\n", f"{V2}/a/memory.stat": "anon 5\ninactive_file 1900000000\n",
         f"{V2}/a/b/memory.max": "max\n"},
        3, 2,
    ),
    "version 2, a container that sees its own group at the top": (
        {"proc/self/cgroup": "0::/docker/x\n", f"{V2}/memory.max": "4000000000\n"}, 4, 4,
    ),
    "version 1, beside other controllers": (
        {"proc/self/cgroup": "9:cpu,cpuacct:/c\n5:memory:/a/b\n0::/\n", f"{V1}/memory.limit_in_bytes": NONE,
         f"{V1}/a/memory.limit_in_bytes": "2100000000", f"{V1}/a/memory.usage_in_bytes": "100000000",
         f"{V1}/a/b/memory.limit_in_bytes": NONE, f"{V1}/c/memory.limit_in_bytes": "1"},
        2.1, 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "total", "free"), CASES.values(), ids=CASES)
def test_the_smallest_limit_counts(files: dict[str, str], total: float, free: float, tmp_path: Path) -> None:
    root = write(tmp_path, files)
    assert machine.total_memory(root) == total * GB
    assert machine.free_memory(root) == free * GB


@pytest.mark.parametrize(
    ("variables", "gib"),
    [
        ({"SLURM_MEM_PER_NODE": "8192"}, 8),
        ({"SLURM_MEM_PER_NODE": "0"}, None),
        ({"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "4"}, 4),
    ],
)
def test_slurm_s_limit_counts(
    variables: dict[str, str], gib: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert machine.total_memory(tmp_path) == (gib * 2**30 if gib else 64 * GB)
    assert machine.free_memory(tmp_path) == (gib * 2**30 if gib else 48 * GB)
