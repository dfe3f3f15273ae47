"""Run the command."""

from experiments.harness import cli
from experiments.studies.lm_traits import EXPERIMENT

if __name__ == "__main__":
    cli.main(EXPERIMENT)
