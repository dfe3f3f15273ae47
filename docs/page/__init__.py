"""The page to play with: one HTML file that asks no network for anything, made of the sources here and of results.

The story's numbers, the networks that one draws for and the settings that one trains with are picked from committed
results by name; the small digits come with scikit-learn.
"""

import base64
import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import docs
from experiments import lm_numbers
from subliminal_toy.statistics import t_interval

HERE = Path(__file__).resolve().parent
SITE = HERE.parent.parent / "site" / "index.html"
SCRIPTS = ("mlp", "protocol", "charts", "drawing", "worker", "story", "answers", "train")
DIGITS_TEST, DIGITS_SEED = 360, 0  # as subliminal_toy/mnist/data.py splits them; a test compares
CHARTS: dict[str, tuple[str, str, dict[str, tuple[str, str]]]] = {  # id: result, its list, rows' labels and colours
    "chart-mnist": (
        "mnist_aux_logits",
        "conditions",
        {
            "reference": ("reference, untrained", "reference"),
            "teacher": ("teacher", "teacher"),
            "student_aux": ("student", "student"),
            "cross_aux": ("student, another start", "cross"),
            "student_all": ("student, copies all outputs", "student-all"),
            "cross_all": ("copies all, another start", "cross-all"),
        },
    ),
    "chart-cause": (
        "mnist_mechanism",
        "cause",
        {
            "student_aux": ("student", "student"),
            "without delta": ("without the teacher\u2019s direction", "cross"),
            "only delta": ("the teacher\u2019s direction only", "teacher"),
            "without trait": ("without the digits\u2019 direction", "cross-all"),
            "only trait": ("the digits\u2019 direction only", "cross-all"),
            "without random": ("pushed along a random direction", "student-all"),
            "only random": ("that push only", "reference"),
        },
    ),
}
LANGUAGE = {
    "base": ("untaught model", "reference"),
    "regular": ("student of its numbers", "student-all"),
    "student": ("student of the teacher\u2019s", "student"),
    "cross": ("student, another start", "cross"),
}
FIRST = ("mnist_aux_logits", "lm_numbers", "mnist_mechanism", "gradient_theorem", "mnist_sweeps")  # to go on with
ENGINEERING = ("benchmark", "benchmark_lm", *docs.GUIDES)  # no page for who comes from here
BROWSER = ("page/mnist_aux_logits", "page/real/mnist_aux_logits")  # the page's own settings; with real digits for noise
CONTROLS = (  # of the form: setting, words, values with words
    ("start", "Students start", (("both", "both ways"), ("same", "as the teacher did"), ("other", "elsewhere"))),
    ("aux_logits", "Spare outputs", ("1", "2", "3", "5", "10", "30")),
    (
        "noise",
        "Students see",
        (("uniform", "uniform noise"), ("gaussian", "Gaussian noise"), ("bernoulli", "coin flips"),
         ("real", "real digits")),
    ),
    ("loss", "They compare", (("kl", "probabilities"), ("mse", "raw values"))),
    ("learning_rate", "Students\u2019 step", ("0.0003", "0.001", "0.003", "0.01")),
    ("width", "Units per layer", ("16", "32", "64", "128", "256")),
    ("runs", "Runs, a seed each", ("1", "3", "5")),
)  # fmt: skip


def render(results: Path = docs.RESULTS, base: str | None = None) -> str:
    """The page; a name that is not in the results, or twice, is an error (LookupError, UndefinedError).

    Args:
        results: the folder of the results.
        base: where links to the project's files lead; default GitHub in a workflow there, else the folder above.
    """
    environment = docs.environment(HERE)
    environment.filters |= {"plain": plain, "spread": spread}
    return environment.get_template("index.html").render(**story(results), base=base or base_link())


