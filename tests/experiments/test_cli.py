"""The command line: every flag with nonsense ends in one line and status 2; help, tables and progress read well."""

import functools
import io
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from experiments import gradient_theorem, lm_numbers, mnist_aux_logits
from experiments.harness import cli, files, tables
from experiments.mnist_aux_logits import EXPERIMENT
from experiments.studies import lm_architectures, lm_controls, lm_mechanism, lm_traits, tune_digits
from subliminal_toy import mnist
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.settings import setting_fields, setting_value
from tests.experiments import commands, fake


def refused(capsys: pytest.CaptureFixture, out: Path, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.command(EXPERIMENT, ["--dataset", "digits", "--out", str(out), *arguments])
    captured = capsys.readouterr()
    assert stopped.value.code == cli.BAD_INPUT
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("flag", ["--runs", "--chunk"])
@pytest.mark.parametrize("value", ["0", "-3", "2.5", "many", ""])
def test_counts_must_be_positive_whole_numbers(
    capsys: pytest.CaptureFixture, tmp_path: Path, flag: str, value: str
) -> None:
    assert flag in refused(capsys, tmp_path, f"{flag}={value}")


@pytest.mark.parametrize("value", ["-1", "4294967296", "x", "1e3"])
def test_seed_must_be_in_range(capsys: pytest.CaptureFixture, tmp_path: Path, value: str) -> None:
    assert "--seed" in refused(capsys, tmp_path, f"--seed={value}")


@pytest.mark.parametrize("flag", ["--preset", "--dataset"])
def test_choices_are_listed(capsys: pytest.CaptureFixture, tmp_path: Path, flag: str) -> None:
    assert "choose from" in refused(capsys, tmp_path, flag, "nonsense")


@pytest.mark.parametrize("name", [name for name in setting_fields(mnist.Config) if name != "dataset"])
@pytest.mark.parametrize("value", ["nonsense", "-7", "nan"])
def test_every_setting_refuses_nonsense(capsys: pytest.CaptureFixture, tmp_path: Path, name: str, value: str) -> None:
    message = refused(capsys, tmp_path, f"--{name.replace('.', '-').replace('_', '-')}={value}")
    assert name.rpartition(".")[2].replace("_", "") in message.replace("-", "").replace("_", "")
    assert not (tmp_path / "mnist_aux_logits.json").exists()


def test_unknown_and_abbreviated_flags_are_refused(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert "unrecognized arguments: --colour" in refused(capsys, tmp_path, "--colour", "red")
    assert "(is it --aux-logits?)" in refused(capsys, tmp_path, "--aux_logit", "3")
    assert "unrecognized arguments: --run" in refused(capsys, tmp_path, "--run", "3")


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("--lr", "(is it --teacher-learning-rate or --student-learning-rate?)"),
        ("--learning_rate", "(is it --teacher-learning-rate or --student-learning-rate?)"),
        ("--epochs", "(is it --student-epochs or --teacher-epochs?)"),
        ("--batch-size", "(is it --teacher-batch-size or --student-batch-size?)"),
        ("--seeds", "(is it --runs?)"),
        ("--output", "(is it --out?)"),
        ("--resume", "(the same command goes on where it was stopped, without a flag; --fresh starts over)"),
    ],
)
def test_a_flag_by_another_name_is_told_its_name_here(
    capsys: pytest.CaptureFixture, tmp_path: Path, word: str, words: str
) -> None:
    assert words in refused(capsys, tmp_path, f"{word}=5")


@pytest.mark.parametrize("flag", ["--out", "--data-dir", "--cluster"])
@pytest.mark.parametrize("value", ["", " "])
def test_the_value_of_an_unset_variable_is_refused(
    capsys: pytest.CaptureFixture, tmp_path: Path, flag: str, value: str
) -> None:
    assert f"{flag}: it is empty; give a" in refused(capsys, tmp_path, f"{flag}={value}")


