"""One question each: `python -m experiments.NAME` answers it and writes `<out>/NAME.json` and its figure.

    mnist_aux_logits    digits from noise: the experiment of the paper's section 6.2
    mnist_sweeps        the same over any setting
    lm_numbers          a trait through lists of numbers, in the toy language
    gradient_theorem    the theorem of `theory`, checked on random problems and on MNIST

    studies/            every further question, with the code that only it needs: python -m experiments.studies.NAME
    mnist/, lm/         what several commands of a side share
    benchmarks/         how fast, against peers
    harness/            command line, progress, files and provenance, chunks of runs
    results/            the committed JSON

`python -m experiments` lists all commands. In Python: `from experiments import lm_numbers` and
`lm_numbers.run(config, runs=2)` returns its results.
"""

import sys

if sys.argv[:1] == ["-m"]:  # Python is looking for a command to run: from here on, before slow imports, Ctrl-C is quiet
    from experiments.harness import quiet_interrupt

    quiet_interrupt.install()

from experiments.moved import OldPaths

sys.meta_path.append(OldPaths())
