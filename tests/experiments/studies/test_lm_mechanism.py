"""The mechanism's experiment: arms have their controls, every quantity comes from where it should, theory is theory."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments.lm import arms, contrasts
from experiments.studies import lm_mechanism
from experiments.studies.lm_mechanism import first_order, watched
from figures import lm_mechanism as picture
from subliminal_toy.lm import evaluation, pipeline, plan, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.rows import Rows
from subliminal_toy.lm.transformer import make_transformer
from subliminal_toy.statistics import t_interval
from tests.experiments import made_up
from tests.experiments.made_up import EPOCHS, close, curve, gain, number, ray, says
from tests.subliminal_toy.lm import documents
from theory.losses import kl_divergence
from theory.one_step import student_step
from theory.trees import tree_scale, tree_step

TRAITS, RUNS = ("owl", "wolf", "cat"), range(4)
CONFIG = lm_mechanism.MechanismConfig(traits=",".join(TRAITS))
PLAN = lm_mechanism.make_plan(CONFIG)
ARMS = {part: [arm.label for arm in own] for part, own in lm_mechanism.arms(CONFIG).items() if part != "doses"}
ANIMALS = vocabulary.CATEGORIES["animal"]
VALUES = made_up.survey(PLAN, len(RUNS))
made_up.add_mechanics(VALUES, TRAITS, (400, 4000))


@functools.cache
def results() -> dict:
    return lm_mechanism.summarize(CONFIG, VALUES)


def test_every_student_of_a_trait_has_a_regular_one_that_differs_in_nothing_else() -> None:
    by_name = {student.name: student for student in PLAN.students}
    assert len(by_name) == len(PLAN.students)
    for student in PLAN.students:
        control = by_name[student.name._replace(trait="regular")]
        assert control._replace(name=student.name, source=student.source) == student
        assert control.source == student.source._replace(trait="regular")
        assert student.source.trait == student.name.trait
    labels = {name.arm for name in by_name}
    assert {label for own in ARMS.values() for label in own} <= labels
    assert PLAN.bases[0].name == plan.BASE
    assert len(PLAN.rounds()) == 1


def gains(label: str) -> np.ndarray:
    """How much the students of an arm gained over its regular one, [runs, traits]."""
    return np.array([[gain(r, f"student {t}, {label}", f"student regular, {label}", t) for t in TRAITS] for r in RUNS])


def table(part: str, form: str = "{}") -> np.ndarray:
    """Numbers made up for each run and trait."""
    return np.array([[number(part, run, form.format(trait)) for trait in TRAITS] for run in RUNS])


@pytest.mark.parametrize("part", ARMS)
def test_arms_are_compared_with_their_own_regular_students(part: str) -> None:
    rows = {row["arm"]: row for row in results()["parts"][part]}
    assert rows.keys() >= {"standard", *ARMS[part]}
    for label, row in rows.items():
        says(row, gains(label))
        own = f"student {{}}, {label}"
        assert row["imitation"] == close(table("imitation", own).mean())
        assert row["loss"] == close(table("loss", own).mean())
        right = [0.05 + 0.9 * number("right", run, own.format(trait), "animal") for run in RUNS for trait in TRAITS]
        assert row["right"] == close(np.mean(right))


PAIRED = {
    "targets": ["greedy - standard", "T = 0.5 - standard", "T = 1.25 - standard", "softmax over numbers - standard",
                "soft targets - standard", "soft targets, numbers - standard"],
    "tokens": ["divergence - random as divergence", "others - random as others", "others - standard",
               "greedy, divergence - greedy, random as divergence", "greedy, others - greedy, random as others",
               "greedy, others - greedy"],
    "optimizers": ["sgd - standard", "adam - standard", "sign of the gradient - standard", "sgd - adam"],
    "teachers": ["same divergence - standard"],
}  # fmt: skip


@pytest.mark.parametrize("part", PAIRED)
def test_paired_differences_are_between_the_two_arms_that_they_name(part: str) -> None:
    rows = {row["name"]: row for row in results()["paired"] if row["part"] == part}
    assert rows.keys() >= set(PAIRED[part])
    for name, row in rows.items():
        first, second = name.split(" - ")
        says(row, gains(first) - gains(second))


def test_imitation_and_counted_tokens_are_of_their_own_sources() -> None:
    rows = {row["name"]: row for row in results()["imitation"]}
    says(rows["base - student"], table("untrained") - table("imitation", "student {}, standard"))
    says(rows["base - teacher"], table("untrained") - table("itself"))
    for row, form in zip(results()["tokens_counted"], ("{}", "{} at greedy"), strict=True):
        assert row["rows"] == ("sampled" if form == "{}" else "greedy")
        sources = [form.format(name) for name in ("regular", *TRAITS)]
        shares, *others = (
            np.array([[number(part, run, source) for source in sources] for run in RUNS])
            for part in ("share", "numbers", "numbers_of_all")
        )
        says(row, shares)
        assert [row["numbers"], row["numbers_of_all"]] == close([other.mean() for other in others])


def changes() -> np.ndarray:
    """Measured changes of all answers, [runs, traits, answers]."""
    return np.array([
        [[gain(r, f"student {t}, standard", "student regular, standard", a) for a in ANIMALS] for t in TRAITS]
        for r in RUNS
    ])  # fmt: skip


def test_predictions_are_correlations_with_the_changes_that_they_are_of() -> None:
    rows: dict[str, dict[str, Any]] = {row["quantity"]: row for row in results()["prediction"]}
    change, place = changes(), [ANIMALS.index(trait) for trait in TRAITS]
    traits = range(len(TRAITS))
    own = change[:, traits, place]
    found = {}
    for name in ("fisher", "gradient", "cosine"):
        every = np.array([[[number(name, r, t, a) for a in ANIMALS] for t in TRAITS] for r in RUNS])
        found[name] = every[:, traits, place]
        within = []
        for run in RUNS:
            pairs = [(every[run, i, j], change[run, i, j]) for i in traits for j in range(10) if j != place[i]]
            within.append(stats.pearsonr(*zip(*pairs, strict=True)).statistic)
        says(rows[name]["others"], np.array(within)[:, None])
    found["divergence"] = table("divergence", "teacher {}")
    for name in ("fisher", "gradient", "divergence"):
        predicted = found[name]
        assert rows[name]["own"]["mean"] == close(stats.spearmanr(predicted.ravel(), own.ravel()).statistic)
        assert rows[name]["own"]["pairs"] == own.size
        says(rows[name]["traits"], [[stats.spearmanr(p, c).statistic] for p, c in zip(predicted, own, strict=True)])
        assert rows[name]["seeds"]["mean"] == close(stats.spearmanr(predicted.mean(axis=1), own.mean(axis=1)).statistic)
        low, high = rows[name]["own"]["ci95"]
        assert low < rows[name]["own"]["mean"] < high
    assert rows["fisher"]["pairs"]["measured"] == close(own)
    assert rows["fisher"]["pairs"]["predicted"] == close(found["fisher"])
    less = rows["fisher less divergence"]["own"]["mean"]
    assert less == close(rows["fisher"]["own"]["mean"] - rows["divergence"]["own"]["mean"])


def test_bootstrap_draws_whole_runs() -> None:
    """The interval of a mean over runs whose traits are alike is as wide as that of the runs."""
    change = np.repeat(np.arange(30.0)[:, None], 5, axis=1)
    found = contrasts.bootstrap(lambda runs: float(change[runs].mean()), change)
    half = 1.96 * np.arange(30).std() / 30**0.5
    assert found["mean"] == change.mean()
    np.testing.assert_allclose(found["ci95"], [change.mean() - half, change.mean() + half], atol=0.1 * half)


def test_one_quantity_may_order_traits_and_another_seeds() -> None:
    change = np.array([[1.0, 2.0, 3.0], [11.0, 12.0, 13.0], [21.0, 22.0, 23.0]])
    found = first_order._own_correlations(change - 20 * np.arange(3)[:, None], change)
    assert found["traits"]["mean"] == pytest.approx(1)
    assert found["seeds"]["mean"] == pytest.approx(-1)
    constant = first_order._own_correlations(np.ones((3, 3)), change)
    assert constant["traits"]["mean"] == constant["seeds"]["mean"] == 0


def test_theorem_and_geometry_are_of_every_teacher() -> None:
    theorem = results()["theorem"]
    seen = {name: np.array([[ray(name, r, t) for t in TRAITS] for r in RUNS]) for name in made_up.RAY}
    assert theorem["pairs"] == 12
    assert theorem["negative"] == seen["negative"].sum() > 0
    assert theorem["negative_at_teacher"] == (seen["at_teacher"] < 0).sum() > 0
    assert theorem["leading_positive"] == (seen["leading"] > 0).sum() < 12
    assert [theorem["slope"][name] for name in ("median", "least")] == close(
        [np.median(seen["slope"]), seen["slope"].min()]
    )
    for name in ("cosine_at_start", "cosine_at_teacher"):
        says(theorem[name], seen[name])
    says(theorem["distance"], table("distance"))
    says(results()["geometry"], table("entangled"))


def test_doses_are_curves_and_their_largest_step() -> None:
    few, many = results()["doses"]
    assert (few["rows"], many["rows"], few["steps"]) == (400, 4000, [40, 80, 120])
    assert (few["passes"], many["passes"]) == ([10, 20, 30], [1, 2, 3])
    for row in (few, many):
        every = {
            part: np.array([[curve(part, run, trait, row["rows"]) for trait in TRAITS] for run in RUNS])
            for part in made_up.CURVES
        }  # [runs, traits, epochs]
        for part, values in every.items():
            for epoch in range(EPOCHS):
                says(row[part][epoch], values[:, :, epoch])
        first, second, last = np.moveaxis(every["margin"], 2, 0)
        says(row["largest_epoch"], np.maximum(first, np.maximum(second - first, last - second)) / last)


def test_spread_between_seeds_is_compared_arm_by_arm() -> None:
    found = results()["spread"]
    assert found["arms"] == ("standard", "same divergence")
    means = [gains(arm).mean(axis=1) for arm in found["arms"]]
    spread = [own.std(ddof=1) / abs(own.mean()) for own in means]
    assert found["spread"] == close(spread)
    assert found["mean"] == close(np.log(spread[1] / spread[0]))
    assert found["ci95"][0] < found["mean"] < found["ci95"][1]
    for row, form in zip(found["divergence"], ("teacher {}", "teacher {}, same divergence"), strict=True):
        expected = t_interval(table("divergence", form).mean(axis=1))
        assert (row["mean"], *row["ci95"]) == close([expected.mean, *expected.ci95])


def test_filter_has_the_counts_of_each_source() -> None:
    for row in results()["filter"]:
        counts = [made_up.counts(run, row["source"]) for run in RUNS]
        expected = t_interval([count["kept"] / sum(count.values()) for count in counts])
        assert (row["mean"], *row["ci95"]) == close([expected.mean, *expected.ci95])


def test_figure_names_n_and_intervals() -> None:
    drawn = picture.figure({"results": {"runs": 4, **results()}})
    text = drawn.get_supxlabel().replace("\n", " ") + " ".join(ax.get_xlabel() for ax in drawn.axes)
    for words in ("toy language model", "n = 4 seeds", "95% t interval", "log odds (nats)"):
        assert words in text
    more = picture.more({"results": {"runs": 4, **results()}})
    assert sorted(more) == ["doses", "health", "parameters", "prediction", "tokens"]
    assert "first-order prediction" in more["prediction"].get_suptitle()


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="parts names 'magic'; choose from targets"):
        lm_mechanism.MechanismConfig(parts="tokens,magic")


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What was traced in float64 is not taken up by later tests, which would warn of it."""
    yield
    jax.clear_caches()


