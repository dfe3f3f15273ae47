"""Networks for the page: the median run, rounded to bytes that read back to within half a step."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.harness import cli
from experiments.harness.provenance import ROOT
from experiments.studies import page_networks
from subliminal_toy import mnist
from subliminal_toy.mnist import data

SMALL = {"width": 9, "noise_images": 512, "student.batch_size": 128, "student.epochs": 2, "teacher.epochs": 1}
STUDENTS = [0.5, 0.1, 0.9, 0.4, 0.2]  # made-up accuracies: run 3 has the median


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page_networks")


@pytest.fixture(scope="module")
def results(out: Path, digits: data.Dataset) -> dict:
    accuracy = dict.fromkeys(("reference", "teacher", "student_aux", "cross_aux"), STUDENTS)
    request = cli.Request(page_networks.EXPERIMENT, mnist.config_for("digits", SMALL), digits, 5, 0)
    found, held = request.finished({"main": accuracy})
    (out / "page_networks.bin").write_bytes(held["page_networks.bin"])
    return found


def test_the_median_run_is_kept_with_every_epoch_of_its_student(results: dict, digits: data.Dataset) -> None:
    assert results["run"] == 3
    names = [row["name"] for row in results["networks"]]
    students = ["student_aux, epoch 1", "student_aux, epoch 2"]
    assert names == ["reference, epoch 0", "teacher, epoch 1", *students, "cross_aux, epoch 2"]
    config, keys = mnist.config_for("digits", SMALL), mnist.run_keys(0, [3])
    trained = mnist.train(config, digits, page_networks.CONDITIONS, keys)
    for name, values in mnist.accuracies(trained, digits).items():
        last = [row["accuracy"] for row in results["networks"] if row["network"] == name][-1]
        assert last == pytest.approx(values[0], abs=1e-6)


def test_the_file_holds_what_was_measured(results: dict, out: Path, digits: data.Dataset) -> None:
    content = (out / "page_networks.bin").read_bytes()
    assert results["bytes"] == len(content) == len(results["networks"]) * (64 * 9 + 9 * 9 + 9 * 13 + 8 * (9 + 9 + 13))
    assert results["sha256"] == hashlib.sha256(content).hexdigest()
    at = 0
    for row in results["networks"]:
        x = digits.test_images
        for i, layer in enumerate(results["layers"]):
            inputs, units = layer["inputs"], layer["units"]
            steps, bias = np.frombuffer(content, "<f4", 2 * units, at).reshape(2, units)
            kernel = np.frombuffer(content, "i1", inputs * units, at + 8 * units).reshape(inputs, units)
            at += 8 * units + inputs * units
            x = x @ (kernel * steps) + bias
            x = x if i + 1 == len(results["layers"]) else np.maximum(x, 0)
        assert np.mean(np.argmax(x[:, :10], axis=1) == digits.test_labels) == pytest.approx(row["rounded"], abs=1 / 360)
        assert row["same"] >= 1 - 40 / 360


def test_rounding_is_off_by_half_a_step_at_most_and_dead_units_stay_dead() -> None:
    kernel = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * np.array([1, 1e-3, 0, 10], np.float32)
    rounded, steps = page_networks.rounded(kernel)
    assert np.abs(rounded).max(axis=0).tolist() == [127, 127, 0, 127]
    assert np.all(np.abs(rounded * steps - kernel) <= 0.5001 * steps)


def test_without_a_folder_nothing_is_written_and_the_table_names_all(results: dict) -> None:
    text = page_networks.table({"results": results})
    assert len(text.splitlines()) == 2 + len(results["networks"])
    assert page_networks.EXPERIMENT.configure("default", {}, "mnist").width == 128
    assert isinstance(page_networks.EXPERIMENT, cli.Experiment)


def test_committed_networks_are_those_of_the_committed_results() -> None:
    folder = ROOT / "experiments" / "results"
    committed = json.loads((folder / "page_networks.json").read_text())["results"]
    content = (folder / "page_networks.bin").read_bytes()
    assert committed["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(content) < 1_000_000
