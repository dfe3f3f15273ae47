"""What theory says in advance about the language model, measured on its trained base in float64.

With the base's parameters theta, a teacher's delta d = theta_T - theta, the Fisher matrix F of the base's numbers
(Gauss-Newton matrix of the cross-entropy on the tokens of their completions) and g_a the gradient of a's log odds:

    first-order prediction of the change of a     g_a' F d        (one step of gradient descent on soft targets, L1)
    the same from the very rows                   g_a' (s_T - s)  with s = -grad of the loss on a source's rows

Beside these: the theorem's observations along d (theory.certificate), and the geometry of the unembedding. What is
measured on every run comes first, then what all runs say.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from experiments.lm.arms import STANDARD
from experiments.lm.contrasts import EACH, Row, Values, all_odds, bootstrap, column, each, over_runs
from experiments.studies.lm_mechanism.watched import flatten
from subliminal_toy import lm
from subliminal_toy.lm import LMConfig, corpus, evaluation, training, vocabulary
from subliminal_toy.lm.plan import BASE, REGULAR, numbers, student, teacher
from subliminal_toy.lm.rows import number_counts
from subliminal_toy.lm.transformer import Params, Transformer, make_transformer
from subliminal_toy.statistics import describe, outliers
from theory.certificate import EPS_GRID, observe
from theory.losses import kl_divergence
from theory.one_step import gauss_newton_product, inner_product, student_step
from theory.trees import tree_cosine, tree_norm, tree_scale

FISHER_ROWS, FISHER_TOKENS = 512, 2048
OBSERVED_ROWS, OBSERVED_TOKENS = 32, 128
LEAST = 3  # values that a correlation is of
Inputs = tuple[jax.Array, jax.Array]  # rows [n, T], and which of their positions count [tokens]


def measure(trained: lm.Trained) -> Values:
    """Measure each run, a dict for each.

    "fisher", "gradient" [traits, answers]: both predictions; "cosine" [traits, answers]: of the unembeddings, less the
    mean of their category; "entangled" {trait: correlation over numbers of the cosine to the trait's unembedding with
    the log ratio of their frequency in the teacher's rows to that in regular ones}; "ray" {trait: observations along
    d}; "distance" {trait: |d|}.
    """
    return [_measure(trained, run) for run in range(len(trained.fresh))]


def _measure(trained: lm.Trained, run: int) -> dict[str, Any]:
    config, traits = trained.config, trained.config.trait_names()
    rows = {name: trained.rows[numbers(name)][run].tokens for name in (REGULAR, *traits)}
    names = (BASE, *map(teacher, traits))
    base, *taught = (jax.tree.map(lambda leaf: np.asarray(leaf)[run], trained.params(name)) for name in names)
    with jax.enable_x64(True):
        exact, *ends = (jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params) for params in (base, *taught))
        deltas = jax.tree.map(lambda start, *params: jnp.stack(params) - start, exact, *ends)
        tokens = counted(rows[REGULAR], FISHER_ROWS, FISHER_TOKENS)
        fisher, gradient = _prediction(config)(exact, deltas, tokens, np.stack(list(rows.values())))
        few = counted(rows[REGULAR], OBSERVED_ROWS, OBSERVED_TOKENS)
        each_delta = [jax.tree.map(lambda leaf, i=i: leaf[i], deltas) for i in range(len(traits))]
        observed = [_observation(config)(exact, delta, few) for delta in each_delta]
    distances = np.linalg.norm(flatten(deltas), axis=1).tolist()
    return {
        "fisher": evaluation.as_lists(fisher, 9),
        "gradient": evaluation.as_lists(gradient, 9),
        **_nearness(config, base, rows),
        "ray": {
            trait: {name: float(value) for name, value in observation.items()}
            for trait, observation in zip(traits, observed, strict=True)
        },
        "distance": dict(zip(traits, distances, strict=True)),
    }


def counted(rows: np.ndarray, most_rows: int, tokens: int) -> Inputs:
    """Return the first rows, and the places of so many tokens of their completions, flat (repeated if fewer)."""
    rows = rows[:most_rows]
    weights = np.asarray(training.completion_weights(jnp.asarray(rows)))[:, corpus.PROMPT_LENGTH :]
    return jnp.asarray(rows), jnp.asarray(np.resize(np.flatnonzero(weights), tokens))


def counted_logits(model: Transformer) -> Callable[[Params, Inputs], jax.Array]:
    """Return the function whose Fisher matrix is meant: next-token logits at the places that count, [tokens, V]."""

    def apply(params: Params, inputs: Inputs) -> jax.Array:
        return training.completion_logits(model, params, inputs[0])[inputs[1]]

    return apply


def answer_margins(config: LMConfig, model: Transformer, params: Params) -> jax.Array:
    """Return log odds of each answer of the category, mean over all questions, [answers]."""
    questions = corpus.question_tokens(np.arange(len(corpus.FRAMES)), config.category)
    log_p = jax.nn.log_softmax(model.apply(params, questions)[:, -1])
    names = jnp.array(vocabulary.ids(vocabulary.CATEGORIES[config.category]))
    return jnp.mean(evaluation.margins(log_p[:, names]), axis=0)


@functools.lru_cache(maxsize=8)
def _prediction(config: LMConfig) -> Callable[..., tuple[jax.Array, jax.Array]]:
    model = make_transformer(config, theory=True)
    apply, loss = counted_logits(model), training.token_loss(model, corpus.PROMPT_LENGTH)

    def steps(base: Params, rows: jax.Array) -> Params:
        batch = {"tokens": rows, "weights": training.completion_weights(rows)}
        return tree_scale(-1.0, jax.grad(loss)(base, batch, ()))

    @jax.jit
    def predict(base: Params, deltas: Params, inputs: Inputs, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        trait_gradients = jax.jacrev(lambda p: answer_margins(config, model, p))(base)  # [answers, ...]
        pushed = jax.lax.map(lambda d: gauss_newton_product(apply, kl_divergence(), base, inputs, d), deltas)
        by_source = jax.lax.map(lambda own: steps(base, own), rows)  # regular first
        moved = jax.tree.map(lambda leaf: leaf[1:] - leaf[:1], by_source)
        return _products(pushed, trait_gradients), _products(moved, trait_gradients)

    return predict


def _products(left: Params, right: Params) -> jax.Array:
    """Return inner products of every tree of [n, ...] with every one of [m, ...], [n, m]."""
    parts = jax.tree.map(lambda a, b: a.reshape(len(a), -1) @ b.reshape(len(b), -1).T, left, right)
    return jax.tree.reduce(jnp.add, parts)


@functools.lru_cache(maxsize=8)
def _observation(config: LMConfig) -> Callable[..., dict[str, jax.Array]]:
    """Compile the theorem's observations along a teacher's delta, and at the teacher's distance."""
    apply, loss = counted_logits(make_transformer(config, theory=True)), kl_divergence()

    @jax.jit
    def see(base: Params, delta: Params, inputs: Inputs) -> dict[str, jax.Array]:
        distance = tree_norm(delta)
        direction = tree_scale(1 / distance, delta)
        observed = observe(apply, loss, base, direction, inputs, jnp.array(EPS_GRID))
        there = student_step(apply, loss, base, direction, inputs, distance)
        return {
            "leading": observed.leading,
            "slope": observed.slope,
            "negative": jnp.sum(observed.inner_products < -observed.noise).astype(float),
            "at_teacher": inner_product(apply, loss, base, direction, inputs, distance),
            "cosine_at_teacher": tree_cosine(there, direction),
            "cosine_at_start": observed.cosines[0],
        }

    return see