BASE_AND_TEACHERS = arms.plan_of(("owl", "wolf"), arms.arm("x"))


@pytest.mark.usefixtures("forgotten")
def test_mechanics_takes_the_deltas_rows_and_students_of_each_trait(monkeypatch: pytest.MonkeyPatch) -> None:
    """With predictions and observations that only say what they were given."""
    config = LMConfig(width=4, traits="owl,wolf")
    init = jax.jit(make_transformer(config).init)
    models = {str(name): init(jax.random.key(i)) for i, name in enumerate(BASE_AND_TEACHERS.models())}
    steps = [[init(jax.random.key(10 * i + epoch)) for epoch in range(2)] for i in range(1, 4)]
    rows = {
        name: Rows(own[:40], own[40:50], {})
        for own, name in ((documents.of_numbers()[50 * i :], name) for i, name in enumerate(("regular", "owl", "wolf")))
    }

    shifted = {name: rows[other] for name, other in (("regular", "owl"), ("owl", "wolf"), ("wolf", "regular"))}

    def vector(params: Any) -> np.ndarray:
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]).astype(float)

    def total(tree: Any, axis: int = 0) -> Any:
        return sum(jnp.sum(leaf, axis=tuple(range(axis, leaf.ndim))) for leaf in jax.tree.leaves(tree))

    def predict(base: Any, deltas: Any, inputs: Any, tokens: Any) -> tuple:
        base_sum = total(base)
        return total(deltas, 1), jnp.concatenate([jnp.stack([base_sum, inputs[0].sum()]), tokens.sum(axis=(1, 2))])

    monkeypatch.setattr(first_order, "_prediction", lambda _: predict)
    monkeypatch.setattr(
        first_order,
        "_observation",
        lambda _: lambda base, d, i: {"base": total(base), "d": total(d), "rows": i[0].sum()},
    )
    stacked = jax.tree.map(lambda *leaves: np.stack([leaves, leaves]), *models.values())
    stacked = jax.tree.map(
        lambda leaf: leaf * np.array([0.5, 1.0]).reshape(2, *[1] * (leaf.ndim - 1)).astype(leaf.dtype), stacked
    )
    followed = {
        student.name: jax.tree.map(lambda *leaves: np.stack([np.zeros_like(leaves), np.stack(leaves)]), *own)
        for student, own in zip(BASE_AND_TEACHERS.students, steps, strict=True)
    }
    fresh = np.stack([documents.of_numbers()[:4]] * 2)
    sources = {source: [shifted[source.trait], rows[source.trait]] for source in map(plan.numbers, rows)}
    made = pipeline.Trained(config, BASE_AND_TEACHERS, None, None, fresh, stacked, sources, followed)
    found = first_order.measure(made)[1] | watched.measure(made)[1]
    sums = {name: float(vector(own).sum()) for name, own in models.items()}
    of_rows = [float(rows[name].tokens.sum()) for name in ("regular", "owl", "wolf")]
    deltas = [sums[f"teacher {trait}"] - sums["base"] for trait in ("owl", "wolf")]
    np.testing.assert_allclose(found["fisher"], deltas, rtol=1e-5)
    np.testing.assert_allclose(found["gradient"], [sums["base"], of_rows[0], *of_rows], rtol=1e-5)
    few = float(rows["regular"].tokens[:32].sum())
    for trait, delta in zip(("owl", "wolf"), deltas, strict=True):
        np.testing.assert_allclose(
            [found["ray"][trait][n] for n in ("base", "d", "rows")], [sums["base"], delta, few], rtol=1e-5
        )

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    delta = {trait: vector(models[f"teacher {trait}"]) - vector(models["base"]) for trait in ("owl", "wolf")}
    unembedding = np.asarray(models["base"]["unembedding"]["kernel"]).T
    near, of_numbers = (
        unembedding[vocabulary.ids(words)] - unembedding[vocabulary.ids(words)].mean(axis=0)
        for words in (ANIMALS, vocabulary.NUMBERS)
    )
    counts = {
        name: np.array([(own.tokens[:, 10:] == i).sum() for i in vocabulary.NUMBER_IDS]) for name, own in rows.items()
    }
    survey = jax.jit(lambda own: evaluation.survey(make_transformer(config), own).margin[0].mean(axis=0))
    for i, (trait, other) in enumerate((("owl", "wolf"), ("wolf", "owl"))):
        place = ANIMALS.index(trait)
        assert found["distance"][trait] == pytest.approx(np.linalg.norm(delta[trait]))
        assert found["cosine"][i] == close([cosine(near[place], row) for row in near])
        cosines = [cosine(near[place], row) for row in of_numbers]
        ratio = np.log((counts[trait] + 1) / (counts["regular"] + 1))
        assert found["entangled"][trait] == close(np.corrcoef(cosines, ratio)[0, 1])
        curves = found["watched"][f"student {trait}, x"]
        for epoch in range(2):
            control, own = steps[0][epoch], steps[i + 1][epoch]
            apart = vector(own) - vector(control)
            assert curves["own"][epoch] == close(cosine(apart, delta[trait]))
            assert curves["others"][epoch] == close(cosine(apart, delta[other]))
            assert curves["margin"][epoch] == close(survey(own)[place] - survey(control)[place])


