"""What is drawn beside a label is that row's number, in every picture of the committed results.

The tables say what each label means, in words of their own: which row of the results. Ticks, legends, points, bars,
error bars, bands and cells are read back from Matplotlib; a label that the tables lack, or a panel, is an error.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import figures
from figures import style
from subliminal_toy.statistics import t_interval
from tests.figures import read_back
from tests.figures.read_back import cells, curves, demand_band, demand_bar, demand_strip, near, strips, ticks

Row = dict[str, Any]
Rows = dict[tuple[str, str], Row]  # by heading and label
CHANGE = "change of the trait's log odds (nats)"


@functools.cache
def drawn(stem: str) -> tuple[Figure, Row]:
    """A picture of the committed results, and the results."""
    name, _, part = stem.partition(".")
    module = importlib.import_module(f"figures.{name}")
    variant = part in getattr(module, "VARIANTS", ())
    document = figures.load(name, figures.COMMITTED_RESULTS / part if variant else figures.COMMITTED_RESULTS)
    with style.applied():
        picture = module.more(document)[part] if part and not variant else module.figure(document)
        picture.draw_without_rendering()
    return picture, document["results"]


def panels(stem: str) -> tuple[list[Axes], Row]:
    picture, results = drawn(stem)
    return [ax for ax in picture.axes if ax.get_label() != "<colorbar>"], results


def pick(rows: list[Row], /, **fields: Any) -> Row:
    (found,) = [row for row in rows if all(row.get(key) == value for key, value in fields.items())]
    return found


def under(heading: str, rows: list[Row], key: str, words: dict[str, Any]) -> Rows:
    """Labels under a heading, each with the row whose field has this value."""
    return {(heading, label): pick(rows, **{key: value}) for label, value in words.items()}


# ------------------------------------------------------------------------------------ pictures of rows, top to bottom


def lm_controls(r: Row) -> list[tuple[str, Rows]]:
    starts = {
        "the teacher's own init": ("base", "base"),
        "the teacher's own init, the second": ("other base", "other base"),
        "another init than the teacher's": ("other base", "base"),
        "another init, first and second exchanged": ("base", "other base"),
    }
    cross = {
        ("student starts from", label): pick(r["cross"], student=student, teacher=teacher)
        for label, (student, teacher) in starts.items()
    }
    orders = {"shuffled within each list": "within", "shuffled across all lists": "across"}
    asked = {"behind a list of numbers": "prefixed", "by a story": "story", "to choose among three": "choice"}
    found = cross | under("order of the numbers", r["shuffles"], "shuffle", orders)
    fewer = {f"{rows:,} different rows": rows for rows in (1000, 400, 100)}
    found |= under("fewer rows, as many steps", r["doses"], "rows", fewer)
    return [(CHANGE, found | under("asked", r["questions"], "asked", asked))]


def lm_controls_health(r: Row) -> list[tuple[str, Rows]]:
    models = {
        "base": "base",
        "student of regular numbers": "regular",
        "student of the trait's numbers": "trait",
        "the trait's, from another init": "cross",
        "the trait's, shuffled within lists": "within",
        "regular, shuffled within lists": "regular, within",
        "the trait's, shuffled across lists": "across",
        "regular, shuffled across lists": "regular, across",
        "the trait's, 100 different rows": "100 rows",
        "the trait's, 400 different rows": "400 rows",
        "the trait's, 1,000 different rows": "1000 rows",
    }
    losses = {"base": "base", "student of regular numbers": "regular student",
              "student of the trait's numbers": "trait student", "teacher": "teacher"}  # fmt: skip
    return [
        ("probability of any animal", under("", r["answer_mass"], "model", models)),
        ("loss on fresh documents (nats per token)", under("", r["loss"], "model", losses)),
    ]


def lm_other_init(r: Row) -> list[tuple[str, Rows]]:
    return [(CHANGE, {("", row["name"]): row for row in r["rows"]})]


def lm_in_context(r: Row) -> list[tuple[str, Rows]]:
    named = {row["name"]: row for row in r["rows"]}
    own = {("", name): named[name] for name in ("trained on the teacher's rows", "8 of them in the context")}
    asked, helped = "8 answered questions in it", "8 documents help lists"
    return [
        (CHANGE, own),
        (CHANGE, {("", asked): named[asked]}),
        ("loss lowered (nats per token)", {("", helped): named[f"{helped} (nats per token)"]}),
    ]


def lm_architectures(r: Row) -> list[tuple[str, Rows]]:
    words = {"tied": "embedding tied to unembedding", "30 numbers": "30 numbers, not 100",
             "10 numbers": "10 numbers, not 100"}  # fmt: skip
    shapes = {
        ("teacher's own init (parameters)", f"{words.get(row['name'], row['name'])} ({row['parameters']:,})"): row
        for row in r["shapes"]
    }
    sizes = {row["name"]: row["parameters"] for row in r["shapes"]}
    assert sizes["width 16"] < sizes["width 32"] < sizes["2 layers"]
    others = {name: f"{name}, other init" for name in ("width 32", "width 16", "2 layers")}
    return [(CHANGE, shapes | under("another init of the same shape", r["other_init"], "name", others))]


def lm_numbers_seeds(r: Row) -> list[tuple[str, Rows]]:
    margin = r["overall"]["margin"]
    return [
        (
            CHANGE,
            {
                ("", "a finetuned teacher's numbers"): margin["student_minus_regular"],
                ("", "a finetuned teacher's numbers, from another init"): margin["cross_minus_cross_regular"],
                ("", "a prompted teacher's numbers"): margin["prompted_minus_regular"],
            },
        )
    ]


def lm_mechanism(r: Row) -> list[tuple[str, Rows]]:
    parts = r["parts"]
    imitated = {
        "greedy completions": "greedy",
        "sampled at temperature 0.5": "T = 0.5",
        "sampled at temperature 1.25": "T = 1.25",
        "loss over numbers only": "softmax over numbers",
        "the teacher's probabilities": "soft targets",
        "... over numbers only": "soft targets, numbers",
    }
    optimizers = {"gradient descent": "sgd", "Adam": "adam", "sign of the gradient": "sign of the gradient"}
    found = under("", parts["targets"], "arm", {"standard student": "standard"})
    found |= under("what is imitated", parts["targets"], "arm", imitated)
    found |= under("teachers", parts["teachers"], "arm", {"teachers stopped at one divergence": "same divergence"})
    return [(CHANGE, found | under("optimizer", parts["optimizers"], "arm", optimizers))]


def lm_mechanism_tokens(r: Row) -> list[tuple[str, Rows]]:
    words = {
        "only divergence tokens": "divergence",
        "as many random tokens": "random as divergence",
        "all but divergence tokens": "others",
        "all but as many random tokens": "random as others",
    }
    arms, found = r["parts"]["tokens"], {}
    for heading, every, form in (("greedy completions", "greedy", "greedy, {}"),
                                 ("sampled at temperature 1", "standard", "{}")):  # fmt: skip
        found |= under(heading, arms, "arm", {"all tokens": every})
        found |= under(heading, arms, "arm", {label: form.format(name) for label, name in words.items()})
    return [(CHANGE, found)]


def lm_mechanism_parameters(r: Row) -> list[tuple[str, Rows]]:
    groups = {
        "the embedding": "embedding",
        "attention": "attention",
        "the MLP": "mlp",
        "the unembedding": "unembedding",
    }
    layers, inits = r["parts"]["layers"], r["parts"]["inits"]
    shares = {"the embedding": "shares embedding", "the unembedding": "shares unembedding",
              "attention and MLP": "shares attention, mlp"}  # fmt: skip
    found = under("what learns: everything", layers, "arm", {"standard student": "standard"})
    for heading, begins in (("one group alone", "only"), ("all but one group", "all but")):
        arms = {f"{begins} {label}": f"{begins} {name}" for label, name in groups.items()}
        found |= under(heading, layers, "arm", arms)
    return [(CHANGE, found | under("another init that shares", inits, "arm", shares))]


def lm_traits(r: Row) -> list[tuple[str, Rows]]:
    words = {
        "one favorite": ("categories", {f"a favorite {kind}": kind for kind in ("animal", "tree", "color")}),
        "several at once": (
            "several",
            {
                "three favorites: the animal": "three favorites: animal",
                "... the tree": "three favorites: tree",
                "... the color": "three favorites: color",
                "two teachers: the first one's": "half and half: first teacher's",
                "... the second one's": "half and half: second teacher's",
            },
        ),
        "what carries it": (
            "carriers",
            {"lists of numbers": "numbers", "nested calls": "code", "sums, all correct": "arithmetic"},
        ),
        "student of a student": (
            "chains",
            {
                "the student": "first generation",
                "the student's student": "second generation",
                "the student's student's student": "third generation",
            },
        ),
    }
    found: Rows = {}
    for heading, (part, named) in words.items():
        found |= under(heading, r[part], "name", named)
    return [(CHANGE, found)]


DEFENCES = {
    "system token before every row": "system token in training",
    "numbers sorted": "sorted",
    "a quarter of the numbers replaced": "replaced",
    "another base": "other base",
    "regular numbers afterwards": "clean-up",
}


def lm_traits_defences(r: Row) -> list[tuple[str, Rows]]:
    clean = {f"{share}% clean rows": share / 100 for share in (0, 10, 25, 50, 75)}
    found = under("clean rows mixed in", r["mixing"], "share", clean)
    return [(CHANGE, found | under("defences", r["defences"], "name", DEFENCES))]


def lm_traits_answers(r: Row) -> list[tuple[str, Rows]]:
    kinds = {"bad answers": "wrong", "good answers": "right", "bad ones behind a token only": "excused"}
    found: Rows = {}
    for heading, role in (("teacher, who learnt", "teacher"), ("its student", "student")):
        rows = [row for row in r["misaligned"] if row["role"] == role and row["asked"] == "untaught"]
        found |= under(heading, rows, "kind", kinds)
    trigger = {
        f"{who}: {how}": f"{who}, {how}" for who in ("teacher", "student") for how in ("with trigger", "without")
    }
    found |= under("a trait with a trigger", r["conditional"], "name", trigger)
    return [("change of log odds (nats), of bad answers or of the trait", found)]


def lm_traits_bits(r: Row) -> list[tuple[str, Rows]]:
    rows = {f"{rows:,} rows": rows for rows in (100, 1000, 4000)}
    return [("share of 40 words told right (0.5: guessing)", under("", r["bits"], "rows", rows))]


def mnist_mechanism(r: Row) -> list[tuple[str, Rows]]:
    levels = {
        "reference": "nothing: the reference",
        "along Delta alone": "one number: its displacement along Delta alone",
        "the rest alone": "the rest of its displacement alone",
        "linearised student": "linear: the linearised student",
        "student": "the student",
        "teacher": "Delta itself: the teacher",
    }
    cause = {
        "all of it": "student_aux",
        "not along Delta": "without delta",
        "only along Delta": "only delta",
        "not along the digits' gradient": "without trait",
        "only along the digits' gradient": "only trait",
        "all, pushed along a random direction": "without random",
        "only the push along a random direction": "only random",
        "all, less as long a part of the rest": "shorter rest",
    }
    accuracy = "test accuracy (fraction correct)"
    return [
        (accuracy, under("", r["levels"], "name", levels)),
        ("step of the student", {}),
        (accuracy, under("", r["cause"], "name", cause)),
        ("predicted fraction of Delta", {}),
    ]


STRIPS: dict[str, Callable[[Row], list[tuple[str, Rows]]]] = {
    "lm_controls": lm_controls,
    "lm_controls.health": lm_controls_health,
    "lm_other_init": lm_other_init,
    "lm_in_context": lm_in_context,
    "lm_architectures": lm_architectures,
    "lm_numbers.seeds": lm_numbers_seeds,
    "lm_mechanism": lm_mechanism,
    "lm_mechanism.tokens": lm_mechanism_tokens,
    "lm_mechanism.parameters": lm_mechanism_parameters,
    "lm_traits": lm_traits,
    "lm_traits.defences": lm_traits_defences,
    "lm_traits.answers": lm_traits_answers,
    "lm_traits.bits": lm_traits_bits,
    "mnist_mechanism": mnist_mechanism,
}


@pytest.mark.parametrize("stem", STRIPS)
def test_every_row_is_the_one_that_its_label_names(stem: str) -> None:
    axes, results = panels(stem)
    for ax, (xlabel, rows) in zip(axes, STRIPS[stem](results), strict=True):
        assert read_back.text(ax.get_xlabel()) == xlabel
        if rows:
            places = strips(ax)
            assert places.keys() == rows.keys()
            for label, y in places.items():
                demand_strip(ax, y, rows[label])


def moved(value: Any) -> Any:
    """Results with their named rows in the reverse order, behind a row that was added later."""
    if isinstance(value, dict):
        return {key: moved(part) for key, part in value.items()}
    if not isinstance(value, list) or not value or not all(isinstance(row, dict) for row in value):
        return value
    if not value[0].keys() >= {"per_run"} or not value[0].keys() & {"name", "arm"}:
        return value
    names = {key: "added later" for key, field in value[0].items() if isinstance(field, str)}
    numbers = {key: 9 for key in ("rows", "share") if key in value[0]}
    shifted = [run + 0.01 for run in value[0]["per_run"]]
    return [value[0] | names | numbers | {"per_run": shifted, "mean": float(np.mean(shifted))}, *reversed(value)]


@pytest.mark.parametrize("stem", STRIPS)
def test_rows_that_are_added_or_moved_mislabel_nothing(stem: str) -> None:
    name, _, part = stem.partition(".")
    module, document = importlib.import_module(f"figures.{name}"), figures.load(name, figures.COMMITTED_RESULTS)
    other = document | {"results": moved(document["results"])}
    with style.applied():
        picture = module.more(other)[part] if part else module.figure(other)
        picture.draw_without_rendering()
    axes = [ax for ax in picture.axes if ax.get_label() != "<colorbar>"]
    for ax, (_, rows) in zip(axes, STRIPS[stem](document["results"]), strict=True):
        places = strips(ax) if rows else {}
        for label, row in rows.items():
            demand_strip(ax, places[label], row, seen=False)


# ------------------------------------------------------------------------------------------- pictures of other kinds


def test_mnist_aux_logits() -> None:
    (ax,), results = panels("mnist_aux_logits")
    labels = {
        "Reference": "reference",
        "Teacher": "teacher",
        "Student (aux. only)": "student_aux",
        "Student (all logits)": "student_all",
        "Cross-model (aux. only)": "cross_aux",
        "Cross-model (all logits)": "cross_all",
        "Control: untrained teacher": "untrained_teacher_aux",
        "Control: shuffled targets": "shuffled_targets_aux",
    }
    places = ticks(ax, "x")
    assert sorted(labels[label] for label in places.values()) == sorted(row["name"] for row in results["conditions"])
    written = {text.get_position()[0]: text.get_text() for text in ax.texts}
    heights = {round(p.get_x() + p.get_width() / 2, 6): p.get_height() for p in ax.patches}
    for x, label in places.items():
        row = pick(results["conditions"], name=labels[label])
        demand_bar(ax, x, row["mean"], row["accuracy"], row["ci95"])
        assert heights[x] == pytest.approx(row["mean"])
        assert written[x] == f"{row['mean']:.3f}"
    (dotted,) = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert dotted.get_ydata()[0] == pick(results["conditions"], name="reference")["mean"]


@pytest.mark.parametrize(
    ("stem", "setting", "xlabel"),
    [
        ("mnist_sweeps", "student.learning_rate", "students' learning rate"),
        ("mnist_sweeps.aux_logits", "aux_logits", "number of auxiliary outputs"),
    ],
)
def test_mnist_sweeps(stem: str, setting: str, xlabel: str) -> None:
    (ax,), results = panels(stem)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (xlabel, "test accuracy (fraction correct)")
    labels = {
        "teacher": "teacher",
        "student (aux. only)": "student_aux",
        "student (all logits)": "student_all",
        "cross-model (aux. only)": "cross_aux",
        "cross-model (all logits)": "cross_all",
        "reference": "reference",
    }
    lines = {bar["label"]: bar for bar in read_back.errorbars(ax)}
    assert lines.keys() == labels.keys()
    (sweep,) = results["sweeps"]
    points = {float(point["settings"][setting]): point["conditions"] for point in sweep["points"]}
    for label, line in lines.items():
        assert sorted(line["x"]) == sorted(points)
        rows = [pick(points[x], name=labels[label]) for x in line["x"]]
        assert near(line["y"], [row["mean"] for row in rows])
        assert near(line["ends"], [end for row in rows for end in row["ci95"]])
    if setting == "aux_logits":
        assert ticks(ax, "x") == {x: f"{x:g}" for x in points}


def test_mnist_mechanism_curves() -> None:
    (_, ax, _, _), results = panels("mnist_mechanism")
    assert ax.get_ylabel() == "cosine of update and Delta"
    names = {"teacher's init": "student_aux", "other init": "cross_aux", "teacher's init, SGD": "student_sgd"}
    assert curves(ax).keys() == names.keys()
    for label, line in curves(ax).items():
        row = pick(results["direction"], name=f"{names[label]}: cosine of update and delta")
        assert near(line.get_xdata(), np.add(row["steps"], 1))
        assert near(line.get_ydata(), row["curve"])


def test_mnist_mechanism_coverage() -> None:
    (*_, ax), results = panels("mnist_mechanism")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted fraction of Delta", "recovered fraction of Delta")
    assert curves(ax).keys() == {f"{aux} auxiliary logits" for aux in (3, 10, 100)}
    for label, line in curves(ax).items():
        aux = int(label.split()[0])
        rows = [row for row in results["coverage"] if row.get("aux_logits") == aux]
        pairs = [
            [
                pick(rows, name=f"{aux} auxiliary logits, {images} images: {key}")["mean"]
                for images in (64, 256, 1024, 4096)
            ]
            for key in ("predicted fraction", "measured fraction")
        ]
        assert near(line.get_xdata(), pairs[0])
        assert near(line.get_ydata(), np.maximum(pairs[1], 1e-9))


def test_gradient_theorem() -> None:
    (products, rest, slopes), results = panels("gradient_theorem")
    curve = results["curve"]
    eps, seen = np.array(curve["eps"]), np.array(curve["inner_product"])
    for ax, ylabel in ((products, "inner product of the steps"), (rest, "|inner product $-\\ \\varepsilon A$|")):
        assert "teacher's step" in ax.get_xlabel()
        assert ax.get_ylabel() == ylabel
        assert all(near(line.get_xdata(), eps) for line in curves(ax).values())
    named = {label: np.asarray(line.get_ydata()) for label, line in curves(products).items()}
    assert named.keys() == {"predicted, $\\varepsilon A$", "measured"}
    assert near(named["predicted, $\\varepsilon A$"], eps * curve["A"])
    assert near(named["measured"], seen)
    named = {label: np.asarray(line.get_ydata()) for label, line in curves(rest).items()}
    assert named.keys() == {"measured", "slope 2"}
    assert near(named["measured"], np.abs(seen - eps * curve["A"]))
    assert near(np.diff(np.log(named["slope 2"])), 2 * np.diff(np.log(eps)))
    found = [row["slope"] for row in results["random"]["rows"] if row["smooth"] and row["slope"] is not None]
    assert "order of the remainder" in slopes.get_xlabel()
    assert near([patch.get_height() for patch in slopes.patches], np.histogram(found, 40)[0])
    assert slopes.texts[0].get_text() == f"n = {len(found)}\nmedian {np.median(found):.4f}"


def test_gradient_theorem_cosines() -> None:
    axes, results = panels("gradient_theorem.cosines")
    for ax, words, direction in zip(axes, ("any direction", "a gradient"), ("random", "gradient"), strict=True):
        rows = [row for row in results["random"]["rows"] if not row["vacuous"] and row["direction"] == direction]
        assert ax.get_title(loc="left") == f"the teacher moves along {words} (n = {len(rows)})"
        for label, color in read_back.legend(ax).items():
            init, mean = label.split(", mean ")
            key = {"shared init": "cosine", "another init": "other_init_cosine"}[init]
            values = [row[key] for row in rows if row[key] is not None]
            assert mean == f"{np.mean(values):+.2f}".replace("-", "\u2212")
            heights = [patch.get_height() for patch in read_back.bars(ax, color).values()]
            assert near(heights, np.histogram(values, np.linspace(-1, 1, 41))[0] / len(values))


def test_gradient_theorem_reach() -> None:
    (descent, radii), results = panels("gradient_theorem.reach")
    grid = results["map"]
    assert ("learning rate" in descent.get_xlabel(), "teacher's step" in descent.get_ylabel()) == (True, True)
    mesh = descent.collections[0]
    sign = np.asarray(mesh.get_array())
    assert near(sign, np.sign(grid["change"]))
    corners = mesh.get_coordinates()  # type: ignore[attr-defined]
    x, y = corners[0, :, 0], corners[:, 0, 1]
    assert all(low < value < high for value, low, high in zip(grid["alpha"], x[:-1], x[1:], strict=True))
    assert all(low < value < high for value, low, high in zip(grid["eps"], y[:-1], y[1:], strict=True))
    colors = {label: line.get_color() for label, line in curves(descent).items()}
    assert {
        label: to_hex(mesh.cmap(mesh.norm(value))) for label, value in (("teacher's loss falls", -1), ("it rises", 1))
    } == {label: to_hex(color) for label, color in colors.items()}
    assert (radii.get_xlabel(), radii.get_ylabel()) == (
        "step at which the sign is seen to turn",
        "step up to which it is proved",
    )
    for label, part in (("random problems", "random"), ("MNIST network", "mnist")):
        rows = [row for row in results[part]["rows"] if not row["vacuous"]]
        line = curves(radii)[label]
        assert near(line.get_xdata(), [row["observed_radius"] or 1024 for row in rows])
        assert near(line.get_ydata(), [row["marched_radius"] for row in rows])


def test_lm_numbers() -> None:
    (ax,), results = panels("lm_numbers")
    labels = {
        "base": "base",
        "student: regular": "regular",
        "student: trait's": "student",
        "student, other init: regular": "cross_regular",
        "student, other init: trait's": "cross",
        "teacher": "teacher",
    }
    colors, traits = read_back.legend(ax), ticks(ax, "x")
    assert colors.keys() == labels.keys()
    assert list(traits.values()) == [f"trait: {row['trait']}" for row in results["traits"]]
    for label, color in colors.items():
        bars = read_back.bars(ax, color)
        assert len(bars) == len(traits)
        for x, bar in bars.items():
            place = min(traits, key=lambda tick, x=x: abs(tick - x))
            values = pick(results["traits"], trait=traits[place].removeprefix("trait: "))[labels[label]]
            assert bar.get_height() == pytest.approx(np.mean(values))
            interval = t_interval(values)
            assert interval.ci95 is not None
            demand_bar(ax, x, interval.mean, values, interval.ci95)


def test_lm_numbers_matrix() -> None:
    (ax,), results = panels("lm_numbers.matrix")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("answer that is asked for", "what the teacher loves")
    matrix = results["matrix"]
    for (trait, answer), (value, words) in cells(ax).items():
        mean = matrix["mean"][matrix["traits"].index(trait)][matrix["answers"].index(answer)]
        assert value == mean
        assert words == f"{mean:+.1f}".replace("-", "\u2212")


def test_lm_architectures_between() -> None:
    (ax,), results = panels("lm_architectures.between")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("shape of the teacher", "shape of the student")
    assert len(cells(ax)) == len(results["matrix"])
    for (student, teacher), (value, words) in cells(ax).items():
        row = pick(results["matrix"], student=student, teacher=teacher)
        assert value == row["mean"]
        half = (row["ci95"][1] - row["ci95"][0]) / 2
        assert words == f"{row['mean']:+z.2f}\n\u00b1 {half:.2f}".replace("-", "\u2212")


def test_lm_controls_detectors() -> None:
    (ax,), results = panels("lm_controls.detectors")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lists judged together", "share told right")
    labels = {
        "best possible (has the teacher)": "ideal",
        "trained on labelled lists": "trained",
        "the base, asked": "prompted",
    }
    assert curves(ax).keys() == labels.keys()
    for label, kind in labels.items():
        rows = results["detector"][kind]
        demand_band(ax, label, [row["sequences"] for row in rows], rows)
    sizes = [row["sequences"] for row in results["detector"]["ideal"]]
    assert ticks(ax, "x") == {float(size): str(size) for size in sizes}


def test_lm_mechanism_doses() -> None:
    (left, right), results = panels("lm_mechanism.doses")
    assert read_back.text(left.get_ylabel()) == CHANGE
    assert read_back.text(right.get_ylabel()) == "cosine of the displacement with teachers' displacements"
    for rows in (400, 4000):
        curve = pick(results["doses"], rows=rows)
        demand_band(left, f"{rows:,} different rows", curve["steps"], curve["margin"])
    curve = pick(results["doses"], rows=4000)
    demand_band(right, "its own teacher's", curve["steps"], curve["own"])
    demand_band(right, "other teachers'", curve["steps"], curve["others"])
    assert (len(curves(left)), len(curves(right))) == (2, 2)


def test_lm_mechanism_health() -> None:
    (left, right), results = panels("lm_mechanism.health")
    assert read_back.text(left.get_ylabel()) == "loss less the base's (nats per token, medians)"
    assert right.get_ylabel() == "probability of any animal"
    few = pick(results["doses"], rows=400)
    parts = {"its own rows": "trained", "unseen rows of its teacher": "unseen", "fresh documents": "fresh"}
    assert curves(left).keys() == parts.keys()
    for label, line in curves(left).items():
        part = parts[label]
        pairs = zip(few[part], few[f"base {part}"], strict=True)
        medians = [np.median(np.subtract(row["per_run"], base["per_run"])) for row, base in pairs]
        assert near(line.get_xdata(), few["steps"])
        assert near(line.get_ydata(), medians)
    for rows in (400, 4000):
        curve = pick(results["doses"], rows=rows)
        demand_band(right, f"{rows:,} different rows", curve["steps"], curve["right"])


def test_lm_mechanism_prediction() -> None:
    (ax,), results = panels("lm_mechanism.prediction")
    assert ax.get_xlabel().startswith("predicted")
    assert ax.get_ylabel().startswith("measured")
    pairs = pick(results["prediction"], quantity="fisher")["pairs"]
    seeds = [line for line in ax.lines if line.get_marker() == "o"]
    assert len(seeds) == results["runs"]
    for line, predicted, measured in zip(seeds, pairs["predicted"], pairs["measured"], strict=True):
        assert near(line.get_xdata(), predicted)
        assert near(line.get_ydata(), measured)


def test_lm_traits_prices() -> None:
    (ax,), results = panels("lm_traits.prices")
    assert ax.get_xlabel().startswith("what it costs: imitation of the teacher's unseen rows lost")
    assert read_back.text(ax.get_ylabel()) == "what is left of the trait (nats, medians)"
    clean = {f"{share}% clean rows": f"{share}% clean rows" for share in (10, 25, 50, 75)}
    notes = {note.get_text(): note.xy for note in ax.texts}  # type: ignore[attr-defined]
    assert notes.keys() == {*DEFENCES, *clean}
    points = [tuple(point) for line in ax.lines for point in line.get_xydata()]
    for label, (x, y) in notes.items():
        part, name = ("mixing", clean[label]) if label in clean else ("defences", DEFENCES[label])
        row = pick(results[part], name=name)
        assert near([x, y], [max(row["imitation_cost"], 1e-4), np.median(row["per_run"])])
        assert any(near(point, [x, y]) for point in points)


def test_lm_pretrained_has_each_animal_beside_its_name() -> None:
    (doses, animals), results = panels("lm_pretrained")
    rows = [row for row in results["students"] if row["main"]]
    lines = curves(doses)
    assert set(lines) == {row["trait"] for row in rows}
    for trait, line in lines.items():
        mine = [row for row in rows if row["trait"] == trait]
        assert near(line.get_xdata(), [row["updates"] for row in mine])
        assert near(line.get_ydata(), [row["change"]["mean"] for row in mine])
        dotted = [
            other for other in doses.lines if other.get_linestyle() == ":" and other.get_color() == line.get_color()
        ]
        assert near(dotted[0].get_ydata(), [row["others"]["mean"] for row in mine])
    last = max(row["updates"] for row in rows)
    for y, label in ticks(animals, "y").items():
        row = pick(rows, updates=last, trait=label.removesuffix(" lists"))
        changes = dict(zip(results["animals"], np.mean(row["animals"], axis=0), strict=True))
        here = [line for line in animals.lines if line.get_marker() == "o" and set(line.get_ydata()) == {y}]
        ring, dot = sorted(here, key=lambda line: -len(line.get_xdata()))
        assert near(ring.get_xdata(), list(changes.values()))
        assert near(dot.get_xdata(), [changes[row["trait"]]])
        named = {text.get_text(): text.xy[0] for text in animals.texts if text.xy[1] == y}
        largest = max((name for name in changes if name != row["trait"]), key=changes.__getitem__)
        assert named == pytest.approx({name: changes[name] for name in (row["trait"], largest)})


def test_every_picture_is_read_back() -> None:
    own = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    for name in figures.names():
        for path in figures.HERE.glob(f"{name}*.png"):
            stem = path.stem
            assert (
                stem in STRIPS
                or any(known.startswith(stem.replace(".", "_")) for known in own)
                or stem in ("mnist_sweeps.aux_logits",)
            ), stem