def test_a_folder_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    options = cli.make_parser(EXPERIMENT).parse_args(["--out=~/x", "--data-dir", "~/y"])
    assert (options.out, options.data_dir) == (Path("/somewhere/x"), Path("/somewhere/y"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("runs", 0), ("runs", -1), ("runs", 2.5), ("runs", True), ("runs", 2**31), ("seed", -1), ("seed", 2**32),
     ("seed", "1"), ("chunk", 0), ("cluster", "")],
)  # fmt: skip
def test_a_call_refuses_what_the_flags_refuse(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is "):
        fake.experiment().run(LMConfig(), **{name: value})


def test_a_call_refuses_settings_of_another_experiment() -> None:
    with pytest.raises(ValueError, match="config is a Config; fake needs a LMConfig"):
        fake.experiment().run(mnist.Config())


def test_a_call_takes_seeds_and_runs_of_numpy() -> None:
    assert fake.experiment().run(LMConfig(), runs=np.int64(2), seed=2**32 - 1)["runs"] == 2


def test_missing_data_folder_is_named(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    line = refused(capsys, tmp_path, "--dataset", "mnist", "--data-dir", str(tmp_path / "nowhere"))
    assert "nowhere" in line
    assert "train-images-idx3-ubyte.gz" in line


def test_output_folder_that_is_a_file(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("kept")
    assert "choose another with --out" in refused(capsys, tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "kept"


def test_output_folder_on_a_read_only_file_system(capsys: pytest.CaptureFixture) -> None:
    assert "cannot write to the output folder /proc/" in refused(capsys, Path("/proc/subliminal"))


def test_divergence_is_one_line_and_status_1(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    diverging = ("--teacher-optimizer", "sgd", "--teacher-learning-rate", "1e30")
    with pytest.raises(SystemExit) as stopped:
        cli.command(EXPERIMENT, [*commands.TINY, "--out", str(tmp_path), *diverging])
    assert stopped.value.code == cli.FAILED
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: the teacher diverged: the loss was not finite")
    assert not (tmp_path / "mnist_aux_logits.json").exists()


def test_help_lists_every_flag_with_its_default() -> None:
    text = " ".join(cli.make_parser(EXPERIMENT).format_help().split())
    for name, field in setting_fields(mnist.Config).items():
        if name != "dataset":
            assert "--" + name.replace(".", "-").replace("_", "-") in text
            assert f"default: {field.default}" in text
    for flag in (
        "--preset",
        "--runs",
        "--seed",
        "--chunk",
        "--out",
        "--dataset",
        "--data-dir",
        "--fresh",
        "--force",
        "--dry-run",
    ):
        assert flag in text


def test_flags_reach_the_config_over_preset_and_data_set() -> None:
    config = EXPERIMENT.configure("smoke", {"student.epochs": 7, "width": 9}, "mnist")
    assert (config.student.epochs, config.width, config.teacher.epochs, config.dataset) == (7, 9, 1, "mnist")
    assert EXPERIMENT.configure("default", {}, "digits").teacher.batch_size == 32


def help_of(experiment: cli.Experiment) -> dict[str, str]:
    """What --help says of every flag."""
    actions = cli.make_parser(experiment)._actions
    return {action.option_strings[-1]: str(action.help).replace("%%", "%") for action in actions}


@pytest.mark.parametrize("module", [lm_numbers, lm_mechanism, lm_controls, lm_traits, lm_architectures])
def test_help_shows_what_the_default_preset_runs(module: ModuleType) -> None:
    experiment = module.EXPERIMENT
    config, shown = experiment.configure("default", {}, None), help_of(experiment)
    for name in setting_fields(experiment.config_class()):
        value = setting_value(config, name)
        value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        assert f"default: {value}" in shown["--" + name.replace(".", "-").replace("_", "-")]
    assert "smoke: 16000" in shown["--documents"]
    text = cli.make_parser(experiment).format_help()
    for wrong in ("defaults: the paper's", "images"):
        assert wrong not in text


def test_help_reads_well() -> None:
    shown = help_of(EXPERIMENT)
    assert shown["--teacher-decay"].startswith("the teacher's weight decay as a part of the gradient (coupled)")
    assert "OFF" not in cli.make_parser(EXPERIMENT).format_help()
    assert "problems of each family" in help_of(gradient_theorem.EXPERIMENT)["--runs"]
    assert "--chunk" not in help_of(gradient_theorem.EXPERIMENT)  # problems of a kind are measured together


def test_what_a_command_decides_itself_is_no_flag_and_not_recorded() -> None:
    shown, experiment = help_of(tune_digits.EXPERIMENT), tune_digits.EXPERIMENT
    for name in ("--student-epochs", "--teacher-learning-rate", "--noise-images", "--teacher-batch-size"):
        assert name not in shown
    assert "default: 1000" in shown["--seed"]
    config = experiment.configure("default", {"width": 9}, "digits")
    recorded = cli.Request(experiment, config, None, 3, 7).recorded("smoke")
    assert (recorded["runs"], recorded["seed"], recorded["width"]) == (3, 7, 9)
    assert "noise_images" not in recorded
    assert "epochs" not in recorded["student"]
    assert "clip" in recorded["student"]


def test_tuning_takes_its_runs_and_seed(monkeypatch: pytest.MonkeyPatch, digits: mnist.Dataset) -> None:
    seen = []

    def accuracies(trained: tuple, dataset: mnist.Dataset) -> dict[str, np.ndarray]:
        config, _, (seed, runs) = trained
        seen.append((list(runs), seed, config.width, len(dataset.train_images) < len(digits.train_images)))
        best = config.teacher.epochs == 30 and config.student.epochs == 10 and config.student.learning_rate == 1e-3
        return {name: np.full(len(runs), 0.5 + 0.1 * best) for name in mnist_aux_logits.CONDITIONS}

    monkeypatch.setattr(mnist, "run_keys", lambda seed, runs: (seed, runs))
    monkeypatch.setattr(mnist, "train", lambda config, _dataset, conditions, keys, **_: (config, conditions, keys))
    monkeypatch.setattr(tune_digits, "Job", functools.partial(tune_digits.Job, measure=accuracies))
    config = tune_digits.EXPERIMENT.configure("default", {"width": 9}, "digits")
    results = tune_digits.run(config, runs=1, seed=7, dataset=digits)
    assert (results["runs"], len(results["trials"])) == (1, 16)
    assert seen == [([0], 7, 9, True)] * 16
    shown = ("learning_rate", "teacher.epochs", "student.epochs")
    assert [results["best"].get(key, results["best"]["student.learning_rate"]) for key in shown] == [1e-3, 30, 10]


def test_table_is_markdown_with_aligned_columns() -> None:
    lines = tables.markdown_table(["name", "mean"], [("a", "1.00"), ("longer", "10.00")]).splitlines()
    assert lines == ["| name   |  mean |", "|--------|------:|", "| a      |  1.00 |", "| longer | 10.00 |"]


def test_interval_text() -> None:
    assert tables.interval_text(0.5, (0.4, 0.6)) == ("0.500", "[0.400, 0.600]")
    assert tables.interval_text(0.5, None) == ("0.500", "-")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    progress = cli.Progress(quiet=False)
    progress.start(4, "digits")
    progress.advance(2, "digits, half")
    progress._bar.refresh()
    assert "digits, half:  50%" in screen.getvalue()
    assert "left" in screen.getvalue()
    progress.close()


def test_progress_is_plain_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    log, clock = io.StringIO(), iter([0.0, 100.0, 100.0, 100.0, 150.0, 150.0, 150.0])
    monkeypatch.setattr("sys.stderr", log)
    monkeypatch.setattr("experiments.harness.progress.time.monotonic", lambda: next(clock))
    progress = cli.Progress(quiet=False)
    progress.start(8, "digits")
    progress.advance(4, "from an earlier start", loaded=True)
    progress.advance(1, "epoch 1")
    assert log.getvalue().splitlines() == ["digits: started", "epoch 1: 62%, 00:50 gone, 02:30 left"]


def test_time_left_is_never_negative_and_saved_runs_took_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of work are rounded: their sum may be a bit more than the whole. What was saved says nothing of speed."""
    screen, now = Terminal(), 0.0
    monkeypatch.setattr("sys.stderr", screen)
    for clock in ("experiments.harness.progress.time.monotonic", "tqdm.std.time"):
        monkeypatch.setattr(clock, lambda: now)
    progress = cli.Progress(quiet=False)
    progress.start(1.0, "digits")
    shown = []
    steps = ((1.0, 0.5, True), (2.0, 0.01, False), (11.0, 0.09, False), (21.0, 0.4 + 1e-9, False))
    for now, share, loaded in steps:  # noqa: B007
        progress.advance(share, "epoch", loaded=loaded)
        shown.append(str(progress._bar).partition("gone, ")[2])
    assert shown == ["? left", "? left", "00:44 left", "00:00 left"]  # a hundredth was too little to tell
    progress.close()


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture) -> None:
    progress = cli.Progress()
    progress.start(2, "x")
    progress.advance(2, "x")
    progress.close()
    assert capsys.readouterr() == ("", "")


def test_two_configs_keep_their_progress_apart(tmp_path: Path) -> None:
    parse = cli.make_parser(EXPERIMENT).parse_args
    stores = set()
    for flags in ([], ["--seed", "1"], ["--width", "32"], ["--chunk", "2"]):
        options = parse(["--out", str(tmp_path), *flags])
        config = EXPERIMENT.configure("default", {} if options.width is None else {"width": options.width}, "digits")
        stores.add(cli._open_store(EXPERIMENT, options, config).folder)
    assert len(stores) == 4


def test_finished_json_is_complete_by_itself(tmp_path: Path) -> None:
    ended = commands.run(tmp_path, *commands.TINY)
    assert ended.status == 0, ended.err
    document = json.loads((tmp_path / "mnist_aux_logits.json").read_text())
    assert list(document) == ["experiment", "config", "provenance", "results"]
    known = {"git", "dirty", "command", "versions", "switches", "device", "started", "seconds"}
    assert set(document["provenance"]) == known
    assert document["config"]["runs"] == 6
    assert document["config"]["student"]["epochs"] == 2
    assert [row["name"] for row in document["results"]["conditions"]] == list(mnist_aux_logits.CONDITIONS)
    assert all(len(row["accuracy"]) == 6 for row in document["results"]["conditions"])
    assert "student_aux - cross_aux" in [row["name"] for row in document["results"]["paired"]]
    assert "| student_aux " in ended.out
    assert ended.out.splitlines()[-2:] == [f"wrote {tmp_path / 'mnist_aux_logits'}{s}" for s in (".json", ".png")]
    assert "8x8 digits" in ended.out
    assert (tmp_path / "mnist_aux_logits.png").stat().st_size > 10_000
    assert not list(tmp_path.glob(".*"))
    files.check_writable(tmp_path)


def test_an_unknown_trait_is_told_its_neighbours_and_where_words_live(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        cli.command(lm_numbers.EXPERIMENT, ["--traits", "elefant", "--dry-run"])
    assert "'elefant', which is no answer: elephant is near;" in (error := capsys.readouterr().err)
    assert "subliminal_toy/lm/vocabulary.py" in error


def test_a_table_says_why_an_interval_leaves_the_unit_interval() -> None:
    assert tables.beyond_note([{"ci95": (0.0, 1.0)}, {"ci95": None}]) == ""
    for ci95 in ((-0.1, 0.5), (0.5, 1.1)):
        assert "t interval of few runs knows no limits" in tables.beyond_note([{"ci95": (0.1, 0.2)}, {"ci95": ci95}])


@pytest.mark.parametrize("terminal", [True, False])
def test_a_call_shows_progress_where_somebody_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert fake.experiment().run(LMConfig(), runs=2)["runs"] == 2
    assert bool(capsys.readouterr().err) == terminal


def test_settings_that_are_true_or_false_take_yes_and_no(capsys: pytest.CaptureFixture) -> None:
    parser = cli.make_parser(lm_numbers.EXPERIMENT)
    for text, value in (("yes", True), ("no", False), ("True", True), ("0", False)):
        assert parser.parse_args(["--shared-documents", text]).shared_documents is value
    with pytest.raises(SystemExit):
        parser.parse_args(["--shared-documents", "2"])
    error = capsys.readouterr().err
    assert error == "error: argument --shared-documents: '2' is neither yes nor no; --help lists the flags\n"
    assert "(default: yes)" in " ".join(parser.format_help().split())
