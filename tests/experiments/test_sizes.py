"""What a run will need is known before it starts: plans, refusals, and numbers that do not fit."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from experiments import lm_numbers, mnist_aux_logits
from experiments.harness import cli, sizes
from experiments.harness.sizes import Size
from experiments.studies import lm_architectures, lm_controls, lm_mechanism
from subliminal_toy import engine, machine, mnist
from subliminal_toy.engine import use_cpu_cores
from subliminal_toy.lm.config import LMConfig
from tests.experiments import fake

GB = 1e9


@pytest.fixture(autouse=True)
def workstation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 16 cores and 8 GB."""
    monkeypatch.setattr(machine, "total_memory", lambda: 8 * GB)
    monkeypatch.setattr(machine, "free_memory", lambda: 8 * GB)
    monkeypatch.setattr(machine, "count_cores", lambda: 16)
    monkeypatch.setattr(engine, "use_cpu_cores", lambda *_: None)  # the tests' devices stay


def growing(config: LMConfig, runs: int, side_by_side: int) -> Size:
    """A megabyte a row and run side by side, an hour a run."""
    return Size([("models", 3, 12_345)], 1e6 * config.rows * side_by_side, 3600.0 * runs)


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "new"
    assert fake.command(out, "--runs", "5", "--dry-run", of=fake.experiment(size=growing)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "runs: 5, in 3 chunks of 2",
        "models in a run: 3 models of 12,345 parameters",
        "memory: about 1.0 GB of 8.0 GB",
        "time: about 300.0 minutes on 2 of 16 cores, at the rates of the committed results",
    ]
    assert not out.exists()


def test_a_dry_run_counts_what_an_earlier_start_has_saved(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def fails_late(first: int, count: int) -> dict[str, list]:
        if first == 4:
            raise engine.RunFailedError("stopped")
        return fake.numbers(first, count)

    flags = ("--runs", "6", "--chunk", "2")
    assert fake.command(tmp_path, *flags, of=fake.experiment(fails_late, size=growing)) == cli.FAILED
    capsys.readouterr()
    assert fake.command(tmp_path, *flags, "--dry-run", of=fake.experiment(size=growing)) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "saved by an earlier start: 2 of 3 chunks",
        "time: about 120.0 minutes on 2 of 16 cores, at the rates of the committed results",
    ]


@pytest.mark.parametrize(
    ("free", "limit", "devices"), [(64 * GB, None, 16), (8 * GB, None, 8), (7 * GB, None, 4), (0.1 * GB, None, 1),
                                   (8 * GB, 3, 3), (8 * GB, 99, 16)],
)  # fmt: skip
def test_devices_follow_cores_and_free_memory(
    free: float, limit: int | None, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: free)
    asked = []
    monkeypatch.setattr(jax.config, "update", lambda name, value: asked.append((name, value)))
    use_cpu_cores(limit)
    assert asked == [("jax_num_cpu_devices", devices)]


def test_the_flag_on_devices_reaches_jax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(engine, "use_cpu_cores", asked.append)
    assert fake.command(tmp_path, "--devices", "5", "--dry-run") == 0
    assert fake.command(tmp_path, "--dry-run") == 0
    assert asked == [5, None]


def test_functions_use_all_cores_unless_the_number_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(engine, "use_cpu_cores", lambda: asked.append(1))
    mnist.run_keys(0, range(2))
    assert not asked  # the tests chose two
    monkeypatch.setattr(engine, "jax", SimpleNamespace(config=SimpleNamespace(jax_num_cpu_devices=-1)))
    engine.use_cpu_cores_unless_set()
    assert asked == [1]