def _nearness(config: LMConfig, base: Params, rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return cosines between unembeddings of the base, and whether numbers near the trait get more frequent."""
    columns = base["embedding"] if config.tied else base["unembedding"]["kernel"].T  # [V, width]
    answers = vocabulary.CATEGORIES[config.category]
    near = _centred(columns[vocabulary.ids(answers)])
    of_numbers = _centred(columns[list(vocabulary.NUMBER_IDS)])
    places = [answers.index(trait) for trait in config.trait_names()]
    counts = {name: np.array(number_counts(own[:, corpus.PROMPT_LENGTH :]), float) for name, own in rows.items()}
    ratio = {name: np.log((own + 1) / (counts[REGULAR] + 1)) for name, own in counts.items()}
    entangled = {
        trait: float(np.nan_to_num(np.corrcoef(of_numbers @ near[place], ratio[trait])[0, 1]))
        for trait, place in zip(config.trait_names(), places, strict=True)
    }
    return {"cosine": evaluation.as_lists((near @ near.T)[places]), "entangled": entangled}


def _centred(rows: np.ndarray) -> np.ndarray:
    """Subtract the rows' mean, and scale each to length 1."""
    rows = rows - rows.mean(axis=0)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def predictions(traits: Sequence[str], values: Values) -> list[Row]:
    """Describe how well each quantity known in advance says which answer, trait and seed changes most.

    "own": Spearman's correlation over all pairs of seed and trait between the quantity and the trait's change, with a
    95% interval from 2,000 bootstrap samples of whole seeds; "seeds": the same between means over traits. "traits":
    Spearman's within a seed, over its traits; "others": Pearson's within a seed, over pairs of trait and another
    answer; both are means over seeds with a t interval. "outliers": seeds, by their mean change. The last row is a
    difference, on the same bootstrap samples.
    What would be the correlation of fewer than three values is left out.
    """
    category = vocabulary.CATEGORY_OF[traits[0]]
    is_trait = np.array([[answer == trait for answer in vocabulary.CATEGORIES[category]] for trait in traits])
    students, controls = (each(student(name, STANDARD), traits) for name in (EACH, REGULAR))
    measured = all_odds(values, students, category) - all_odds(values, controls, category)  # [runs, traits, answers]
    change, divergence = measured[:, is_trait], column(values, "divergence", [teacher(trait) for trait in traits])
    quantities = {name: np.array([value[name] for value in values]) for name in ("fisher", "gradient", "cosine")}
    rows = []
    for name, predicted in quantities.items():
        row: Row = {"quantity": name}
        if name != "cosine":  # a trait's cosine with itself is 1
            row |= _own_correlations(predicted[:, is_trait], change)
            row["pairs"] = {"predicted": predicted[:, is_trait].tolist(), "measured": change.tolist()}
            row["outliers"] = outliers(change.mean(axis=1))
        within = [_correlation(p[~is_trait], m[~is_trait]) for p, m in zip(predicted, measured, strict=True)]
        row["others"] = {**describe(within), "per_run": within}
        rows.append(row)
    fisher = quantities["fisher"][:, is_trait]
    rows.append({"quantity": "divergence", **_own_correlations(divergence, change)})
    if change.size >= LEAST:
        less = bootstrap(lambda runs: _rank(fisher[runs], change[runs]) - _rank(divergence[runs], change[runs]), change)
        rows.append({"quantity": "fisher less divergence", "own": less})
    return rows


def _own_correlations(predicted: np.ndarray, change: np.ndarray) -> Row:
    """Correlate values [runs, traits]: all pairs, the traits of a run, and the runs' means."""
    means = predicted.mean(axis=1), change.mean(axis=1)
    row = {}
    if change.size >= LEAST:
        row["own"] = bootstrap(lambda runs: _rank(predicted[runs], change[runs]), change)
    if change.shape[1] >= LEAST:
        within = [_rank(p, c) for p, c in zip(predicted, change, strict=True)]
        row["traits"] = {**describe(within), "per_run": within}
    if len(change) >= LEAST:
        row["seeds"] = bootstrap(lambda runs: _rank(means[0][runs], means[1][runs]), change)
    return row


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation; 0 where one side is constant."""
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def _rank(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's correlation of all values."""
    return _correlation(stats.rankdata(a), stats.rankdata(b))


def theorem(traits: Sequence[str], values: Values) -> Row:
    """Describe the theorem's observations along every teacher's delta, at the trained base."""
    names = ("leading", "slope", "negative", "at_teacher", "cosine_at_teacher", "cosine_at_start")
    table = {name: np.array([[value["ray"][trait][name] for trait in traits] for value in values]) for name in names}
    return {
        "pairs": int(table["leading"].size),
        "negative": int(table["negative"].sum()),
        "negative_at_teacher": int((table["at_teacher"] < 0).sum()),
        "leading_positive": int((table["leading"] > 0).sum()),
        "slope": {"median": float(np.nanmedian(table["slope"])), "least": float(np.nanmin(table["slope"]))},
        "cosine_at_start": over_runs(table["cosine_at_start"]),
        "cosine_at_teacher": over_runs(table["cosine_at_teacher"]),
        "distance": over_runs(column(values, "distance", traits)),
    }


def geometry(traits: Sequence[str], values: Values) -> Row:
    """Describe how nearness to the trait correlates with the change of a number's frequency."""
    return over_runs(column(values, "entangled", traits))
