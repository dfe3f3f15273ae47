"""Where results came from: the code that ran, what the environment changed about numbers, no folder of a machine."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from experiments.harness import cluster, provenance
from subliminal_toy.lm.config import LMConfig
from tests.experiments import fake

X = "experiments.x"


def clear() -> None:
    for cached in (provenance.sources, provenance._code_of):
        cached.cache_clear()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project: a command, what it imports, and what lies beside it."""
    texts = {
        "experiments/__init__.py": "",
        "experiments/x.py": "import numpy\nimport theory.losses\nfrom subliminal_toy import engine, MISSING\n",
        "experiments/other.py": "A = 1\n",
        "subliminal_toy/__init__.py": "",
        "subliminal_toy/engine.py": '"""One."""\n\ndef f(x):\n    import subliminal_toy.late\n    return x + 1\n',
        "subliminal_toy/late.py": "B = 1\n",
        "theory/losses.py": "C = 1\n",
        "numpy/__init__.py": "D = 1\n",  # a neighbour, where the project is installed
        "docs/a.md": "1",
        "experiments/results/x.json": "1",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    clear()
    yield tmp_path
    clear()


def now(**what: Any) -> str:
    clear()
    return provenance.fingerprint(X, **what)


def test_fingerprint_depends_on_what_it_is_told(project: Path) -> None:
    assert now(seed=0) == now(seed=0) != now(seed=1)
    assert now(config=LMConfig()) != now(config=LMConfig(rows=7))


def test_fingerprint_depends_on_the_code_that_computes_alone(project: Path) -> None:
    first, engine = now(), project / "subliminal_toy" / "engine.py"
    text = engine.read_text()
    engine.write_text('# a comment\n"""Other words."""\n' + text.replace("(x)", "( x )").replace('"""One."""', ""))
    assert now() == first
    for name in ("experiments/x", "subliminal_toy/__init__", "subliminal_toy/late", "theory/losses"):
        before = now()
        with (project / f"{name}.py").open("a") as file:
            file.write("Z = 2\n")
        assert now() != before, name


@pytest.mark.parametrize("content", [b"\0\5", b"def f(:", b"\xff", b"A = 2\n"])
@pytest.mark.parametrize("name", ["._x", "my_idea", "other"])
def test_files_that_nothing_imports_are_no_code(project: Path, name: str, content: bytes) -> None:
    """What macOS leaves beside every file on a foreign disk, half an idea, another question."""
    first = now()
    (project / "experiments" / f"{name}.py").write_bytes(content)
    assert now() == first
    (project / "numpy" / "__init__.py").write_bytes(content)
    assert now() == first


def test_the_sources_of_a_command_are_those_that_python_loads() -> None:
    """Against Python's own word: what a fresh interpreter has loaded of ours after the import."""
    code = "import sys, experiments.studies.lm_traits.__main__; "
    code += "print(*(n for n in sys.modules if n.split('.')[0] in sys.argv[1:]))"
    command = [os.sys.executable, "-c", code, *provenance.PACKAGES]
    done = subprocess.run(command, cwd=provenance.ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    listed = set(provenance.sources("experiments.studies.lm_traits", provenance.ROOT))
    assert loaded <= listed
    assert "subliminal_toy.lm.transformer" in loaded
    assert not {name for name in listed if "benchmark" in name or "mechanism" in name}


def test_fingerprint_depends_on_versions_devices_and_switches(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prints = {now()}
    with jax.enable_x64(True):
        prints.add(now())
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    prints.add(now())
    for name in ("device", "versions"):
        monkeypatch.setattr(provenance, name, lambda: "another")
        prints.add(now())
    assert len(prints) == 5
    assert {"jax", "jaxlib", "flax", "optax", "numpy"} <= set(provenance._LIBRARIES)


SWITCHES = {
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_RANDOM_SEED_OFFSET": "3",
    "JAX_DISABLE_JIT": "1",
    "XLA_FLAGS": "--xla_cpu_enable_fast_math=true  --xla_dump_to=/secret/place",
    "NVIDIA_TF32_OVERRIDE": "0",
}


def test_what_the_environment_changes_about_numbers_is_named_and_nothing_else() -> None:
    code = "from experiments.harness import provenance; print(provenance.switches())"

    def of(**changes: str) -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
        command = [os.sys.executable, "-c", code]
        environment = clean | changes
        done = subprocess.run(command, cwd=provenance.ROOT, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert of() == of(JAX_LOG_COMPILES="0", JAX_TRACEBACK_FILTERING="off", JAX_DEBUG_NANS="1") == "{}"
    named = of(**SWITCHES)
    for name in SWITCHES:
        assert (name if name in provenance._VARIABLES else name.lower()) in named
    assert "'--xla_cpu_enable_fast_math=true --xla_dump_to=place'" in named


def test_results_of_other_switches_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert fake.command(tmp_path) == 0
    capsys.readouterr()
    with jax.enable_x64(True):
        line = fake.refused(capsys, tmp_path)
        assert "(jax_enable_x64 False, not True)" in line
        assert fake.command(tmp_path, "--force") == 0
    capsys.readouterr()
    assert fake.document(tmp_path)["provenance"]["switches"]["jax_enable_x64"] is True
    assert "(jax_enable_x64 True, not False)" in fake.refused(capsys, tmp_path)


def test_results_that_name_no_switches_had_the_usual_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "switches", dict)
    assert fake.command(tmp_path) == 0
    document = fake.document(tmp_path)
    del document["provenance"]["switches"]
    (tmp_path / "fake.json").write_text(provenance.json.dumps(document))
    assert fake.command(tmp_path) == 0
    monkeypatch.setattr(provenance, "switches", lambda: {"XLA_FLAGS": "--fast"})
    assert fake.command(tmp_path) == fake.cli.BAD_INPUT


def test_a_worker_with_other_switches_is_another_version() -> None:
    with jax.enable_x64(True):
        version = provenance.code_version(X)
    assert version != provenance.code_version(X)
    task = cluster.Task(fake.chunk(), {}, 2, version)
    with pytest.raises(cluster.ClusterError, match="JAX's switches"):
        cluster.work(task)


def test_provenance_names_no_folder_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/people/me")
    given = [
        "--data-dir",
        "/secret/place/mnist",
        "--out=/people/me/res",
        "--out=~/x",
        "~/y",
        "--runs",
        "3",
        "--vary=a=1",
    ]
    record = provenance.Provenance(X, given).record()
    rest = "--data-dir mnist --out=res --out=x y --runs 3 --vary=a=1"
    assert record["command"] == f"python -m experiments.x {rest}"
    keys = {"git", "dirty", "command", "versions", "switches", "device", "started", "seconds"}
    assert set(record) == keys


def test_a_recorded_command_can_be_typed_again() -> None:
    record = provenance.Provenance(X, ["--traits", "owl;eagle", "--out=a b"]).record()
    assert record["command"] == "python -m experiments.x --traits 'owl;eagle' '--out=a b'"


@pytest.mark.parametrize("flag", ["", "--out="])
def test_a_folder_of_the_project_is_named_from_its_root(flag: str) -> None:
    inside = f"{flag}{provenance.ROOT / 'experiments' / 'results'}"
    record = provenance.Provenance(X, [inside]).record()
    assert record["command"] == f"python -m experiments.x {flag}experiments/results"


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", *who, *arguments], cwd=folder, env=clean, check=True, capture_output=True)


def commit(folder: Path) -> None:
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a", "--allow-empty"]):
        git(folder, *arguments)


def recorded() -> tuple[str | None, bool | None]:
    clear()
    record = provenance.Provenance(X, []).record()
    return record["git"] and "a commit", record["dirty"]


def test_provenance_outside_a_git_checkout(project: Path) -> None:
    assert recorded() == (None, None)


def test_a_repository_around_the_project_is_not_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A tarball unpacked in another project, and a command that one of git's hooks of another project starts."""
    outer = tmp_path_factory.mktemp("outer")
    commit(outer)
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))
    assert recorded() == (None, None)
    commit(project)
    assert recorded() == ("a commit", False)
    monkeypatch.setattr(provenance, "ROOT", project / "experiments")
    assert recorded() == (None, None)


def test_dirty_is_changed_code_but_not_a_new_result(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = project / "subliminal_toy" / "late.py"
    late.unlink()
    commit(project)
    for name in ("docs/a.md", "experiments/results/x.json", "experiments/other.py", "experiments/new.py"):
        (project / name).write_text("2")
    assert recorded() == ("a commit", False)
    late.write_text("B = 2\n")
    assert recorded() == ("a commit", True)  # what runs is not in the commit
    late.unlink()
    (project / "experiments" / "x.py").write_text("3\n")
    assert recorded() == ("a commit", True)
    monkeypatch.setattr(
        provenance, "_git", lambda *words: {"rev-parse": "" if "--show-prefix" in words else "1"}.get(words[0])
    )
    assert recorded() == ("a commit", None)  # git took too long to tell
