"""What commands print, so that no terminal, pipe or locale turns finished work into a traceback."""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import IO, Any, NoReturn

INTERRUPTED = 130  # exit status after Ctrl-C


class Parser(argparse.ArgumentParser):
    """Bad flags end with one line."""

    def error(self, message: str) -> NoReturn:
        """One line, and status 2."""
        say(f"error: {' '.join(message.split())}; --help lists the flags")
        sys.exit(2)


def say(text: str) -> None:
    """Print a line to stderr; where nobody reads it (`2>&-`, `2>&1 | head -1`) that is no reason to stop."""
    try:
        _print(text, sys.stderr)
    except (OSError, ValueError):
        return


def show(text: str) -> None:
    """Print to stdout, where characters that its encoding lacks become escapes; OSError if it is closed or full."""
    try:
        _print(text, sys.stdout)
    except ValueError as error:  # what Python calls a file that was closed
        raise OSError(errno.EBADF, "it is closed") from error
    except OSError:
        _discard_rest(sys.stdout)
        raise


def _print(text: str, stream: IO[str] | Any) -> None:
    if stream is None:  # no such descriptor at the start: a service, pythonw, `>&-`
        raise OSError(errno.EBADF, "it is closed")
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def _discard_rest(stream: IO[str]) -> None:
    """What is left in the buffer cannot be printed at the exit, either."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (AttributeError, OSError, ValueError):
        return


def fill_missing() -> None:
    """Open the standard descriptors that are closed on nothing, or a file of ours would become stderr."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def run_command(main: Callable[[], int | None], stopped: str) -> NoReturn:
    """Run `main` and exit with its status; Ctrl-C and streams or disks that fail end with one line.

    Args:
        main: the command; None is status 0.
        stopped: what is said after Ctrl-C.
    """
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(main())
    except KeyboardInterrupt:
        say(stopped)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `| head -1` has seen enough
        sys.exit(1)
    except OSError as error:
        say(f"error: {error}")
        sys.exit(1)