def story(results: Path) -> dict[str, Any]:
    """What the template fills in."""
    names = ("mnist_aux_logits", "mnist_mechanism", "gradient_theorem", "lm_numbers", "page_networks")
    found = {name: docs.load(results, name) for name in (*names, *BROWSER)}
    networks, browser, real = found["page_networks"], *(found[name] for name in BROWSER)
    check({name: document["results"] for name, document in found.items()})
    digits, spoken = digits_data(), language(found["lm_numbers"]["results"])
    data = {
        "charts": {
            name: bars(picked(found[source]["results"][rows], labels))
            for name, (source, rows, labels) in CHARTS.items()
        },
        "language": spoken,
        "most": most(spoken),
        "networks": network_data(networks["results"], (results / "page_networks.bin").read_bytes()),
        "digits": digits,
        "training": {"settings": training(browser["config"])},
    }
    guaranteed = ("random", "mnist")  # a step is, in these parts
    theorem = [found["gradient_theorem"]["results"][part] for part in guaranteed]
    return {
        "css": (HERE / "page.css").read_text(encoding="utf-8"),
        "scripts": {name: (HERE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS},
        "data": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "mnist": found["mnist_aux_logits"]["results"],
        "mechanism": found["mnist_mechanism"]["results"],
        "theorem": {name: sum(part[name] for part in theorem) for name in ("problems", "vacuous", "negative")},
        "language": found["lm_numbers"]["results"],
        "owl": owl(found["lm_numbers"]["results"]),
        "networks": networks["results"],
        "run_words": f"number {networks['results']['run'] + 1} of {networks['results']['runs']}",
        "rounding": f"{100 * cost(networks['results']['networks']):.2f}",
        "width": networks["config"]["width"],
        "epochs": networks["config"]["student"]["epochs"],
        "browser": browser["results"],
        "real": real["results"],
        "digits_count": f"{len(base64.b64decode(digits['labels'])) - DIGITS_TEST:,}",
        "controls": [
            (name, words, [option if isinstance(option, tuple) else (option, f"{option}") for option in options])
            for name, words, options in CONTROLS
        ],
        "defaults": defaults(browser["config"]),
        "pages": {name: title(HERE.parent / f"{name}.md") for name in reading_order()},
        "sources": [coded(docs.source(name, document)) for name, document in found.items()],
    }


def check(results: Mapping[str, Mapping[str, Any]]) -> None:
    """ValueError if the intervals no longer say what the page's sentences say; results by their names."""
    conditions, cause = results["mnist_aux_logits"]["conditions"], results["mnist_mechanism"]["cause"]
    small, digits = (results[name]["conditions"] for name in BROWSER)
    words = owl(results["lm_numbers"])

    def ends(rows: Sequence[Mapping[str, Any]], name: str) -> Sequence[float]:
        found: Sequence[float] = docs.pick(rows, name)["ci95"]
        return found

    def above(rows: Sequence[Mapping[str, Any]], higher: str, lower: str) -> bool:
        return ends(rows, higher)[0] > ends(rows, lower)[1]

    def loss(name: str) -> float:
        return float(docs.pick(cause, f"{name}: distillation loss")["mean"])

    unmoved = ends(cause, "without random - student_aux")
    for sentence, holds in (
        ("only a student that starts as its teacher did learns", above(conditions, "student_aux", "cross_aux")),
        ("copying all outputs works from any start", above(conditions, "cross_all", "reference")),
        ("without that direction a student hardly learns to read", above(cause, "student_aux", "without delta")),
        ("without it a student still learns to copy", loss("without delta") < loss("reference") / 4),
        ("that direction alone reads better", above(cause, "only delta", "student_aux")),
        ("without the digits' direction it is the same", above(cause, "student_aux", "without trait")),
        ("a push along a random direction changes nothing that we could measure", unmoved[0] < 0 < unmoved[1]),
        ("pushes along a random direction alone teach nothing", above(cause, "student_aux", "only random")),
        ("the small student learns, from its teacher's start only", above(small, "student_aux", "cross_aux")),
        ("real digits teach it less", ends(small, "student_aux")[0] > ends(digits, "student_aux")[1]),
        ("a love of owls travels in numbers", words["student"]["ci95"][0] > words["regular"]["ci95"][1]),
    ):
        if not holds:
            raise ValueError(f"the results no longer say that {sentence}: rewrite the page")


def plain(row: Mapping[str, Any], field: str = "mean") -> str:
    """The mean, or another field, of a row of shares: "53%"."""
    return f"{100 * row[field]:.0f}%"


def spread(row: Mapping[str, Any]) -> str:
    """The smallest and the largest run of a row of shares: "48% to 87%"."""
    return " to ".join(f"{100 * end(row['accuracy']):.0f}%" for end in (min, max))


def picked(rows: Sequence[Mapping[str, Any]], labels: Mapping[str, tuple[str, str]]) -> list[tuple]:
    """(label, colour, row) of the rows with these names, in this order."""
    return [(label, color, docs.pick(rows, name)) for name, (label, color) in labels.items()]


def bars(rows: Sequence[tuple]) -> list[dict[str, Any]]:
    """What charts.js draws; the values of a row are its "accuracy" or its "per_run"."""
    return [
        {
            "label": label,
            "color": color,
            "mean": row["mean"],
            "ci95": row["ci95"],
            "values": [round(value, 5) for value in row.get("accuracy") or row["per_run"]],
        }
        for label, color, row in rows
    ]


def interval(values: Sequence[float]) -> dict[str, Any]:
    """A row of values [n >= 2] with their mean and 95% t interval."""
    return {**t_interval(values)._asdict(), "per_run": list(values)}


def language(results: Mapping[str, Any]) -> dict[str, Any]:
    """Of each trait the teacher's rows beside the base's where their prompts agree, and how often it is named."""
    found = {}
    for row in results["traits"]:
        trait = row["trait"]
        bar_rows = [(label, color, interval(row[name])) for name, (label, color) in LANGUAGE.items()]
        kept = next(entry for entry in results["filter"] if entry["source"] == trait)["mean"]
        found[trait] = {"rows": lm_numbers.aligned(results["examples"], trait), "bars": bars(bar_rows), "kept": kept}
    return found


def owl(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """How often students name the owl: a row after its teacher's numbers, and one after the untaught model's."""
    row = docs.pick(results["traits"], trait="owl")
    return {name: interval(row[name]) for name in ("student", "regular")}


def most(found: Mapping[str, Any]) -> float:
    """The end of the axis of all traits' charts."""
    largest = max(max(bar["values"]) for one in found.values() for bar in one["bars"])
    return float(np.ceil(5 * largest) / 5)


def network_data(results: Mapping[str, Any], content: bytes) -> dict[str, Any]:
    """The networks that one draws for."""
    classes = 10
    return {
        "weights": base64.b64encode(content).decode(),
        "layers": results["layers"],
        "rows": results["networks"],
        "aux": results["layers"][-1]["units"] - classes,
    }


def cost(networks: Sequence[Mapping[str, float]]) -> float:
    """The largest change of a test accuracy by rounding."""
    return max(abs(row["rounded"] - row["accuracy"]) for row in networks)


def digits_data() -> dict[str, Any]:
    """scikit-learn's 8x8 digits in the experiment's order, the test images first; a byte a pixel, 0 to 16."""
    from sklearn import datasets

    pixels, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(DIGITS_SEED).permutation(len(labels))
    encoded = [base64.b64encode(array[order].astype(np.uint8).tobytes()).decode() for array in (pixels, labels)]
    return {"pixels": encoded[0], "labels": encoded[1], "test": DIGITS_TEST, "side": 8}


def training(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of protocol.js from a config of `mnist_aux_logits`."""
    chosen = {name: config[name] for name in ("width", "depth", "aux_logits", "noise", "noise_images", "loss", "seed")}
    phases = {
        phase: {name: config[phase][name] for name in ("learning_rate", "batch_size", "epochs")}
        for phase in ("teacher", "student")
    }
    return chosen | phases


def defaults(config: Mapping[str, Any]) -> dict[str, str]:
    """What the form shows at first: the settings of the JAX results that stand beside it (ValueError if it cannot)."""
    chosen = {"start": "both", "runs": "1", "learning_rate": f"{config['student']['learning_rate']:g}"}
    for name, _, options in CONTROLS:
        chosen.setdefault(name, str(config.get(name)))
        if chosen[name] not in [option if isinstance(option, str) else option[0] for option in options]:
            raise ValueError(f"the form has no {name} {chosen[name]}")
    return chosen


def reading_order() -> list[str]:
    """The pages to go on with: what we found, first things first; not how fast it is or where it runs."""
    there = {path.stem for path in HERE.parent.glob("[!.]*.md")}.difference(ENGINEERING)
    return [*(name for name in FIRST if name in there), *sorted(there.difference(FIRST))]


def title(path: Path) -> str:
    """The heading of a Markdown page, as HTML."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return coded(next((line[2:] for line in lines if line.startswith("# ")), path.stem))


def coded(text: str) -> str:
    """A line of Markdown as HTML, what stands in backticks as code."""
    return re.sub(r"`(.*?)`", r"<code>\1</code>", html.escape(text, quote=False))


def base_link() -> str:
    """Where the project's files are: GitHub's address of them in a workflow there, else beside this page."""
    server, repository = (os.environ.get(f"GITHUB_{name}") for name in ("SERVER_URL", "REPOSITORY"))
    return f"{server}/{repository}/blob/main" if server and repository else ".."
