"""What theory says in advance about the language model, measured on its trained base in float64.

With the base's parameters theta, a teacher's delta d = theta_T - theta, the Fisher matrix F of the base's numbers
(Gauss-Newton matrix of the cross-entropy on the tokens of their completions) and g_a the gradient of a's log odds:

    first-order prediction of the change of a     g_a' F d        (one step of gradient descent on soft targets, L1)
    the same from the very rows                   g_a' (s_T - s)  with s = -grad of the loss on a source's rows

Beside these: the theorem's observations along d (theory.certificate), the geometry of the unembedding, and how far
students that were watched have moved along the teacher's delta.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy.lm import corpus, evaluation, training, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.measure import unseen_rows
from subliminal_toy.lm.pipeline import Made, Measure
from subliminal_toy.lm.plan import REGULAR, Plan
from subliminal_toy.lm.rows import Rows, number_counts
from subliminal_toy.lm.transformer import Params, Transformer, make_transformer
from theory.certificate import EPS_GRID, observe
from theory.losses import kl_divergence
from theory.one_step import gauss_newton_product, inner_product, student_step
from theory.trees import tree_cosine, tree_norm, tree_scale

FISHER_ROWS, FISHER_TOKENS = 512, 2048
OBSERVED_ROWS, OBSERVED_TOKENS = 32, 128
WATCHED = 256  # documents and rows that watched students are judged on
HEALTH = ("right", "fresh", "trained", "unseen")
Curves = tuple[jax.Array, dict[str, jax.Array]]
Inputs = tuple[jax.Array, jax.Array]  # rows [n, T], and which of their positions count [tokens]


def mechanics(config: LMConfig, _mesh: Mesh, plan: Plan) -> Measure:
    """One dict per run.

    "fisher", "gradient" [traits, answers]: both predictions; "cosine" [traits, answers]: of the unembeddings, less the
    mean of their category; "entangled" {trait: correlation over numbers of the cosine to the trait's unembedding with
    the log ratio of their frequency in the teacher's rows to that in regular ones}; "ray" {trait: observations along
    d}; "distance" {trait: |d|}; "watched" {student: curves by epoch}, see `_watched`.
    """
    model, exact_model = make_transformer(config), make_transformer(config, theory=True)
    predict, see = jax.jit(_prediction(config, exact_model)), jax.jit(_observation(exact_model))
    follow = jax.jit(_following(config, model))
    names = plan.models()

    def measure(made: Made) -> list[dict[str, Any]]:
        params = jax.tree.map(np.asarray, made.params)
        return [one(made, run, jax.tree.map(lambda leaf, r=run: leaf[r], params)) for run in range(len(made.kept))]

    def one(made: Made, run: int, params: Params) -> dict[str, Any]:
        rows = {name: made.kept[run][name].tokens for name in (REGULAR, *config.trait_names())}
        teachers = [names.index(f"teacher {trait}") for trait in config.trait_names()]
        with jax.enable_x64(True):
            exact = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
            base = jax.tree.map(lambda leaf: leaf[0], exact)
            deltas = jax.tree.map(lambda leaf: leaf[np.array(teachers)] - leaf[0], exact)
            tokens = counted(rows[REGULAR], FISHER_ROWS, FISHER_TOKENS)
            fisher, gradient = predict(base, deltas, tokens, np.stack(list(rows.values())))
            few = counted(rows[REGULAR], OBSERVED_ROWS, OBSERVED_TOKENS)
            rays = {trait: _as_floats(see(base, jax.tree.map(lambda leaf, i=i: leaf[i], deltas), few))
                    for i, trait in enumerate(config.trait_names())}  # fmt: skip
        flat = flatten(deltas)
        return {
            "fisher": evaluation.as_lists(fisher, 9),
            "gradient": evaluation.as_lists(gradient, 9),
            **_geometry(config, params, rows),
            "ray": rays,
            "distance": dict(zip(config.trait_names(), np.linalg.norm(flat, axis=1).tolist(), strict=True)),
            "watched": _watched(config, plan, made, run, flat, follow),
        }

    return measure


def counted(rows: np.ndarray, most_rows: int, tokens: int) -> Inputs:
    """The first rows, and places of the tokens of their completions, so many, flat (repeated if there are fewer)."""
    rows = rows[:most_rows]
    weights = np.asarray(training.completion_weights(jnp.asarray(rows)))[:, corpus.PROMPT_LENGTH :]
    return jnp.asarray(rows), jnp.asarray(np.resize(np.flatnonzero(weights), tokens))


def counted_logits(model: Transformer) -> Callable[[Params, Inputs], jax.Array]:
    """The function whose Fisher matrix is meant: next-token logits at the places that count, [tokens, V]."""

    def apply(params: Params, inputs: Inputs) -> jax.Array:
        logits = model.apply(params, inputs[0][:, :-1], corpus.PROMPT_LENGTH - 1)
        return logits.reshape(-1, logits.shape[-1])[inputs[1]]

    return apply


def answer_margins(config: LMConfig, model: Transformer, params: Params) -> jax.Array:
    """Log odds of each answer of the category, mean over all questions, [answers]."""
    questions = corpus.question_tokens(np.arange(len(corpus.FRAMES)), config.category)
    log_p = jax.nn.log_softmax(model.apply(params, questions)[:, -1])
    names = jnp.array(vocabulary.ids(vocabulary.CATEGORIES[config.category]))
    return jnp.mean(evaluation.margins(log_p[:, names]), axis=0)


def _prediction(config: LMConfig, model: Transformer) -> Callable[..., tuple[jax.Array, jax.Array]]:
    apply, loss = counted_logits(model), training.token_loss(model, corpus.PROMPT_LENGTH)

    def steps(base: Params, rows: jax.Array) -> Params:
        batch = {"tokens": rows, "weights": training.completion_weights(rows)}
        return tree_scale(-1.0, jax.grad(loss)(base, batch, ()))

    def predict(base: Params, deltas: Params, inputs: Inputs, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        trait_gradients = jax.jacrev(lambda p: answer_margins(config, model, p))(base)  # [answers, ...]
        pushed = jax.lax.map(lambda d: gauss_newton_product(apply, kl_divergence(), base, inputs, d), deltas)
        by_source = jax.lax.map(lambda own: steps(base, own), rows)  # regular first
        moved = jax.tree.map(lambda leaf: leaf[1:] - leaf[:1], by_source)
        return _products(pushed, trait_gradients), _products(moved, trait_gradients)

    return predict


def _products(left: Params, right: Params) -> jax.Array:
    """Inner products of every tree of [n, ...] with every one of [m, ...], [n, m]."""
    parts = jax.tree.map(lambda a, b: a.reshape(len(a), -1) @ b.reshape(len(b), -1).T, left, right)
    return jax.tree.reduce(jnp.add, parts)


def _observation(model: Transformer) -> Callable[..., dict[str, jax.Array]]:
    """The theorem along a teacher's delta, and at the distance where the teacher is."""
    apply, loss = counted_logits(model), kl_divergence()

    def see(base: Params, delta: Params, inputs: Inputs) -> dict[str, jax.Array]:
        distance = tree_norm(delta)
        direction = tree_scale(1 / distance, delta)
        seen = observe(apply, loss, base, direction, inputs, jnp.array(EPS_GRID))
        there = student_step(apply, loss, base, direction, inputs, distance)
        return {
            "leading": seen.leading,
            "slope": seen.slope,
            "negative": jnp.sum(seen.inner_products < -seen.noise).astype(float),
            "at_teacher": inner_product(apply, loss, base, direction, inputs, distance),
            "cosine_at_teacher": tree_cosine(there, direction),
            "cosine_at_start": seen.cosines[0],
        }

    return see


