"""The mechanism's experiment: arms have their controls, its summary can be wrong and would show it, it runs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import lm_arms, lm_first_order, lm_mechanism, lm_mechanism_summary
from figures import lm_mechanism as picture
from subliminal_toy.lm import evaluation, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.pipeline import Made
from subliminal_toy.lm.plan import Plan
from subliminal_toy.lm.rows import Rows
from subliminal_toy.lm.transformer import make_transformer
from tests.experiments import commands, made_up
from tests.subliminal_toy.lm import documents
from theory.losses import kl_divergence
from theory.one_step import student_step
from theory.trees import tree_scale, tree_step

CONFIG = lm_mechanism.MechanismConfig(traits="owl,wolf")
PLAN = lm_mechanism.make_plan(CONFIG)
ANIMALS = vocabulary.CATEGORIES["animal"]
EPOCHS = 3


def rule(model: str, answer: str, run: int) -> float:
    """Standard students like their trait by 1 + run / 2 more, others not at all; owl's also like cats a little."""
    if model == f"student {answer}, standard":
        return 1.0 + run / 2 + (answer == "wolf")
    return 0.25 if (model, answer) == ("student owl, standard", "cat") else 0.0


def values(runs: int = 3) -> list[dict]:
    made = made_up.values(PLAN, rule, runs)
    for run, value in enumerate(made):
        change = np.zeros((2, 10))
        change[0, ANIMALS.index("owl")], change[1, ANIMALS.index("wolf")] = 1 + run / 2, 2 + run / 2
        change[0, ANIMALS.index("cat")] = 0.25
        curve = {"margin": [0.1, 0.9, 1.0], "own": [0.1, 0.2, 0.3], "others": [0.0] * EPOCHS,
                 "right": [0.9, 0.5, 0.1], "trained": [1.0, 0.5, 0.0], "unseen": [1.0, 1.5, 2.0],
                 "fresh": [3.0] * EPOCHS}  # fmt: skip
        curve |= dict.fromkeys(("base trained", "base unseen", "base fresh"), [1.0] * EPOCHS)
        ray = {"leading": 1.0, "slope": 2.0, "negative": float(run == 0), "at_teacher": 1.0 - 2 * (run == 1),
               "cosine_at_teacher": 0.2, "cosine_at_start": 0.3}  # fmt: skip
        value |= {
            "fisher": (10 * change).tolist(), "gradient": (-change).tolist(), "cosine": change.tolist(),
            "entangled": {"owl": 0.1, "wolf": 0.3}, "ray": {"owl": ray, "wolf": ray},
            "distance": {"owl": 0.5, "wolf": 0.7},
            "watched": {f"{t}, {n} rows": curve for t in CONFIG.trait_names() for n in (400, 4000)},
        }  # fmt: skip
    return made


def test_every_student_of_a_trait_has_a_regular_one_that_differs_in_nothing_else() -> None:
    by_name = {student.name: student for student in PLAN.students}
    assert len(by_name) == len(PLAN.students)
    for student in PLAN.students:
        trait, _, label = student.name.partition(", ")
        control = by_name[f"regular, {label}"]
        assert control._replace(name="", source="") == student._replace(name="", source="")
        assert control.source == student.source.replace(trait, "regular")
    labels = {name.partition(", ")[2] for name in by_name}
    assert {arm for arms in lm_mechanism_summary.ARMS.values() for arm in arms} <= labels
    assert PLAN.bases[0].name == "base"
    assert len(PLAN.rounds()) == 1


