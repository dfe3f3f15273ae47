"""One question each: `python -m experiments.<name>` answers it and writes `<out>/<name>.json` and its figure.

    python -m experiments       lists all commands with their questions
    mnist_*.py, mnist/          commands on images, and what they share
    lm_*.py, lm/                commands on the language model, likewise
    gradient_theorem.py         the theorem of `theory`, checked on random problems and on MNIST
    benchmark*.py, benchmarks/  how fast, against peers
    harness/                    command line, progress, files and provenance, chunks of runs: knows no data, no model
    results/                    the committed JSON

In Python: `from experiments import lm_numbers; lm_numbers.run(config, runs=2)` returns its results.
"""

import sys

if sys.argv[:1] == ["-m"]:  # Python is looking for a command to run: from here on, before slow imports, Ctrl-C is quiet
    from experiments.harness import quiet_interrupt

    quiet_interrupt.install()
