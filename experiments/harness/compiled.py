"""Compiled programs are kept between starts, by JAX, in a folder of the user's: a second start is quicker.

JAX's own limit of the folder's size needs a package more, locks, and is at a loss after a kill; here old files go at
the start. A file that a kill or a full disk left half-written is compiled anew at every start until it goes.
"""

import contextlib
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import jax

from experiments.harness.files import check_writable

LARGEST = 2**30  # bytes of the folder
OLDEST = 30 * 86_400.0  # seconds
SHORTEST = 0.05  # seconds of compiling that are worth a file
# Without them small programs compile faster; JAX 0.11.2 has no such option any more, and refuses an unknown one.
EMITTERS_OPTION = "xla_cpu_use_fusion_emitters"


def has_emitters_option() -> bool:
    """Whether this JAX knows EMITTERS_OPTION."""
    return jax.__version_info__ < (0, 11, 1)


def fast_options() -> dict[str, Any]:
    """Compiler options of `jax.jit` for programs that run in less time than they compile."""
    return {"xla_backend_optimization_level": 0} | ({EMITTERS_OPTION: False} if has_emitters_option() else {})


def folder() -> Path:
    """Where they are kept unless JAX_COMPILATION_CACHE_DIR says otherwise."""
    usual = {"win32": os.environ.get("LOCALAPPDATA"), "darwin": "~/Library/Caches"}.get(sys.platform)
    return Path(usual or os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "subliminal-toy"


def keep() -> None:
    """From now on JAX keeps what it compiles: where the user says ("": nowhere), else in `folder()` if it can be."""
    if getattr(jax.config, "jax_compilation_cache_dir") is not None:  # noqa: B009 - mypy does not know it
        return
    try:
        path = folder()
        check_writable(path)
        forget_old(path)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)


def forget_old(path: Path) -> None:
    """Remove the oldest programs: those of long ago, and those that are more than the folder may hold."""
    held, now = 0, time.time()
    known = [(program.stat(), program) for program in path.glob("*-cache")]
    for about, program in sorted(known, key=lambda one: -one[0].st_mtime):
        held += about.st_size
        if held > LARGEST or now - about.st_mtime > OLDEST:
            with contextlib.suppress(OSError):  # another process was faster, or has it open
                program.unlink()
