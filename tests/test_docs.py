"""Pages are what templates and committed results make of them; no number in a template is typed by hand."""

import importlib
import json
import re
import shutil
from pathlib import Path

import jinja2
import numpy as np
import pytest
from scipy import stats

import docs
from docs import __main__ as command
from docs import notebook
from experiments.studies import lm_other_init
from subliminal_toy import mnist
from subliminal_toy.lm.config import LMConfig
from tests.experiments import made_up

ALLOWED = {  # settings, sources, names of parts of pages and of statements, which no result holds
    "every page": {"95", "2.7", "2.2", "0", "1", "2025", "2026", "90.1"},
    "README": {"3.11", "3.14", "2.0", "8x8", "20", "19", "135M"},
    "mnist_aux_logits": {"2", "3", "4", "8x8", "10b", "100", "0.10", "0.945", "0.53", "0.025", "0.91", "0.745", "0.01"},
    "cluster": {"4", "8x8", "10,000", "50"},
    "gradient_theorem": {"1,024", "1/16"},
    "lm_numbers": {"2", "3", "4", "5", "6", "8", "16", "1st", "2nd", "3rd", "4th", "5th", "667", "973", "784"},
    "_seeds": {"20"},
    "lm_other_init": {"0.059", "0.025", "80"},
    "lm_controls": {"5", "16"},
    "lm_mechanism": {"100"},
    "lm_architectures": {"30", "10", "32", "4.1", "4o"},
    "lm_traits": {"40"},
    "lm_in_context": {"9"},
    "lm_pretrained": {  # expected before the run, of others, and settings
        "2",
        "3",
        "4",
        "4.1",
        "5",
        "6",
        "12",
        "14",
        "16",
        "19",
        "20",
        "24",
        "32",
        "48",
        "64",
        "98",
        "135M",
        "160M",
        "256",
        "412",
        "655",
        "730",
        "0.1",
        "0.10",
        "0.23",
        "0.28",
        "0.32",
        "0.33",
        "0.41",
        "0.50",
        "0.61",
        "0.64",
        "0.76",
        "1.27",
    },
    "_subliminal_learning": {"8x8"},
    "_independent": {"32"},
    "mnist_mechanism": {"10", "40", "64", "100", "128", "256", "300", "512", "1024"},
}
CODE = (r"\{\{.*?\}\}", r"\{#.*?#\}", r"```.*?```", r"`[^`\n]*`", r"(?m:^)    [^\n]*", r"\]\([^)]*\)", r"theta_0")
LABEL = r"\b[A-Z]\d\b"  # of a statement of the theory


@pytest.mark.parametrize("name", docs.names())
def test_rendering_again_changes_nothing(name: str) -> None:
    assert docs.place(name).read_text() == docs.render(name)


@pytest.mark.parametrize("name", [name for name in docs.names() if name != docs.FRONT])
def test_a_page_says_where_to_edit_it(name: str) -> None:
    first, *_ = docs.place(name).read_text().splitlines()
    assert first == f"<!-- Rendered from docs/templates/{name}.md by python -m docs: edit that. -->"
    assert (docs.TEMPLATES / f"{name}.md").exists()


def test_every_page_has_a_template() -> None:
    written = {path.stem for path in docs.HERE.glob("*.md")} | {docs.FRONT}
    assert written == set(docs.names())


def typed(text: str) -> set[str]:
    """Numbers that stand in a template as such, or in texts of its loops."""
    text = re.sub(r"\{%.*?%\}", lambda block: " ".join(re.findall(r'"[^"]*"', block[0])), text, flags=re.DOTALL)
    for pattern in (*CODE, LABEL):
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    return set(re.findall(r"(?<![A-Za-z])\d[\w.,/]*\w|(?<![A-Za-z\d])\d", text))


