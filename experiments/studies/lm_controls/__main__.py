"""Run the command."""

from experiments.harness import cli
from experiments.studies.lm_controls import EXPERIMENT

if __name__ == "__main__":
    cli.main(EXPERIMENT)
