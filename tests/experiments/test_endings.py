"""How commands end: what they refuse to overwrite, stops, too little memory, streams that are closed or full."""

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import pytest

from experiments.harness import cli, files, quiet_interrupt
from experiments.harness.provenance import ROOT
from subliminal_toy import engine
from tests.experiments import fake


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_results_of_other_settings_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert fake.command(tmp_path) == 0
    before = (tmp_path / "fake.json").read_text()
    capsys.readouterr()
    for other in (("--rows", "7"), ("--seed", "1"), ("--runs", "3"), ("--student-epochs", "7")):
        line = fake.refused(capsys, tmp_path, *other)
        assert "--out" in line
        assert "--force" in line
        assert (tmp_path / "fake.json").read_text() == before
    assert "--force" in fake.refused(capsys, tmp_path, "--rows", "7", "--dry-run")
    assert fake.command(tmp_path, "--rows", "7", "--force") == 0
    assert json.loads((tmp_path / "fake.json").read_text())["config"]["rows"] == 7


def test_a_setting_that_is_younger_than_the_results_had_its_default(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert fake.command(tmp_path) == 0
    document = json.loads((tmp_path / "fake.json").read_text())
    del document["config"]["spare"], document["config"]["student"]["clip"]
    (tmp_path / "fake.json").write_text(json.dumps(document))
    capsys.readouterr()
    assert "spare" in fake.refused(capsys, tmp_path, "--spare", "2.5")
    assert "student.clip" in fake.refused(capsys, tmp_path, "--student-clip", "2.5")
    assert fake.command(tmp_path) == 0


def test_a_refusal_names_the_settings_that_differ_with_both_values(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert fake.command(tmp_path) == 0
    capsys.readouterr()
    few, many = ("--runs", "3", "--student-epochs", "7"), ("--seed", "1", "--rows", "7", "--width", "8", "--heads", "1")
    assert "(runs 4, not 3; student.epochs 5, not 7)" in fake.refused(capsys, tmp_path, *few)
    line = fake.refused(capsys, tmp_path, *few, *many)
    assert "(runs 4, not 3; seed 0, not 1; width 32, not 8; heads 2, not 1; rows 500, not 7; and 1 more)" in line
    assert "traits owl,eagle,dolphin,elephant,wolf, not oak)" in fake.refused(capsys, tmp_path, "--traits", "oak")


def test_results_are_settings_of_another_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Their own command may write over them; flags go over what they say."""
    out, path = tmp_path / "a", tmp_path / "a" / "fake.json"
    chosen = ("--runs", "3", "--seed", "7", "--rows", "9", "--student-epochs", "2", "--shared-documents", "no")
    assert fake.command(out, "--preset", "smoke", *chosen) == 0
    first = json.loads(path.read_text())["config"]
    for folder in (out, tmp_path / "b"):
        assert fake.command(folder, "--config", str(path)) == 0
        assert json.loads((folder / "fake.json").read_text())["config"] == first
    assert fake.command(tmp_path / "c", "--config", str(path), "--rows", "5", "--runs", "2") == 0
    changed = json.loads((tmp_path / "c" / "fake.json").read_text())["config"]
    assert changed == {**first, "rows": 5, "runs": 2}
    capsys.readouterr()
    assert "--preset and --config" in fake.refused(capsys, tmp_path, "--preset", "smoke", "--config", str(path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "x.json cannot be read: No such file"),
        ("{", "holds no results of a command"),
        ("[]", "holds no results of a command"),
        ('{"experiment": "lm_traits", "config": {}}', "holds results of lm_traits, not of fake"),
        ('{"experiment": "fake", "config": {"colour": 1}}', "has colour, which is no setting of this version"),
        ('{"experiment": "fake", "config": {"rows": "many"}}', "--rows is 'many'; it must be a whole number"),
        ('{"experiment": "fake", "config": {"runs": -1}}', "runs is -1; it must be a whole number in 1.."),
        ('{"experiment": "fake", "config": {"seed": 0.5}}', "seed is 0.5; it must be a whole number in 0.."),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, content: str | None, words: str
) -> None:
    if content:
        (tmp_path / "x.json").write_text(content)
    assert words in fake.refused(capsys, tmp_path / "out", "--config", str(tmp_path / "x.json"))


def test_a_smoke_run_stands_in_no_ones_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for preset in ("smoke", "default", "smoke"):
        assert cli.command(fake.experiment(), ["--preset", preset]) == 0
    assert fake.results(tmp_path / "results")["runs"] == 4
    assert fake.results(tmp_path / "results" / "smoke")["runs"] == 2
    assert fake.command(tmp_path / "mine", "--preset", "smoke") == 0
    assert names(tmp_path / "mine") == ["fake.json"]


def test_results_of_the_same_settings_are_made_anew(tmp_path: Path) -> None:
    assert fake.command(tmp_path) == 0
    document = json.loads((tmp_path / "fake.json").read_text())
    (tmp_path / "fake.json").write_text(json.dumps(document | {"results": {}}))
    assert fake.command(tmp_path, "--preset", "smoke", "--runs", "4", "--rows", "500") == 0  # default's, in other words
    assert fake.results(tmp_path)["b"] == [0.5] * 4


@pytest.mark.parametrize("content", ["", "null", '{"config": 3}', "[" * 100_000, "{}", '{"config": {}}'])
def test_a_file_that_is_no_result_counts_as_another(
    tmp_path: Path, capsys: pytest.CaptureFixture, content: str
) -> None:
    (tmp_path / "fake.json").write_text(content)
    assert "--force" in fake.refused(capsys, tmp_path)
    assert (tmp_path / "fake.json").read_text() == content


def test_nothing_is_computed_before_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def never(_first: int, _count: int) -> dict[str, list]:
        raise AssertionError

    (tmp_path / "fake.json").write_text("mine")
    fake.refused(capsys, tmp_path, of=fake.experiment(never))
    fake.refused(capsys, tmp_path, "--dry-run", of=fake.experiment(never))
    assert fake.command(tmp_path, "--dry-run", "--force", of=fake.experiment(never)) == 0


def stopped_at(run: int, error: BaseException) -> cli.Experiment:
    def compute(first: int, count: int) -> dict[str, list]:
        if first == run:
            raise error
        return fake.numbers(first, count)

    return fake.experiment(compute)


ENDS = [
    (KeyboardInterrupt(), 130, "stopped; "),
    (MemoryError("Unable to allocate 149 GiB"), 1, "error: out of memory"),
    (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: too much"), 1, "error: out of memory"),
    (
        jax.errors.JaxRuntimeError("INTERNAL: dispatching: Out of memory allocating 40 bytes."),
        1,
        "error: out of memory",
    ),
    (engine.TrainingDivergedError("it diverged"), 1, "error: it diverged"),
    (OSError(errno.ENOSPC, "No space left"), 1, "error: cannot write to "),
]


@pytest.mark.parametrize(("error", "status", "words"), ENDS, ids=lambda value: type(value).__name__)
def test_stops_are_one_line_and_keep_what_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture, error: BaseException, status: int, words: str
) -> None:
    assert fake.command(tmp_path, of=stopped_at(2, error)) == status
    assert capsys.readouterr().err.splitlines()[-1].startswith(words)
    assert len(list(tmp_path.glob(".progress/fake-*/runs-000000-000001.json"))) == 1
    assert fake.command(tmp_path, of=stopped_at(0, AssertionError("taken up, not computed again"))) == 0
    assert fake.results(tmp_path)["a"] == [0.0, 1.0, 2.0, 3.0]
    assert names(tmp_path) == ["fake.json"]


def test_only_what_is_kept_is_said_to_be_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.command(tmp_path, of=stopped_at(0, KeyboardInterrupt()))
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; nothing was finished, so nothing is kept"
    fake.command(tmp_path, of=stopped_at(2, KeyboardInterrupt()))
    assert capsys.readouterr().err.splitlines()[-1].startswith("stopped; finished chunks are kept")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_train", stop)  # started again, and stopped before the first chunk
    fake.command(tmp_path)
    assert capsys.readouterr().err.splitlines()[-1].startswith("stopped; finished chunks are kept")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [{"x": (1.0, float("nan"))}]])
def test_a_value_that_is_not_finite_is_named(tmp_path: Path, capsys: pytest.CaptureFixture, value: object) -> None:
    """Such as what is divided by what a teacher learned, when it learned nothing."""

    def compute(first: int, count: int) -> dict[str, list]:
        return {**fake.numbers(first, count), "odds": [value if first else 0.5] * count}

    assert fake.command(tmp_path, of=fake.experiment(compute)) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: odds/0")
    assert "of runs 3-4 is not a finite number" in line
    assert not (tmp_path / "fake.json").exists()


def test_other_errors_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(jax.errors.JaxRuntimeError, match="INVALID"):
        fake.command(tmp_path, of=stopped_at(0, jax.errors.JaxRuntimeError("INVALID_ARGUMENT")))
    with pytest.raises(ValueError, match="a bug"):
        fake.command(tmp_path, of=stopped_at(0, ValueError("a bug")))


def test_a_second_ctrl_c_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself leaves at once, without Python's and JAX's exit hooks; Ctrl-C is ignored from the first on."""
    left = []

    def leave(status: int) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            left.append(status)
        except KeyboardInterrupt:
            left.append(-1)

    monkeypatch.setattr(cli, "leave", leave)
    monkeypatch.setattr(sys, "argv", ["fake", "--out", str(tmp_path)])
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit):
            cli.main(stopped_at(0, KeyboardInterrupt()))
    finally:
        signal.signal(signal.SIGINT, before)
    assert left == [130]


def test_in_a_notebook_the_signal_is_left_as_it_was(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert fake.command(tmp_path) == 0
    assert fake.command(tmp_path / "b", of=stopped_at(0, KeyboardInterrupt())) == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_leaving_runs_no_exit_hooks() -> None:
    code = (
        "import atexit, sys; from experiments.harness import quiet_interrupt as q; atexit.register(print, 'hook');"
        " print('flushed', end=''); q.leave(130)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "flushed", "")
    assert quiet_interrupt.INTERRUPTED == 130


def test_the_second_of_two_commands_on_one_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    inside, done, ends = threading.Event(), threading.Event(), []

    def slow(first: int, count: int) -> dict[str, list]:
        inside.set()
        done.wait(30)
        return fake.numbers(first, count)

    def second() -> None:
        inside.wait(30)
        with contextlib.suppress(AssertionError), files.only_one(tmp_path / ".progress" / "other.lock"):
            ends.append("another experiment may")
        try:
            with files.only_one(tmp_path / ".progress" / "fake.lock"):
                ends.append("both write")
        except files.BusyError:
            ends.append("refused")
        done.set()

    other = threading.Thread(target=second)
    other.start()
    assert fake.command(tmp_path, of=fake.experiment(slow)) == 0
    other.join()
    assert ends == ["another experiment may", "refused"]
    with files.only_one(tmp_path / ".progress" / "fake.lock"):
        capsys.readouterr()
        assert "another fake is writing to" in fake.refused(capsys, tmp_path, "--seed", "5", "--force")
    assert fake.command(tmp_path) == 0


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = "import sys, time, pathlib; from experiments.harness.files import only_one\n"
    code += "with only_one(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    path = tmp_path / "x" / "a.lock"
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(files.BusyError), files.only_one(path):
        pass
    holder.kill()
    holder.communicate()
    assert path.exists()
    with files.only_one(path):
        assert path.exists()
    assert not list(tmp_path.iterdir())


def test_what_killed_commands_left_half_written_is_swept(tmp_path: Path) -> None:
    progress = tmp_path / ".progress" / "fake-0123"
    for folder in (progress, tmp_path / "fake"):
        folder.mkdir(parents=True)
    litter = [
        tmp_path / ".fake-abcd_123.json",
        tmp_path / ".fake-abcd_123.png",
        progress / ".runs-000000-000001-abcd1234.json",
    ]
    litter.append(tmp_path / "fake" / ".owl-abcd1234.jsonl")
    others = [tmp_path / ".faker-abcd1234.json", tmp_path / "tmpabcd1234.png", tmp_path / ".fake-notes.json"]
    others += [progress / "runs-000000-000001.json", tmp_path / ".progress" / "x.json"]
    for path in (*litter, *others):
        path.write_text("half")
    assert fake.command(tmp_path) == 0
    assert [path.name for path in litter if path.exists()] == []
    assert [path.name for path in others if not path.exists()] == []


class Broken(io.StringIO):
    """A stream whose other end is gone, or full."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, _text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


def test_a_reader_of_stderr_that_goes_away_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Broken(errno.EPIPE))
    assert fake.command(tmp_path) == 0
    assert fake.results(tmp_path)["a"] == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("stream", "words"),
    [(Broken(errno.EPIPE), "Broken pipe"), (Broken(errno.ENOSPC), "No space left"), (None, "closed")],
)
def test_a_table_that_cannot_be_printed_is_said_to_be_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, stream: object, words: str
) -> None:
    monkeypatch.setattr("sys.stdout", stream)
    assert fake.command(tmp_path) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "could be printed to stdout" in line
    assert words in line
    assert f"written to {tmp_path / 'fake.json'}" in line
    assert fake.results(tmp_path)["a"] == [0.0, 1.0, 2.0, 3.0]
    assert names(tmp_path) == ["fake.json"]


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
@pytest.mark.parametrize("arguments", [["--help"], ["--dry-run"]])
def test_a_reader_who_has_read_enough_is_no_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    number: int,
    arguments: list[str],
) -> None:
    monkeypatch.setattr("sys.stdout", Broken(number))
    full = number == errno.ENOSPC
    assert fake.command(tmp_path, *arguments) == (1 if full else 0)
    assert ("could be printed" in capsys.readouterr().err) is full


def test_a_list_that_is_cut_short_ends_in_silence() -> None:
    command = f"{sys.executable} -m experiments.mnist_sweeps --list | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_a_swallowed_ctrl_c_comes_again() -> None:
    """As in a callback of the garbage collector: Python can only report what is raised there."""
    code = (
        "import gc, signal, time; from experiments.harness import quiet_interrupt; quiet_interrupt.insist()\n"
        "gc.callbacks.append(lambda phase, _: phase == 'stop' and (gc.callbacks.clear(), signal.raise_signal(2)))\n"
        "try:\n    gc.collect(); print('swallowed', flush=True); time.sleep(10); print('lost')\n"
        "except KeyboardInterrupt: print('heard')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["swallowed", "heard"], "")


def test_what_the_numbers_say_closes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    said = fake.experiment(closing=lambda document: f"{document['results']['runs']} runs, no surprise")
    assert fake.command(tmp_path, of=said) == 0
    assert capsys.readouterr().out == f"a table\n\n4 runs, no surprise\n\nwrote {tmp_path / 'fake.json'}\n"


def test_further_files_are_named_and_those_of_earlier_results_go(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def written(*rows: str) -> str:
        assert fake.command(tmp_path, of=fake.experiment(rows=lambda _: {name: [name, 1] for name in rows})) == 0
        return capsys.readouterr().out

    written("owl", "wolf")
    assert f"wrote {tmp_path / 'fake' / '*.jsonl'}\n" in written("owl", "cat")
    assert names(tmp_path / "fake") == ["cat.jsonl", "owl.jsonl"]
    assert (tmp_path / "fake" / "cat.jsonl").read_text() == '"cat"\n1\n'


def test_results_outlive_a_figure_that_cannot_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def draw(_name: str, **_folders: Path) -> Path:
        raise figures.FigureError("too few rows")

    import figures

    monkeypatch.setattr(figures, "draw", draw)
    assert fake.command(tmp_path, of=fake.experiment(figure=True)) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["a table", f"wrote {tmp_path / 'fake.json'}"]
    assert captured.err.splitlines()[-1].endswith("but no figure: too few rows")
    assert names(tmp_path) == ["fake.json"]