def test_changes_are_those_made_up() -> None:
    results = lm_mechanism_summary.summarize(CONFIG, values())
    for part, arms in results["parts"].items():
        assert [arm["arm"] for arm in arms] == ["standard", *lm_mechanism_summary.ARMS[part]]
        assert [arm["mean"] for arm in arms] == [2.0, *[0.0] * (len(arms) - 1)]
        assert arms[0]["per_run"] == [1.5, 2.0, 2.5]
        assert (arms[0]["positive"], arms[0]["pairs"], arms[1]["positive"]) == (6, 6, 0)
    assert arms[0]["right"] == pytest.approx(0.9)
    assert [(row["rows"], row["mean"]) for row in results["tokens_counted"]] == [
        ("sampled", pytest.approx(0.15)), ("greedy", pytest.approx(0.05)),
    ]  # fmt: skip
    assert {row["name"]: row["mean"] for row in results["imitation"]} == {"base - student": 0.5, "base - teacher": 1}
    assert results["tokens_counted"][0]["numbers"] == pytest.approx(0.8)
    assert results["tokens_counted"][1]["numbers_of_all"] == pytest.approx(0.5)


def test_paired_differences_are_between_two_arms() -> None:
    rows = lm_mechanism_summary.summarize(CONFIG, values())["paired"]
    by_name = {row["name"]: row for row in rows}
    assert len(by_name) == len(rows)
    assert by_name["greedy - standard"]["per_run"] == [-1.5, -2.0, -2.5]
    assert by_name["greedy - standard"]["part"] == "targets"
    assert by_name["sgd - adam"]["mean"] == 0.0
    assert "greedy, others - greedy, random as others" in by_name


def test_predictions_are_correlations_with_the_change() -> None:
    rows = {row["quantity"]: row for row in lm_mechanism_summary.summarize(CONFIG, values())["prediction"]}
    assert rows["fisher"]["own"]["mean"] == pytest.approx(1)
    assert rows["gradient"]["own"]["mean"] == pytest.approx(-1)
    assert rows["fisher"]["others"]["mean"] == pytest.approx(1)
    assert rows["gradient"]["others"]["mean"] == pytest.approx(-1)
    low, high = rows["fisher"]["own"]["ci95"]
    assert low <= 1 <= high + 1e-9
    assert 0 < rows["divergence"]["own"]["mean"] < 1
    assert "traits" not in rows["divergence"]  # two traits have no correlation
    assert rows["divergence"]["seeds"]["mean"] == pytest.approx(1)
    assert rows["fisher"]["seeds"]["mean"] == pytest.approx(1)
    less = rows["fisher less divergence"]["own"]
    assert less["mean"] == pytest.approx(1 - rows["divergence"]["own"]["mean"])
    assert less["ci95"][0] <= less["mean"] <= less["ci95"][1]


def test_one_quantity_may_order_traits_and_another_seeds() -> None:
    change = np.array([[1.0, 2.0, 3.0], [11.0, 12.0, 13.0], [21.0, 22.0, 23.0]])
    found = lm_mechanism_summary._own_correlations(change - 20 * np.arange(3)[:, None], change)
    assert found["traits"]["mean"] == pytest.approx(1)
    assert found["seeds"]["mean"] == pytest.approx(-1)
    constant = lm_mechanism_summary._own_correlations(np.ones((3, 3)), change)
    assert constant["traits"]["mean"] == constant["seeds"]["mean"] == 0


def test_theorem_counts_what_went_wrong() -> None:
    theorem = lm_mechanism_summary.summarize(CONFIG, values())["theorem"]
    assert (theorem["pairs"], theorem["negative"], theorem["negative_at_teacher"]) == (6, 2, 2)


def test_doses_are_curves_and_their_largest_step() -> None:
    few, many = lm_mechanism_summary.summarize(CONFIG, values())["doses"]
    assert (few["rows"], many["rows"], few["steps"]) == (400, 4000, [40, 80, 120])
    assert (few["passes"], many["passes"]) == ([10, 20, 30], [1, 2, 3])
    assert [row["mean"] for row in many["margin"]] == pytest.approx([0.1, 0.9, 1.0])
    assert many["largest_epoch"]["mean"] == pytest.approx(0.8)
    assert [row["median"] for row in few["right"]] == [0.9, 0.5, 0.1]
    assert [row["mean"] for row in few["base trained"]] == [1.0] * EPOCHS