@pytest.mark.parametrize("path", sorted(docs.TEMPLATES.glob("*.md")), ids=lambda path: path.stem)
def test_no_number_is_typed_by_hand(path: Path) -> None:
    assert typed(path.read_text()) <= ALLOWED["every page"] | ALLOWED.get(path.stem, set())


def test_a_typed_number_is_seen() -> None:
    text = (
        'by 1.19 nats, {{ 2.5 }} `3`\n    python 4\n```\n5\n```\n in 88% of 1,200 {% for a in ["7 b"][:6] %} pairs (B1)'
    )
    assert typed(text) == {"1.19", "88", "1,200", "7"}


def test_the_front_page_is_short() -> None:
    assert docs.place(docs.FRONT).stat().st_size <= 9 * 1024


def words(text: str) -> int:
    """How many words a page has beside its tables, code, pictures, comments and what is folded away."""
    for pattern in (r"<!--.*?-->", r"<details>.*?</details>", r"```.*?```", r"(?m:^)(\||!|    )[^\n]*"):
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    return len(text.split())


@pytest.mark.parametrize("name", docs.names())
def test_pages_are_short(name: str) -> None:
    assert words(docs.place(name).read_text()) <= 1200


def test_only_prose_is_counted() -> None:
    text = "<!-- a -->\n# A title\n| a | b |\n\n    a command\n\n```\ncode\n```\n![a](b)\n<details>\na\n</details>\n4\n"
    assert words(text) == 4


@pytest.mark.parametrize("name", docs.names())
def test_links_lead_somewhere(name: str) -> None:
    page = docs.place(name)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target and not target.startswith("../../actions"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", [name for name in docs.names() if name not in (docs.FRONT, *docs.GUIDES)])
def test_every_page_says_how_it_was_made(name: str) -> None:
    record = json.loads((docs.RESULTS / f"{name}.json").read_text())["provenance"]
    text = docs.place(name).read_text()
    for words in ("**Answer.**", record["command"], record["git"][:7], record["device"], "this does not show"):
        assert words in text


@pytest.fixture
def results(tmp_path: Path) -> Path:
    shutil.copytree(docs.RESULTS, tmp_path / "results")
    return tmp_path / "results"


def rewrite(path: Path, **parts: object) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"results": document["results"] | parts}))


def test_rows_in_another_order_give_the_same_page(results: Path) -> None:
    path = results / "mnist_aux_logits.json"
    rows = json.loads(path.read_text())["results"]["conditions"]
    rewrite(path, conditions=rows[::-1])
    assert docs.render("README", results) == docs.render("README")
    rewrite(path, conditions=[*rows, rows[2]])
    with pytest.raises(LookupError, match="2 rows are called 'student_aux'"):
        docs.render("README", results)


def test_a_sentence_that_no_longer_holds_stops_the_page(results: Path) -> None:
    path = results / "lm_architectures.json"
    shapes = json.loads(path.read_text())["results"]["shapes"]
    rewrite(path, shapes=[{**shapes[0], "ci95": [-0.1, 3.0]}, *shapes[1:]])
    with pytest.raises(docs.ClaimError):
        docs.render("lm_architectures", results)


LANGUAGE_MODEL = ("lm_numbers", "lm_controls", "lm_mechanism", "lm_architectures", "lm_traits")


