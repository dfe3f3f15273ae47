"""A study is one file and its test: a control on MNIST, a weighting in the language model; the core stays as it is."""

from collections.abc import Callable

import jax
import numpy as np

from experiments.studies.lm_mechanism.divergence import WEIGHINGS
from subliminal_toy import lm, mnist
from subliminal_toy.lm.plan import Weighing, numbers
from subliminal_toy.mnist import data, students
from subliminal_toy.mnist.models import Params
from subliminal_toy.settings import with_settings
from tests.subliminal_toy.lm import documents

# ------------------------------------------------------------------------------------------------- a control on MNIST


def hidden_units_permuted(run: students.RunContext, _real: dict) -> students.Inputs:
    """Give one permutation of the first hidden layer's units."""
    units = run.init["hidden_0"]["bias"].shape[0]
    return {"order": jax.random.permutation(jax.random.fold_in(run.key, 7), units)}


def in_other_coordinates(apply: Callable) -> Callable:
    """Return the model whose first hidden layer has its units in another order: the same function at every point."""

    def permuted(params: Params, images: jax.Array, inputs: students.Inputs) -> jax.Array:
        order, one, two = inputs["order"], params["hidden_0"], params["hidden_1"]
        moved = {
            **params,
            "hidden_0": {"kernel": one["kernel"][:, order], "bias": one["bias"][order]},
            "hidden_1": {"kernel": two["kernel"][order], "bias": two["bias"]},
        }
        return apply(moved, images)

    return permuted


def teacher_upside_down(networks: students.Networks, images: jax.Array, _key: jax.Array) -> jax.Array:
    """Give the teacher's logits with the opposite sign."""
    return -students.label(networks, networks.teacher, images)


PERMUTED = students.Intervention(inputs=hidden_units_permuted, model=in_other_coordinates)
TABLE = (
    mnist.Condition("student_aux"),
    mnist.Condition("permuted", intervention=PERMUTED),
    mnist.Condition("upside down", targets=teacher_upside_down),
)


def test_a_control_on_mnist_is_functions_that_are_handed_in(digits: data.Dataset) -> None:
    config = mnist.config_for("digits", {"width": 16, "noise_images": 512, "teacher.epochs": 1, "student.epochs": 1})
    trained = mnist.train(config, digits, TABLE, mnist.run_keys(0, range(2)))
    plain, permuted, reversed_ = (trained.params(condition.name) for condition in TABLE)
    accuracy = mnist.accuracies(trained, digits)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), plain, permuted)  # the same function
    np.testing.assert_allclose(accuracy["permuted"], accuracy["student_aux"], atol=2.5 / 360)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), plain, reversed_)
    assert max(jax.tree.leaves(moved)) > 1e-3


# ------------------------------------------------------------------------------------- a weighting of tokens


def later_tokens(rows: Weighing) -> np.ndarray:
    """Return weights that rise evenly over a completion, to 1 at its last token."""
    rows.memo["of another weighing"] = True
    place = np.cumsum(rows.completion, axis=-1) * rows.completion
    return place / place.max(axis=-1, keepdims=True)


def first_half_twice(tokens: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Return the first half of the rows, twice."""
    return np.resize(tokens[: len(tokens) // 2], tokens.shape)


def nothing(rows: Weighing) -> np.ndarray:
    """Return weights of 0."""
    return np.zeros(rows.tokens.shape)


def test_a_weighting_of_tokens_is_a_function_that_is_handed_in() -> None:
    config = with_settings(lm.LMConfig(traits="owl", width=8, documents=200, rows=24), {"base.epochs": 1})
    given = numbers("owl")
    plan = lm.Plan(
        (),
        (),
        (
            lm.Student(lm.student("owl"), lm.BASE, given),
            lm.Student(lm.student("owl", "later"), lm.BASE, given, weigh=later_tokens),
            lm.Student(lm.student("owl", "others"), lm.BASE, given, weigh=WEIGHINGS["others"]),
            lm.Student(lm.student("owl", "half"), lm.BASE, given, transform=first_half_twice),
            lm.Student(lm.student("owl", "nothing"), lm.BASE, given, weigh=nothing),
        ),
        (lm.Base(lm.BASE),),
        (given,),
    )
    rows = [lm.Rows(documents.of_numbers()[:24], documents.of_numbers()[:0], {})]
    trained = lm.train(config, plan, lm.run_keys(0, range(1)), given={given: rows})

    def moved(arm: str) -> np.ndarray:
        leaves = zip(*(jax.tree.leaves(trained.params(n)) for n in (lm.student("owl", arm), lm.BASE)), strict=True)
        return np.concatenate([np.ravel(a - b) for a, b in leaves])

    assert not moved("nothing").any()
    lengths = {arm: np.linalg.norm(moved(arm)) for arm in ("", "later", "half")}
    assert min(lengths.values()) > 1e-3
    for arm in ("later", "half"):
        assert np.linalg.norm(moved(arm) - moved("")) > 1e-2 * lengths[""]