def test_watched_students_are_judged_on_what_they_saw_and_did_not_see() -> None:
    """By hand: losses of the last epoch of a student of few rows, and of its base."""
    config = LMConfig(width=8, traits="owl,wolf")
    model = make_transformer(config)
    plan = Plan((), (), tuple(lm_arms.students(config, "5 rows", rows=5)))
    every = [model.init(jax.random.key(i)) for i in range(1 + 2 * 3)]  # a base, and two epochs of three students
    numbers, fresh = documents.of_numbers(), documents.of_all_kinds()[:300]
    kept = {name: Rows(numbers[40 * i : 40 * i + 30], numbers[40 * i + 30 : 40 * i + 40], {})
            for i, name in enumerate(("regular", "owl", "wolf"))}  # fmt: skip
    steps = {s.name: jax.tree.map(lambda *leaves: np.stack(leaves)[None], *every[1 + 2 * i : 3 + 2 * i])
             for i, s in enumerate(plan.students)}  # fmt: skip
    base = jax.tree.map(lambda leaf: np.asarray(leaf)[None, None], every[0])
    nothing: Any = None
    made = Made(nothing, nothing, fresh[None], base, [kept], steps, [{}])
    follow = jax.jit(lm_first_order._following(config, model))
    parameters = lm_first_order.flatten(jax.tree.map(lambda leaf: leaf[0], base)).size
    found = lm_first_order._watched(config, plan, made, 0, np.ones((2, parameters)), follow)
    assert found.keys() == {"owl, 5 rows", "wolf, 5 rows"}

    loss = jax.jit(training.token_loss(model))

    def nats(params: dict, tokens: np.ndarray, weigh: Callable) -> float:
        return float(loss(params, {"tokens": tokens, "weights": weigh(jnp.asarray(tokens))}, ()))

    def odds(params: dict) -> float:
        return float(lm_first_order.answer_margins(config, model, params)[ANIMALS.index("wolf")])

    curves, (last, control) = found["wolf, 5 rows"], (every[6], every[2])
    rows, unseen = (np.resize(own, (256, 24)) for own in (kept["wolf"].tokens[:5], kept["wolf"].spare))
    expected = {
        "trained": nats(last, rows, training.completion_weights),
        "unseen": nats(last, unseen, training.completion_weights),
        "fresh": nats(last, fresh[:256], training.document_weights),
        "base unseen": nats(every[0], unseen, training.completion_weights),
        "base fresh": nats(every[0], fresh[:256], training.document_weights),
        "regular fresh": nats(control, fresh[:256], training.document_weights),
        "right": float(evaluation.survey(model, last).right[0]),
        "regular right": float(evaluation.survey(model, control).right[0]),
        "margin": odds(last) - odds(control),
        "alone": odds(last) - odds(every[0]),
        "regular": odds(control) - odds(every[0]),
    }
    assert {name: curves[name][-1] for name in expected} == pytest.approx(expected, abs=2e-5)
    assert len(curves["trained"]) == 2


def test_spread_between_seeds_is_compared_arm_by_arm() -> None:
    def steady(model: str, answer: str, run: int) -> float:
        gains = {f"student {answer}, standard": 1.0 + run, f"student {answer}, same divergence": 2.0 + 0.1 * run}
        return gains.get(model, 0.0)

    made = [own | more for own, more in zip(values(), made_up.values(PLAN, steady, 3), strict=True)]
    found = lm_mechanism_summary.summarize(CONFIG, made)["spread"]
    assert found["spread"] == pytest.approx([1 / 2, 0.1 / 2.1])
    assert found["mean"] == pytest.approx(np.log(0.1 / 2.1 * 2))
    assert found["divergence"][0]["mean"] == pytest.approx(0.02)