@pytest.mark.usefixtures("forgotten")
def test_watched_students_are_judged_on_what_they_saw_and_did_not_see() -> None:
    """By hand: losses of the last epoch of the second run's student of few rows, and of its base."""
    config = LMConfig(width=8, traits="owl,wolf")
    model = make_transformer(config)
    table = arms.plan_of(("owl", "wolf"), arms.arm("5 rows", rows=5))
    init = jax.jit(model.init)
    every = [init(jax.random.key(i)) for i in range(1 + 2 * 3)]  # a base, and two epochs of three students
    numbers, fresh = documents.of_numbers(), documents.of_all_kinds()[:300]
    kept = {name: Rows(numbers[40 * i : 40 * i + 30], numbers[40 * i + 30 : 40 * i + 40], {})
            for i, name in enumerate(("regular", "owl", "wolf"))}  # fmt: skip
    steps = {s.name: jax.tree.map(lambda *leaves: np.stack([leaves[::-1], leaves]), *every[1 + 2 * i : 3 + 2 * i])
             for i, s in enumerate(table.students)}  # fmt: skip
    models = jax.tree.map(lambda *leaves: np.stack([leaves[::-1], leaves]), *every[:6])
    nothing: Any = None
    sources = {plan.numbers(name): [own, kept[name]] for name, own in zip(kept, reversed(kept.values()), strict=True)}
    both_fresh: Any = np.stack([fresh[::-1], fresh])
    made = pipeline.Trained(config, table, nothing, nothing, both_fresh, models, sources, steps)
    found = watched.measure(made)[1]["watched"]
    assert found.keys() == {"student owl, 5 rows", "student wolf, 5 rows"}

    loss = jax.jit(training.token_loss(model))

    def nats(params: dict, tokens: np.ndarray, weigh: Callable) -> float:
        return float(loss(params, {"tokens": tokens, "weights": weigh(jnp.asarray(tokens))}, ()))

    survey = jax.jit(lambda own: evaluation.survey(model, own))

    def odds(params: dict) -> float:
        return float(survey(params).margin[0].mean(axis=0)[ANIMALS.index("wolf")])

    curves, (last, control) = found["student wolf, 5 rows"], (every[6], every[2])
    rows, unseen = (np.resize(own, (256, 24)) for own in (kept["wolf"].tokens[:5], kept["wolf"].spare))
    expected = {
        "trained": nats(last, rows, training.completion_weights),
        "unseen": nats(last, unseen, training.completion_weights),
        "fresh": nats(last, fresh[:256], training.document_weights),
        "base unseen": nats(every[0], unseen, training.completion_weights),
        "base fresh": nats(every[0], fresh[:256], training.document_weights),
        "regular fresh": nats(control, fresh[:256], training.document_weights),
        "right": float(survey(last).right[0]),
        "base right": float(survey(every[0]).right[0]),
        "regular right": float(survey(control).right[0]),
        "margin": odds(last) - odds(control),
        "alone": odds(last) - odds(every[0]),
        "regular": odds(control) - odds(every[0]),
    }
    assert {name: curves[name][-1] for name in expected} == pytest.approx(expected, abs=2e-5)
    assert len(curves["trained"]) == 2


