"""What do the networks answer on a digit that you draw? Those of one run, rounded to 8 bits a weight, for the page.

Reference, teacher, the student after each of its epochs and the cross-model student, both on the auxiliary logits only,
at a width that fits into a web page (128). Of all runs the one whose student is the median is kept, so that what the
page shows is neither luck nor bad luck. What rounding costs is measured on the test images.

    python -m experiments.studies.page_networks
    python -m experiments.studies.page_networks --preset paper
    python -m experiments.studies.page_networks --dataset digits --width 64
"""

import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import cli, tables
from experiments.harness.chunks import Values
from experiments.mnist.runs import MAIN, SIDE, Job, accuracy_rows
from subliminal_toy import mnist
from subliminal_toy.mnist.models import Params

STUDENT, CROSS = (row for row in mnist.STUDENTS if row.logits == "aux")
CONDITIONS = (STUDENT, CROSS)
LARGEST = 127  # of a signed byte, kept symmetric
WIDTH = {"width": 128}
PRESETS = {
    "smoke": cli.Preset(
        1,
        {**WIDTH, "teacher.epochs": 1, "student.epochs": 1, "noise_images": 8192},
        "1 short run, to see it work",
    ),
    "default": cli.Preset(9, WIDTH, "the median of 9 runs"),
    "paper": cli.Preset(25, WIDTH, "the median of 25 runs"),
}


class Network(NamedTuple):
    """One network of the run that is kept."""

    name: str
    epoch: int  # of its own training
    params: Params


def jobs(config: mnist.Config) -> list[Job]:
    """Plan the two students on the auxiliary logits."""
    return [Job(MAIN, config, CONDITIONS)]


def summarize(_config: mnist.Config, values: Values) -> dict[str, Any]:
    """Say which run has the median student (of two in the middle the better one), and all accuracies.

    Returns:
        `{"run", "conditions": [{"name", "accuracy", "mean", "ci95"}]}`.
    """
    accuracy = values[MAIN]
    return {"run": median_run(accuracy[STUDENT.name]), "conditions": accuracy_rows(accuracy, accuracy)}


def median_run(accuracy: list[float]) -> int:
    """Return the number of the run in the middle."""
    return int(np.argsort(accuracy, kind="stable")[len(accuracy) // 2])


def finish(request: cli.Request, values: Values) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Train the median run again and round its networks, for page_networks.bin as `packed` lays them.

    Returns:
        `{"networks": [{"name", "network", "epoch", "accuracy", "rounded", "same"}], "layers": [{"name", "inputs",
        "units"}], "bytes", "sha256"}`: test accuracies before and after rounding; `same` is the share of test images
        that a network answers as before.
    """
    config, dataset = request.config, request.dataset
    assert dataset is not None
    keys = mnist.run_keys(request.seed, [median_run(values[MAIN][STUDENT.name])])
    networks = networks_of(mnist.train(config, dataset, CONDITIONS, keys, watch=True))
    content, first = b"".join(packed(network.params) for network in networks), networks[0].params
    shapes = [(name, *first[name]["kernel"].shape) for name in layers(first)]
    results = {
        "networks": [_measured(config, dataset, network) for network in networks],
        "layers": [{"name": name, "inputs": inputs, "units": units} for name, inputs, units in shapes],
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return results, {"page_networks.bin": content}


def networks_of(trained: mnist.Trained) -> list[Network]:
    """Return the networks of the only run that the page shows, in the order of the file."""

    def after(name: str, epoch: int) -> Network:
        return Network(name, epoch, jax.tree.map(lambda leaf: np.asarray(leaf)[0, epoch - 1], trained.history[name]))

    config = trained.config
    return [
        Network("reference", 0, jax.tree.map(lambda leaf: np.asarray(leaf)[0], trained.reference)),
        after("teacher", config.teacher.epochs),
        *(after(STUDENT.name, epoch) for epoch in range(1, config.student.epochs + 1)),
        after(CROSS.name, config.student.epochs),
    ]


def layers(params: Params) -> list[str]:
    """Return the layers' names, from the input to the output."""
    return [*sorted(name for name in params if name != "head"), "head"]


def rounded(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round a kernel [inputs, units] to signed bytes with a step per unit: kernel = about bytes * steps."""
    steps = (np.abs(kernel).max(axis=0) / LARGEST).astype(np.float32)
    return np.rint(kernel / np.where(steps > 0, steps, 1)).astype(np.int8), steps


def packed(params: Params) -> bytes:
    """Pack a network: of each layer the steps, the biases (little-endian float32), the rounded kernel by rows."""
    parts = []
    for name in layers(params):
        kernel, steps = rounded(np.asarray(params[name]["kernel"]))
        parts += [steps.astype("<f4"), np.asarray(params[name]["bias"]).astype("<f4"), kernel]
    return b"".join(part.tobytes() for part in parts)


def read_back(params: Params) -> Params:
    """Return the network that the page computes with."""
    layers_back = {}
    for name, layer in params.items():
        kernel, steps = rounded(np.asarray(layer["kernel"]))
        layers_back[name] = {"kernel": kernel * steps, "bias": np.asarray(layer["bias"])}
    return layers_back


def _measured(config: mnist.Config, dataset: mnist.Dataset, network: Network) -> dict[str, Any]:
    def answers(params: Params) -> np.ndarray:
        logits = mnist.logits(config, params, jnp.asarray(dataset.test_images))
        return np.argmax(np.asarray(logits)[:, : config.classes], axis=1)

    before, after = answers(network.params), answers(read_back(network.params))
    return {
        "name": f"{network.name}, epoch {network.epoch}",
        "network": network.name,
        "epoch": network.epoch,
        "accuracy": float(np.mean(before == dataset.test_labels)),
        "rounded": float(np.mean(after == dataset.test_labels)),
        "same": float(np.mean(before == after)),
    }


def table(document: dict[str, Any]) -> str:
    """Write the networks as Markdown."""
    results = document["results"]
    rows = [
        (row["name"], f"{row['accuracy']:.4f}", f"{row['rounded']:.4f}", f"{row['same']:.1%}")
        for row in results["networks"]
    ]
    header = (f"run {results['run'] + 1} of {results['runs']}", "test accuracy", "8 bits a weight", "same answers")
    return tables.markdown_table(header, rows)


EXPERIMENT = cli.Experiment(
    "page_networks", __doc__, PRESETS, jobs, summarize, table, SIDE, figure=False, finish=finish
)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
