"""Compiled programs are kept in the user's cache folder, within limits; where that cannot be, nothing is said."""

import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from experiments.harness import cluster, compiled
from tests.experiments import fake

NAMES = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """JAX as it is for users, whose cache folder is the test's."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = {name: getattr(jax.config, name) for name in NAMES}
    jax.config.update(NAMES[0], None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def place() -> str | None:
    return jax.config.jax_compilation_cache_dir


@pytest.mark.parametrize(
    ("platform", "own", "found"),
    [
        ("linux", {}, "home/.cache"),
        ("linux", {"XDG_CACHE_HOME": "/fast"}, "/fast"),
        ("darwin", {"XDG_CACHE_HOME": "/fast"}, "home/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "local"}, "local"),
    ],
)
def test_the_folder_is_where_each_system_has_caches(
    monkeypatch: pytest.MonkeyPatch, platform: str, own: dict[str, str], found: str
) -> None:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "home", **own}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert compiled.folder() == Path(found) / "subliminal-toy"


def test_programs_are_kept_there(unset: None, tmp_path: Path) -> None:
    compiled.keep()
    assert place() == str(tmp_path / "subliminal-toy")
    assert jax.config.jax_persistent_cache_min_compile_time_secs < 0.1
    with warnings.catch_warnings(record=True) as said:
        warnings.warn("Error reading persistent compilation cache entry for 'f': it is cut off", stacklevel=1)
    assert said == []


@pytest.mark.parametrize("own", ["", "/elsewhere"])
def test_who_says_where_or_nowhere_is_obeyed(unset: None, tmp_path: Path, own: str) -> None:
    jax.config.update(NAMES[0], own)
    compiled.keep()
    assert (place(), list(tmp_path.iterdir())) == (own, [])


def test_nothing_is_kept_where_nothing_can_be_written(unset: None, tmp_path: Path) -> None:
    (tmp_path / "subliminal-toy").write_text("a file")
    compiled.keep()
    assert place() is None


def test_old_and_too_many_programs_go(unset: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "LARGEST", 25)
    folder, day = tmp_path / "subliminal-toy", 86_400
    folder.mkdir()
    for name, days in {"new-cache": 0, "last-cache": 2, "more-cache": 3, "other": 90}.items():
        (folder / name).write_bytes(b"x" * 10)
        os.utime(folder / name, (time.time() - days * day,) * 2)
    compiled.keep()
    assert sorted(path.name for path in folder.iterdir()) == ["last-cache", "new-cache", "other"]
    os.utime(folder / "last-cache", (time.time() - 31 * day,) * 2)
    jax.config.update(NAMES[0], None)
    compiled.keep()
    assert sorted(path.name for path in folder.iterdir()) == ["new-cache", "other"]


def test_commands_and_workers_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class KeptError(Exception):
        """`keep` was called."""

    def kept() -> None:
        raise KeptError

    monkeypatch.setattr(compiled, "keep", kept)
    with pytest.raises(KeptError):
        fake.command(tmp_path)
    monkeypatch.setattr(cluster, "_use_devices", lambda _count: None)
    with pytest.raises(KeptError):
        cluster.work(cluster.Task(fake.chunk(), {}, 2, cluster.provenance.code_version("experiments.mnist_aux_logits")))


def test_options_that_compile_fast_exist_in_this_jax() -> None:
    """Each of them on its own: an unknown one is refused, whatever else is asked for."""
    options = compiled.fast_options()
    assert options["xla_backend_optimization_level"] == 0
    for name, value in options.items():
        assert jax.jit(lambda x: x + 1, compiler_options={name: value})(1) == 2


@pytest.mark.parametrize(("version", "known"), [((0, 10, 2), True), ((0, 11, 0), True), ((0, 11, 2), False)])
def test_an_option_that_newer_versions_refuse_is_not_asked_of_them(
    version: tuple[int, ...], known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "__version_info__", version)
    assert (compiled.EMITTERS_OPTION in compiled.fast_options()) is known
