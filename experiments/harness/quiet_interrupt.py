"""For a command before its slow imports: from then on Ctrl-C ends it with status 130 and no traceback."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

from experiments.harness.streams import INTERRUPTED as INTERRUPTED
from experiments.harness.streams import fill_missing, say

AGAIN = 0.05  # seconds after which a Ctrl-C that was swallowed comes again


def leave(status: int) -> NoReturn:
    """End the process at once.

    JAX's threads may still be computing what was stopped, and taking the interpreter down beside them ends in a
    segmentation fault; its exit hooks would wait for them, and show a traceback at the next Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # closed
            continue
    os._exit(status)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        say("stopped before anything was computed")
    finally:
        leave(INTERRUPTED)


def install() -> None:
    """From now on Ctrl-C ends this process with one line and status 130; a closed stream is nothing to write to."""
    fill_missing()
    signal.signal(signal.SIGINT, _stop)


def insist() -> None:
    """From now on a Ctrl-C comes again, in silence, where Python can only report it and go on.

    That is the case in callbacks of the garbage collector, which JAX has one of, and in destructors.
    """
    report = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN, _interrupt_main_thread).start()
        else:
            report(unraisable)

    sys.unraisablehook = hook


def _interrupt_main_thread() -> None:
    """Send SIGINT to the main thread, so that it also ends a wait there; a signal to this one would not."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)