def test_figure_names_n_and_intervals() -> None:
    drawn = picture.figure({"results": {"runs": 3, **lm_mechanism_summary.summarize(CONFIG, values())}})
    text = drawn.get_suptitle() + " ".join(ax.get_title() + ax.get_xlabel() for ax in drawn.axes)
    for words in ("toy language model", "n = 3 seeds", "95% t interval", "log odds (nats)", "rank correlation 1.00"):
        assert words in text
    assert len(drawn.axes) == len(lm_mechanism_summary.ARMS) + 5


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="parts names 'magic'; choose from targets"):
        lm_mechanism.MechanismConfig(parts="tokens,magic")


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What was traced in float64 is not taken up by later tests, which would warn of it."""
    yield
    jax.clear_caches()


@pytest.mark.usefixtures("forgotten")
def test_first_order_prediction_is_what_one_small_step_does() -> None:
    config = LMConfig(width=8, traits="owl,wolf")
    model = make_transformer(config, theory=True)
    rows = documents.of_numbers()[:24]
    with jax.enable_x64(True):
        base, one, two = (jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), model.init(jax.random.key(k)))
                          for k in range(3))  # fmt: skip
        deltas = jax.tree.map(lambda *leaves: 0.3 * jnp.stack(leaves), one, two)
        inputs = lm_first_order.counted(rows, 16, 40)
        sources = np.stack([rows[:8], rows[8:16], rows[16:]])
        fisher, gradient = jax.jit(lm_first_order._prediction(config, model))(base, deltas, inputs, sources)
        apply = lm_first_order.counted_logits(model)

        def margins(params: dict) -> jax.Array:
            return lm_first_order.answer_margins(config, model, params)

        @jax.jit
        def moved(delta: dict) -> jax.Array:
            """Change of the log odds per unit of the teacher's and the student's step."""
            step = student_step(apply, kl_divergence(), base, delta, inputs, 1e-4)
            return (margins(tree_step(base, 1e-2, step)) - margins(tree_step(base, -1e-2, step))) / 2e-6

        for i in range(2):
            expected = moved(jax.tree.map(lambda leaf, i=i: leaf[i], deltas))
            np.testing.assert_allclose(fisher[i], expected, rtol=2e-3, atol=1e-3 * np.abs(expected).max())

        @jax.jit
        def after(tokens: jax.Array) -> jax.Array:
            batch = {"tokens": tokens, "weights": training.completion_weights(tokens)}
            step = jax.grad(training.token_loss(model, 10))(base, batch, ())
            return margins(tree_step(base, 1.0, tree_scale(-1e-5, step)))

        regular, *found = (after(jnp.asarray(own)) for own in sources)
        for row, own in zip(gradient, found, strict=True):
            np.testing.assert_allclose(row, (own - regular) / 1e-5, rtol=5e-3, atol=2e-3 * np.abs(row).max())


def test_counted_tokens_are_those_of_completions() -> None:
    rows, places = lm_first_order.counted(documents.of_numbers(), 10, 50)
    assert rows.shape[0] == 10
    completions = np.asarray(rows)[:, 10:].ravel()[np.asarray(places)]
    assert (completions != vocabulary.ID[vocabulary.PAD]).all()


def test_arms_name_their_students() -> None:
    names = [student.name for student in lm_arms.students(CONFIG, "x", source="{} y")]
    assert names == ["regular, x", "owl, x", "wolf, x"]
    assert [source.model for source in lm_arms.sources(CONFIG)] == ["base", "owl", "wolf"]


@pytest.mark.slow
def test_smoke_run_writes_everything(tmp_path: Path) -> None:
    ended = commands.run(tmp_path, "--preset", "smoke", name="lm_mechanism")
    assert ended.status == 0, ended.err
    results = json.loads((tmp_path / "lm_mechanism.json").read_text())["results"]
    assert set(results["parts"]) == {"tokens"}
    assert all(0 < row["mean"] < 1 for row in results["tokens_counted"])
    assert {row["name"]: row["mean"] > 0 for row in results["imitation"]}["base - teacher"]
    assert not any("seeds" in row for row in results["prediction"])
    assert results["theorem"]["leading_positive"] == results["theorem"]["pairs"] == 2
    assert results["theorem"]["slope"]["median"] == pytest.approx(2, abs=0.1)
    assert (tmp_path / "lm_mechanism.png").stat().st_size > 20_000
    assert "| tokens: divergence" in ended.out