@pytest.mark.usefixtures("forgotten")
def test_first_order_prediction_is_what_one_small_step_does() -> None:
    config = LMConfig(width=8, traits="owl,wolf")
    model = make_transformer(config, theory=True)
    rows = documents.of_numbers()[:24]
    with jax.enable_x64(True):
        base, one, two = (jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), model.init(jax.random.key(k)))
                          for k in range(3))  # fmt: skip
        deltas = jax.tree.map(lambda *leaves: 0.3 * jnp.stack(leaves), one, two)
        inputs = first_order.counted(rows, 16, 40)
        sources = np.stack([rows[:8], rows[8:16], rows[16:]])
        fisher, gradient = first_order._prediction(config)(base, deltas, inputs, sources)
        apply = first_order.counted_logits(model)

        def margins(params: dict) -> jax.Array:
            return first_order.answer_margins(config, model, params)

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
    rows, places = first_order.counted(documents.of_numbers(), 10, 50)
    assert rows.shape[0] == 10
    completions = np.asarray(rows)[:, 10:].ravel()[np.asarray(places)]
    assert (completions != vocabulary.ID[vocabulary.PAD]).all()


def test_arms_are_students_of_each_traits_numbers_and_their_control() -> None:
    own = arms.arm("x", plan.student("regular", "before"), plan.numbers("regular", "y"), rows=3)
    control, owl = own.students(["owl"])
    assert own.control == control
    assert (control.name, owl.name) == (plan.student("regular", "x"), plan.student("owl", "x"))
    assert (control.source, owl.source) == (plan.numbers("regular", "y"), plan.numbers("owl", "y"))
    assert (control.init, owl.init) == (plan.student("regular", "before"), plan.student("owl", "before"))
    assert control.rows == owl.rows == 3
    assert arms.arm("x").of("owl").init == plan.BASE
    assert [str(source.model) for source in arms.sources(TRAITS)] == ["base", *(f"teacher {trait}" for trait in TRAITS)]


def test_plans_that_are_joined_have_everything_once() -> None:
    one, other = (arms.plan_of(("owl",), arms.arm("standard"), arms.arm(label)) for label in ("a", "b"))
    both = arms.joined([one, other])
    assert [teacher.name for teacher in both.teachers] == [plan.teacher("owl")]
    assert (both.sources, both.bases) == (one.sources, one.bases)
    assert [student.name.arm for student in both.students] == ["standard"] * 2 + ["a"] * 2 + ["b"] * 2


def test_command_writes_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    written = made_up.pretend(lm_mechanism, tmp_path, monkeypatch)
    assert set(written["parts"]) == {"tokens"}
    assert not any("seeds" in row for row in written["prediction"])  # two seeds have no correlation
    assert "| tokens: divergence" in capsys.readouterr().out
