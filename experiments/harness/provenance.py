"""Where a result came from: sources, versions, devices, switches."""

import ast
import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("subliminal_toy", "theory", "experiments")  # whose code computes
HARNESS = "experiments.harness.cli"  # what every command imports
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")
USUAL_SWITCHES = {  # JAX's switches that change numbers, or their last bits, as committed results have them
    "jax_allow_f16_reductions": True,
    "jax_compiler_enable_remat_pass": True,
    "jax_default_device": None,
    "jax_default_matmul_precision": None,
    "jax_default_prng_impl": "threefry2x32",
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
    "jax_enable_custom_prng": False,
    "jax_enable_x64": False,
    "jax_exec_time_optimization_effort": 0.0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_memory_fitting_effort": 0.0,
    "jax_numpy_dtype_promotion": "standard",
    "jax_optimization_level": "UNKNOWN",
    "jax_random_seed_offset": 0,
    "jax_softmax_custom_jvp": False,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_threefry_partitionable": True,
    "jax_use_direct_linearize": True,
    "jax_use_shardy_partitioner": True,
}
_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE")


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
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return platform.processor() or platform.machine()


def switches() -> dict[str, Any]:
    """What the user's environment, or JAX's own config, changes about the numbers: {name: value}; mostly nothing."""
    config = {name: _plain(getattr(jax.config, name, usual)) for name, usual in USUAL_SWITCHES.items()}
    flags = {name: " ".join(shorten(os.environ.get(name, "").split())) for name in _VARIABLES}
    return {name: value for name, value in config.items() if value != USUAL_SWITCHES[name]} | {
        name: value for name, value in flags.items() if value
    }


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def fingerprint(module: str, **what: Any) -> str:
    """A short hash of everything that a chunk's numbers depend on: code, devices, and what else is given."""
    return _hash([what, device(), code_version(module)])


def code_version(module: str) -> str:
    """A short hash of sources, libraries and switches: processes that share a command's work must have the same."""
    return _hash([versions(), switches(), _code_of(module, ROOT)])


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


@functools.cache
def _code_of(module: str, root: Path) -> dict[str, str]:
    return {name: _hash(code(path.read_bytes())) for name, path in sources(module, root).items()}


@functools.cache
def sources(module: str, root: Path) -> dict[str, Path]:
    """The files of `PACKAGES` below `root` that importing `module` and the harness can run, by their modules' names.

    Whatever else lies there (notes, half an idea, what a file system adds) has no part in the results.
    """
    found: dict[str, Path] = {}
    waiting = {module, f"{module}.__main__", HARNESS}
    while waiting:
        name = waiting.pop()
        stem = root.joinpath(*name.split("."))
        path = next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)
        if path is not None:
            found[name] = path
            more = {name.rpartition(".")[0], *_imports(ast.parse(path.read_bytes()))}
            waiting |= {other for other in more if other.split(".")[0] in PACKAGES and other not in found}
    return dict(sorted(found.items()))


def _imports(tree: ast.Module) -> Iterator[str]:
    """All modules that a file may import, wherever in it; `from a import b` may mean a module b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def code(source: str | bytes) -> str:
    """A Python source without what computes nothing: comments, layout, docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _git(*arguments: str) -> str | None:
    """What git says of the repository whose top is our root; None if there is none, whatever lies around us."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _commit() -> str | None:
    return _git("rev-parse", "HEAD") if _git("rev-parse", "--show-prefix") == "" else None


def _dirty(module: str) -> bool | None:
    """Whether a source that runs is not the commit's."""
    files = [path.relative_to(ROOT).as_posix() for path in sources(module, ROOT).values()]
    changes = _git("status", "--porcelain", "--untracked-files=all", "--ignored", "--", *files)
    return None if changes is None else bool(changes)


class Provenance:
    """Where a result came from; made when the command starts, so that `dirty` speaks of the code that ran."""

    def __init__(self, module: str, arguments: list[str]) -> None:
        self._clock = time.monotonic()
        commit = _commit()
        self._record = {
            "git": commit,
            "dirty": _dirty(module) if commit else None,
            "command": shlex.join(["python", "-m", module, *shorten(arguments)]),
            "versions": versions(),
            "switches": switches(),
            "device": device(),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }

    def record(self, earlier: float = 0.0, devices: Iterable[str] = ()) -> dict[str, Any]:
        """The provenance with the seconds since the start, and those that earlier starts took for what was saved.

        `devices`: what computed, if it was not this process.
        """
        seconds, used = round(time.monotonic() - self._clock + earlier, 1), "; ".join(sorted(devices))
        return {**self._record, "device": used or self._record["device"], "seconds": seconds}


def shorten(arguments: Iterable[str]) -> list[str]:
    """Arguments whose absolute paths are their part inside the project, else their last one.

    Results name no folder of a machine, whether a path stands alone or as in `--out=/place/x`.
    """
    return [f"{flag}{_shortened(value)}" for flag, value in map(_split, arguments)]


def _split(argument: str) -> tuple[str, str]:
    flag = re.match(r"--?[\w-]+=", argument)
    return (flag[0], argument[flag.end() :]) if flag else ("", argument)


def _shortened(text: str) -> str:
    path = Path(text)
    with contextlib.suppress(RuntimeError):  # "~nobody"
        path = path.expanduser()
    if not path.is_absolute():
        return text
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