@pytest.mark.parametrize("name", LANGUAGE_MODEL)
def test_pages_fit_what_the_code_writes(name: str, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that a run would have today: made-up numbers, so that no sentence has to hold."""
    monkeypatch.setattr(docs, "holds", lambda _: "")
    room = "" if name == "lm_numbers" else "studies."
    module = importlib.import_module(f"tests.experiments.{room}test_{name}")
    path = results / f"{name}.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"results": {"runs": 3, **module.results()}}))
    assert "## All numbers" in docs.render(name, results)


def test_pages_wait_for_their_results(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "holds", lambda _: "")  # made-up numbers: no sentence has to hold
    (results / "lm_other_init.json").unlink(missing_ok=True)
    assert "lm_other_init" not in docs.names(results)
    assert "lm_other_init" not in docs.render("README", results)
    config = LMConfig(traits="owl,wolf,cat")
    values = made_up.values(lm_other_init.make_plan(config), lambda *names: made_up.number(*names), 6)
    document = json.loads((results / "lm_controls.json").read_text())
    rows = {"runs": 6, **lm_other_init.summarize(config, values)}
    (results / "lm_other_init.json").write_text(json.dumps(document | {"results": rows}))
    assert "lm_other_init" in docs.names(results)
    assert f"shifts its log-odds by {docs.interval(rows['rows'][0], 3)} nats" in docs.render("lm_other_init", results)
    seeds = len(
        json.loads((results / "lm_numbers.json").read_text())["results"]["overall"]["margin"][
            "cross_minus_cross_regular"
        ]["per_run"]
    )
    assert f"over {seeds + 3 * 10 + 6} seeds" in docs.render("README", results)


def test_a_name_that_is_not_there_or_twice_is_an_error() -> None:
    rows = [{"name": "a", "n": 1}, {"name": "b", "n": 1}, {"name": "b", "n": 2}]
    assert docs.pick(rows, "a") is rows[0]
    assert docs.pick(rows, "b", n=2) is rows[2]
    assert docs.pick(rows, n=2) is rows[2]
    for name in ("b", "c"):
        with pytest.raises(LookupError, match=f"rows are called '{name}'"):
            docs.pick(rows, name)
    with pytest.raises(KeyError):
        docs.pick(rows, m=1)


def test_filters() -> None:
    row = {"mean": -0.1234, "ci95": [-0.2, 0.005], "per_run": [1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 9.0]}
    assert docs.interval(row, 3) == "\u22120.123 [\u22120.200, 0.005]"
    assert docs.percent(row) == "\u221212% [\u221220, 0]"
    assert docs.percent({"mean": 0.5, "ci95": None}) == "50%"
    assert docs.median({"median": 1.0, "median_ci95": [0.9, 9.0]}) == "1.00 [0.90, 9.00]"
    assert docs.median({"median": 2.0, "median_ci95": None}) == "2.00"
    assert docs.outlying(row | {"outliers": [0]}) == [1.0]
    runs = [{"per_run": [0.1, 3.0, 1.0]}, {"per_run": [0.2, 2.0, 2.0]}, {"per_run": [0.9, 1.0, 5.0]}]
    assert docs.less(runs[1], runs[0])["mean"] == pytest.approx((0.1 - 1.0 + 1.0) / 3)
    assert docs.of_runs(runs[0], [0, 2])["mean"] == pytest.approx(0.55)
    assert docs.ranked([1, 10, 100], runs)["mean"] == pytest.approx((1 - 1 + 1) / 3)
    assert docs.number(-0.0004, 3) == "0.000"
    assert (docs.signed(0.5), docs.signed(-0.5)) == ("+0.50", "\u22120.50")
    assert (docs.minutes(91.2), docs.minutes(1680)) == ("91 s", "28 min")
    command = "python -m experiments.a --preset paper --out experiments/results --force"
    assert docs.command({"experiment": "a", "provenance": {"command": command}}) == "a --preset paper"
    moved = {"experiment": "lm_traits", "provenance": {"command": "python -m experiments.lm_traits --runs 2"}}
    assert docs.command(moved) == "studies.lm_traits --runs 2"
    assert docs.holds(True) == ""
    with pytest.raises(jinja2.UndefinedError):
        jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True).from_string("{{ a }}").render()


def test_a_share_is_a_ratio_of_means_with_an_interval_over_runs() -> None:
    ordinary = {"per_run": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
    half = docs.share({"per_run": [0.5 * value for value in ordinary["per_run"]]}, ordinary)
    assert [half["mean"], *half["ci95"]] == pytest.approx([0.5, 0.5, 0.5])  # what runs share cancels
    shifted = docs.share({"per_run": ordinary["per_run"][::-1]}, ordinary)
    assert shifted["mean"] == 1
    assert shifted["ci95"][0] < 0.8 < 1.2 < shifted["ci95"][1]
    assert shifted == docs.share({"per_run": ordinary["per_run"][::-1]}, ordinary)
    assert docs.share({"per_run": [1.0]}, {"per_run": [4.0]}) == {"mean": 0.25, "ci95": None}
    assert docs.per({"mean": 3.0, "ci95": [1.0, 5.0]}, 2) == {"mean": 1.5, "ci95": [0.5, 2.5]}


def test_independent_rows_together() -> None:
    rows = [{"per_run": [0.0, 1.0, 2.5]}, {"per_run": [0.0, 1.0, 2.0, 1.5]}, {"per_run": [8.0, 9.0, 10.0, 9.5]}]
    assert docs.pooled(rows[:2])["per_run"] == [0.0, 1.0, 2.5, 0.0, 1.0, 2.0, 1.5]
    assert docs.equal_means(rows[:2]) > 0.8
    assert docs.equal_means(rows) < 0.01


def test_power_is_the_share_of_t_tests_that_detect_a_difference() -> None:
    row = {"per_run": [0.0, 1.0, 2.0, 3.0, 4.0]}
    assert docs.power(row, 0) == pytest.approx(0.05)
    spread, draws = np.std(row["per_run"], ddof=1), np.random.default_rng(0).normal(size=(20_000, 5))
    p = stats.ttest_1samp(2 + spread * draws, 0, axis=1).pvalue
    assert docs.power(row, 2) == pytest.approx(np.mean(p < 0.05), abs=0.01)


def test_values_between_points_at_each_runs_place() -> None:
    points = [{"fraction": 1.0, "per_run": [8.0, 20.0]}, {"fraction": 0.0, "per_run": [0.0, 10.0]}]
    assert docs.interpolated(points, {"per_run": [0.25, 0.5]})["per_run"] == [2.0, 15.0]


def test_the_notebook_is_what_its_template_makes_of_it() -> None:
    text = (docs.HERE / f"{notebook.NAME}.ipynb").read_text()
    assert text == notebook.as_text()
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 10
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    for cell in code:
        compile("".join(cell["source"]), notebook.NAME, "exec")


@pytest.mark.long
def test_the_first_half_of_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """With small networks."""
    small = {"width": 16, "noise_images": 2048, "teacher.epochs": 1, "student.epochs": 2}
    real = mnist.config_for
    monkeypatch.setattr(mnist, "config_for", lambda name, settings=None: real(name, {**small, **(settings or {})}))
    names = notebook.run(until="Change one thing")
    assert names["curves"].shape == (2, 2)
    assert names["moved"]["student_aux"].shape == (64, 16)
    assert len(names["ax"].patches) == len(names["accuracy"]) == 6
    assert re.search(r"^cross_all +\d\.\d\d \d\.\d\d$", capsys.readouterr().out, flags=re.MULTILINE)


@pytest.mark.long
def test_the_whole_notebook_runs(capsys: pytest.CaptureFixture) -> None:
    names = notebook.run()
    assert [row["trait"] for row in names["results"]["traits"]] == ["owl", "wolf"]
    assert capsys.readouterr().out.count("assumptions              hold") == 2


def test_one_page_of_other_results_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_text", None)  # nothing is written
    shutil.copy(docs.RESULTS / "gradient_theorem.json", tmp_path)
    command.main(["gradient_theorem", "--results", str(tmp_path)])
    assert capsys.readouterr().out == (docs.HERE / "gradient_theorem.md").read_text()
    for refused in (["lm_numbers", "--results", str(tmp_path)], ["--results", str(tmp_path)]):
        with pytest.raises(SystemExit):
            command.main(refused)