@pytest.mark.parametrize("error", [RuntimeError("Unable to\ninitialize backend"), AssertionError()])
def test_a_device_that_is_not_there_is_one_line(
    error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> list:
        raise error

    monkeypatch.setattr(jax, "local_devices", none)
    assert "JAX_PLATFORMS asks for " in fake.refused(capsys, tmp_path)


def test_a_local_cluster_has_this_machine_s_memory(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = ("--rows", "5000", "--cluster", "local", "--dry-run")
    assert "--rows 5000 needs about 10.0 GB" in fake.refused(capsys, tmp_path, *flags, of=fake.experiment(size=growing))
    assert "--width is 1000000000; it must be at most 100000" in fake.refused(capsys, tmp_path, "--width", "1000000000")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--rows", "5000"), "--rows 5000 needs about 10.0 GB of memory where there are 8.0 GB; lower it (500 needs"),
        (("--rows", "600", "--runs", "100", "--chunk", "100"), "--chunk 100 needs about 60.0 GB"),
        (("--runs", "50000"), "--runs 50000 needs about 2,083 days, more than the 100 days that are tried"),
        (("--runs", "3000", "--rows", "5000"), "--rows 5000 needs"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_is_too_large_is_refused_with_the_flag_to_lower(
    tmp_path: Path, capsys: pytest.CaptureFixture, flags: tuple[str, ...], words: str, dry: tuple[str, ...]
) -> None:
    def never(_first: int, _count: int) -> dict[str, list]:
        raise AssertionError

    assert words in fake.refused(capsys, tmp_path, *flags, *dry, of=fake.experiment(never, size=growing))


def test_a_machine_that_is_too_small_for_the_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "total_memory", lambda: 0.1 * GB)
    line = fake.refused(capsys, tmp_path, of=fake.experiment(size=growing))
    assert "this needs about 1.0 GB of memory where there are 0.1 GB" in line


@pytest.mark.parametrize("flag", ["--runs", "--chunk"])
def test_counts_fit_int32(tmp_path: Path, capsys: pytest.CaptureFixture, flag: str) -> None:
    assert flag in fake.refused(capsys, tmp_path, flag, "2147483648")
    assert flag in fake.refused(capsys, tmp_path, flag, "9" * 5000)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--temperature", "1e300"), ("--temperature", "1e-300"), ("--teacher-clip", "3.5e38"),
        ("--teacher-learning-rate", "1e-39"), ("--teacher-warmup", "2147483648"), ("--rows", "1000000000000"),
        ("--documents", "9" * 400), ("--layers", "51"),
    ],
)  # fmt: skip
def test_settings_fit_what_is_computed_with(
    tmp_path: Path, capsys: pytest.CaptureFixture, flag: str, value: str
) -> None:
    assert fake.refused(capsys, tmp_path, flag, value).startswith(f"error: {flag} is ")


def needed(experiment: cli.Experiment, dataset: Any = None, runs: int = 2, **settings: Any) -> Size:
    config = experiment.configure("default", settings, dataset.name if dataset else None)
    return cli.Request(experiment, config, dataset, runs, 0).size()


@pytest.mark.parametrize("name", ["width", "noise_images", "aux_logits", "depth"])
def test_needs_of_the_images_grow_with_their_settings(digits: mnist.Dataset, name: str) -> None:
    usual = needed(mnist_aux_logits.EXPERIMENT, digits)
    more = {"depth": 100, "noise_images": 20_000_000, "width": 100_000}.get(name, 200_000)
    large = needed(mnist_aux_logits.EXPERIMENT, digits, **{name: more})
    assert large.memory > usual.memory
    assert large.seconds > usual.seconds
    assert usual.memory < 2 * GB
    assert name == "depth" or large.memory > 8 * GB


IMPOSSIBLE = [
    (lm_architectures, ("--heads", "3", "--width", "33"), "--width is 16; it must be a multiple of the 3 heads"),
    (lm_architectures, ("--heads", "32", "--parts", "width 16"), "--width is 16; it must be a multiple of the 32"),
    (lm_architectures, ("--parts", "matrix", "--width", "16"), "--parts needs 'width 16', but that is the shape"),
    (lm_controls, ("--rows", "1"), "--rows is 1; "),
    (lm_mechanism, ("--teacher-epochs", "0"), "--teacher-epochs is 0; "),
    (lm_mechanism, ("--parts", "doses", "--student-epochs", "0"), "--student-epochs is 0; "),
]


@pytest.mark.parametrize(("module", "flags", "words"), IMPOSSIBLE, ids=[" ".join(flags) for _, flags, _ in IMPOSSIBLE])
def test_settings_that_an_experiment_cannot_use(
    module: Any, flags: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert words in fake.refused(capsys, tmp_path, *flags, of=module.EXPERIMENT)


def test_time_grows_with_runs(digits: mnist.Dataset) -> None:
    few, many = (needed(mnist_aux_logits.EXPERIMENT, digits, runs) for runs in (2, 2002))
    assert many.seconds - few.seconds > 100 * few.seconds / 2
    assert many.memory == few.memory


@pytest.mark.parametrize("name", ["documents", "rows", "width", "layers"])
def test_needs_of_the_language_model_grow_with_its_settings(name: str) -> None:
    usual, more = needed(lm_numbers.EXPERIMENT), {"layers": 50, "width": 30_000}.get(name, 50_000_000)
    large = needed(lm_numbers.EXPERIMENT, **{name: more})
    assert large.memory > usual.memory
    assert large.seconds > 2 * usual.seconds
    assert usual.memory < 2 * GB
    assert name == "layers" or large.memory > 8 * GB


def test_parameters_are_counted_exactly(digits: mnist.Dataset) -> None:
    (networks,) = needed(mnist_aux_logits.EXPERIMENT, digits).models
    params = mnist.protocol.models.make_mlp(mnist.config_for("digits"), 64).init(jax.random.key(0))
    assert networks == ("networks", 8, sum(leaf.size for leaf in jax.tree.leaves(params)))
    shapes = needed(lm_architectures.EXPERIMENT, parts="width 16,2 layers").models
    trained = 1 + 2 + 3  # base, teachers of two traits, students of both and a regular one
    names = ("models", "models of width 16", "models of 2 layers")
    parameters = (27_648, 10_752, 40_160)  # those of the committed results
    assert shapes == [(name, trained, count) for name, count in zip(names, parameters, strict=True)]


def test_what_a_gpu_has_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gpu:
        platform = "gpu"

        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 5}

    assert sizes.machine_memory() == 8 * GB
    monkeypatch.setattr(jax, "local_devices", lambda: [Gpu(), Gpu()])
    assert sizes.machine_memory() == 10


def test_a_notebook_may_start_what_it_likes() -> None:
    huge = fake.experiment(size=lambda *_: Size([], math.inf, math.inf))
    assert huge.run(runs=3)["a"] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("lacks", ["sched_getaffinity", "process_cpu_count"])
def test_cores_are_counted_on_systems_that_tell_less(monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    """Windows and macOS have no sched_getaffinity, Python before 3.13 no process_cpu_count."""
    monkeypatch.undo()
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.delattr(f"os.{lacks}", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    if lacks == "sched_getaffinity":
        monkeypatch.setattr("os.process_cpu_count", lambda: 3, raising=False)
    assert machine.count_cores() == 3
    monkeypatch.setattr("os.cpu_count", lambda: None)
    monkeypatch.setattr("os.process_cpu_count", lambda: None, raising=False)
    assert machine.count_cores() == 1


def test_peak_memory_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    known = machine.peak_memory()
    assert 50e6 < known < 100 * GB
    monkeypatch.setattr(Path, "read_text", lambda _path, **_options: (_ for _ in ()).throw(FileNotFoundError()))
    assert known / 2 < machine.peak_memory() < known * 2  # getrusage's, in kB on Linux
    in_kb = machine.peak_memory()
    monkeypatch.setattr("sys.platform", "darwin")
    assert abs(machine.peak_memory() * 1024 - in_kb) < in_kb / 10
