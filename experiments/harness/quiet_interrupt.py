"""Imported by a command before its slow imports: from then on Ctrl-C ends it with status 130 and no traceback."""

import signal
import sys
from types import FrameType

INTERRUPTED = 130


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.stderr.write("stopped before anything was computed\n")
    sys.exit(INTERRUPTED)


signal.signal(signal.SIGINT, _leave)
