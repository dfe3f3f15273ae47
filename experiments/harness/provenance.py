"""Where a result came from: sources, versions, devices."""

import ast
import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

ROOT = Path(__file__).resolve().parent.parent.parent
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")
PACKAGES = ("subliminal_toy", "theory", "experiments")  # whose code computes
_SWITCHES = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that the numbers depend on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


def device() -> str:
    """The devices in words, such as '2 x cpu (AMD EPYC 9654)'."""
    devices = jax.local_devices()
    kind = devices[0].device_kind
    return f"{len(devices)} x {kind}" + (f" ({_processor()})" if devices[0].platform == "cpu" else "")


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return platform.processor() or platform.machine()


def fingerprint(**what: Any) -> str:
    """A short hash of everything that a chunk's numbers depend on: sources, versions, devices and JAX's switches."""
    switches = {name: getattr(jax.config, name) for name in _SWITCHES} | {"XLA_FLAGS": os.environ.get("XLA_FLAGS")}
    parts = {"what": what, "versions": versions(), "device": device(), "switches": switches}
    text = json.dumps([parts, _sources(ROOT)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_version() -> str:
    """A short hash of the sources and the libraries: processes that share work must have the same."""
    return hashlib.sha256(json.dumps([versions(), _sources(ROOT)]).encode()).hexdigest()[:16]


@functools.cache
def _sources(root: Path) -> str:
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    return hashlib.sha256("".join(code(path.read_text()) for path in paths).encode()).hexdigest()


def code(source: str) -> str:
    """A Python source without what computes nothing: comments, layout, docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


_WRITTEN = tuple(f":(exclude){path}" for path in ("experiments/results", "figures/*.png", "*.svg", "*.md", "*.ipynb"))


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


class Provenance:
    """Where a result came from; made when the command starts, so that `dirty` speaks of the code that ran.

    Results and pictures that other commands wrote are no code.
    """

    def __init__(self, module: str, arguments: list[str]) -> None:
        self._clock = time.monotonic()
        commit = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *_WRITTEN) if commit else None
        self._record = {
            "git": commit,
            "dirty": bool(changes) if commit else None,
            "command": " ".join(["python", "-m", module, *(_relative(argument) for argument in arguments)]),
            "versions": versions(),
            "device": device(),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }

    def record(self, earlier: float = 0.0, devices: Iterable[str] = ()) -> dict[str, Any]:
        """The provenance with the seconds since the start, and those that earlier starts took for what was saved.

        `devices`: what computed, if it was not this process.
        """
        seconds, used = round(time.monotonic() - self._clock + earlier, 1), "; ".join(sorted(devices))
        return {**self._record, "device": used or self._record["device"], "seconds": seconds}


def _relative(argument: str) -> str:
    """An absolute path as its part inside the project, else its last one: results name no folder of a machine."""
    path = Path(argument)
    if not path.is_absolute():
        return argument
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
