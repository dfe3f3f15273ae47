"""What is too large is refused, devices follow the machine, and a dry run tells the plan."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from experiments import mnist_aux_logits
from experiments.harness import cli, provenance
from experiments.lm.runs import count_parameters
from experiments.studies import lm_architectures, lm_controls, lm_mechanism
from subliminal_toy import engine, machine, mnist, settings
from subliminal_toy.engine import use_cpu_cores
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.settings import with_settings
from tests.experiments import fake

GB = 1e9


@pytest.fixture(autouse=True)
def workstation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 16 cores and 8 GB that are free."""
    monkeypatch.setattr(machine, "free_memory", lambda: 8 * GB)
    monkeypatch.setattr(machine, "count_cores", lambda: 16)
    monkeypatch.setattr(engine, "use_cpu_cores", lambda *_: None)  # the tests' devices stay


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "new"
    assert fake.command(out, "--runs", "5", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        "runs: 5 in 3 chunks, 0 of them saved",
        f"devices: {provenance.device()}",
    ]
    assert not out.exists()


def test_a_dry_run_counts_what_an_earlier_start_has_saved(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def fails_late(first: int, count: int) -> dict[str, list]:
        if first == 4:
            raise engine.RunFailedError("stopped")
        return fake.numbers(first, count)

    flags = ("--runs", "6", "--chunk", "2")
    assert fake.command(tmp_path, *flags, of=fake.experiment(fails_late)) == cli.FAILED
    capsys.readouterr()
    assert fake.command(tmp_path, *flags, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[0] == "runs: 6 in 3 chunks, 2 of them saved"


def test_a_dry_run_names_the_images(digits: mnist.Dataset) -> None:
    config = mnist_aux_logits.EXPERIMENT.configure("smoke", {}, "digits")
    dataset = digits._replace(notice="no MNIST")
    lines = cli.plan_text(cli.Request(mnist_aux_logits.EXPERIMENT, config, dataset, 1, 0)).splitlines()
    assert lines[1:3] == [f"images: {mnist.data.TITLES['digits']}", "*** no MNIST ***"]


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


@pytest.mark.parametrize("flag", ["--runs", "--chunk"])
def test_counts_are_limited(tmp_path: Path, capsys: pytest.CaptureFixture, flag: str) -> None:
    assert flag in fake.refused(capsys, tmp_path, flag, "100001")
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


@pytest.mark.parametrize("name", ["width", "depth", "aux_logits", "noise_images", "teacher.epochs", "student.epochs"])
def test_sizes_of_the_images_are_limited(name: str) -> None:
    check_limit(mnist.Config(), name)


@pytest.mark.parametrize("name", ["width", "layers", "documents", "rows", "student.epochs"])
def test_sizes_of_the_language_model_are_limited(name: str) -> None:
    check_limit(LMConfig(), name)


def check_limit(config: Any, name: str) -> None:
    """The largest value is taken, and one more is refused by its name."""
    high = settings.setting_fields(type(config))[name].metadata["high"]
    with_settings(config, {name: high})
    with pytest.raises(ValueError, match=rf"^{name} is {high + 1}; it must be at most {high}$"):
        with_settings(config, {name: high + 1})


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


def test_parameters_are_counted_exactly() -> None:
    """Those of the committed results."""
    shapes = lm_architectures.ArchitecturesConfig(parts="width 16,2 layers").shapes().values()
    assert [count_parameters(shape) for shape in shapes] == [27_648, 10_752, 40_160]


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