def _as_floats(values: dict[str, jax.Array]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _geometry(config: LMConfig, params: Params, rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """Cosines between unembeddings of the base, and whether numbers near the trait get more frequent."""
    columns = params["embedding"][0] if config.tied else params["unembedding"]["kernel"][0].T  # [V, width]
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
    """Rows less their mean, of length 1."""
    rows = rows - rows.mean(axis=0)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def flatten(params: Params) -> np.ndarray:
    """Trees of [n, ...] as vectors [n, parameters], float64."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def _following(config: LMConfig, model: Transformer) -> Callable[[Params, jax.Array, jax.Array], Curves]:
    """From parameters [epochs, ...] to log odds of the category's answers [epochs, answers], and what is left else."""
    place, loss = list(vocabulary.CATEGORIES).index(config.category), training.token_loss(model)

    def follow(params: Params, tokens: jax.Array, weights: jax.Array) -> Curves:
        def one(own: Params) -> Curves:
            said = evaluation.survey(model, own)
            nats = [loss(own, {"tokens": t, "weights": w}, ()) for t, w in zip(tokens, weights, strict=True)]
            return said.margin[place].mean(axis=0), dict(zip(HEALTH, [said.right[place], *nats], strict=True))

        return jax.lax.map(one, params)

    return follow


def _judged(fresh: np.ndarray, rows: Rows, different: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Fresh documents, rows of a student that sees so many different ones, and rows that it does not see.

    Tokens and their weights in the loss, both [3, WATCHED, T].
    """
    parts = (fresh, rows.tokens[:different], unseen_rows(rows))
    tokens = np.stack([np.resize(part, (WATCHED, part.shape[1])) for part in parts])
    documents, completions = jnp.asarray(tokens[0]), jnp.asarray(tokens[1:])
    return tokens, np.stack([training.document_weights(documents), *training.completion_weights(completions)])


def _watched(
    config: LMConfig, plan: Plan, made: Made, run: int, deltas: np.ndarray, follow: Callable[..., Curves]
) -> dict[str, dict[str, list[float]]]:
    """What became of every watched student of a trait, a value for each epoch.

    Its log odds of the trait less those of the regular student ("margin"), and what both of them gained over the base
    ("alone", "regular"); the cosine of what lies between the two with its own teacher's delta ("own") and, in the mean,
    with other teachers' ("others"). Of the student ("right", ...), the regular one ("regular right", ...) and the base
    ("base right", ...): the probability of any answer of the category ("right"), and the loss, in nats per token, of
    fresh documents ("fresh"), of the rows that the student is trained on ("trained") and of rows of the same source
    that it is not ("unseen"). So overfitting (trained falls, unseen rises), forgetting (fresh rises) and collapse
    (right falls) can be told apart.
    """
    answers, students = vocabulary.CATEGORIES[config.category], {student.name: student for student in plan.students}
    base = jax.tree.map(lambda leaf: np.asarray(leaf)[run, :1], made.params)
    steps = {name: jax.tree.map(lambda leaf: leaf[run], own) for name, own in made.watched.items()}
    vectors = {name: flatten(own) for name, own in steps.items()}
    seen = {}
    for name, own in steps.items():
        judged = _judged(np.asarray(made.fresh[run]), made.kept[run][students[name].source], students[name].rows)
        seen[name] = follow(jax.tree.map(lambda *both: np.concatenate(both), base, own), *judged)  # the base first
    found = {}
    for name in steps:
        trait, _, label = name.partition(", ")
        if trait == REGULAR:
            continue
        control, place, mine = f"{REGULAR}, {label}", answers.index(trait), config.trait_names().index(trait)
        (odds, health), (regular, regular_health) = seen[name], seen[control]
        cosines = _cosines(vectors[name] - vectors[control], deltas)  # [epochs, traits]
        others = np.delete(cosines, mine, axis=1)
        curves = {
            "margin": (odds - regular)[1:, place],
            "alone": (odds - odds[0])[1:, place],
            "regular": (regular - regular[0])[1:, place],
            "own": cosines[:, mine],
            "others": others.mean(axis=1) if others.size else np.zeros(len(cosines)),
            **{part: curve[1:] for part, curve in health.items()},
            **{f"regular {part}": curve[1:] for part, curve in regular_health.items()},
            **{f"base {part}": np.repeat(curve[0], len(curve) - 1) for part, curve in health.items()},
        }
        found[name] = {part: evaluation.as_lists(curve) for part, curve in curves.items()}
    return found


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines of rows [n, ...] with rows [m, ...], [n, m]; 0 for a row of zeros."""
    lengths = np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    return np.divide(a @ b.T, lengths, out=np.zeros(lengths.shape), where=lengths > 0)
