"""One question each: `python -m experiments.<name>` answers it and writes `<out>/<name>.json` and its figure."""

import sys

if sys.argv[:1] == ["-m"]:  # Python is looking for a command to run: from here on, before slow imports, Ctrl-C is quiet
    from experiments.harness import quiet_interrupt

    quiet_interrupt.install()
