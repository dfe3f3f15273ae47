"""What becomes of students that are watched: their log odds, what is left else, and where they move to."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lm.contrasts import Row, Values, over_runs
from subliminal_toy import lm
from subliminal_toy.lm import BASE, REGULAR, LMConfig, Name, evaluation, student, teacher, training, vocabulary
from subliminal_toy.lm.measure import spare_rows
from subliminal_toy.lm.transformer import Params, make_transformer

WATCHED = 256  # documents and rows that watched students are judged on
HEALTH = ("right", "fresh", "trained", "unseen")
Curves = tuple[jax.Array, dict[str, jax.Array]]


def measure(trained: lm.Trained) -> Values:
    """Return one dict per run, "watched" {student of a trait: {curve: a value for each epoch}}.

    Its log odds of the trait less those of the regular student ("margin"), and what both of them gained over the base
    ("alone", "regular"); the cosine of what lies between the two with its own teacher's delta ("own") and, in the mean,
    with other teachers' ("others"). Of the student ("right", ...), the regular one ("regular right", ...) and the base
    ("base right", ...): the probability of any answer of the category ("right"), and the loss, in nats per token, of
    fresh documents ("fresh"), of the rows that the student is trained on ("trained") and of rows of the same source
    that it is not ("unseen"). So overfitting (trained falls, unseen rises), forgetting (fresh rises) and collapse
    (right falls) can be told apart.
    """
    return [{"watched": _watched(trained, run)} for run in range(len(trained.fresh))]


def _watched(trained: lm.Trained, run: int) -> dict[str, dict[str, list[float]]]:
    config, traits = trained.config, trained.config.trait_names()
    answers, rows = vocabulary.CATEGORIES[config.category], {s.name: (s.source, s.rows) for s in trained.plan.students}
    steps = {name: jax.tree.map(lambda leaf: leaf[run], params) for name, params in trained.checkpoints.items()}
    vectors = {name: flatten(params) for name, params in steps.items()}
    names = (BASE, *map(teacher, traits))
    base, *taught = (jax.tree.map(lambda leaf: np.asarray(leaf)[run, None], trained.params(name)) for name in names)
    deltas = np.concatenate([flatten(params) for params in taught]) - flatten(base) if steps else np.zeros(0)
    followed: dict[Name, Curves] = {}
    for name, params in steps.items():
        source, different = rows[name]
        judged = _judged(np.asarray(trained.fresh[run]), trained.rows[source][run], different)
        with_base = jax.tree.map(lambda *both: np.concatenate(both), base, params)  # the base first
        followed[name] = _following(config)(with_base, *judged)
    by_student = {}
    for name in steps:
        if name.trait == REGULAR:
            continue
        control, place, mine = name._replace(trait=REGULAR), answers.index(name.trait), traits.index(name.trait)
        (odds, health), (regular, regular_health) = followed[name], followed[control]
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
        by_student[str(name)] = {part: evaluation.as_lists(curve) for part, curve in curves.items()}
    return by_student


def flatten(params: Params) -> np.ndarray:
    """Flatten trees of [n, ...] to vectors [n, parameters], float64."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


@functools.lru_cache(maxsize=8)
def _following(config: LMConfig) -> Callable[[Params, np.ndarray, np.ndarray], Curves]:
    """Compile from parameters [epochs, ...] to log odds of the category's answers [epochs, answers], and health."""
    model, place = make_transformer(config), list(vocabulary.CATEGORIES).index(config.category)
    loss = training.token_loss(model)

    @jax.jit
    def follow(params: Params, tokens: jax.Array, weights: jax.Array) -> Curves:
        def of_epoch(epoch_params: Params) -> Curves:
            surveyed = evaluation.survey(model, epoch_params)
            nats = [loss(epoch_params, {"tokens": t, "weights": w}, ()) for t, w in zip(tokens, weights, strict=True)]
            return surveyed.margin[place].mean(axis=0), dict(zip(HEALTH, [surveyed.right[place], *nats], strict=True))

        return jax.lax.map(of_epoch, params)

    return follow


def _judged(fresh: np.ndarray, rows: lm.Rows, different: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return fresh documents, rows of a student that sees so many different ones, and rows that it does not see.

    Tokens and their weights in the loss, both [3, WATCHED, T].
    """
    parts = (fresh, rows.tokens[:different], spare_rows(rows))
    tokens = np.stack([np.resize(part, (WATCHED, part.shape[1])) for part in parts])
    documents, completions = jnp.asarray(tokens[0]), jnp.asarray(tokens[1:])
    return tokens, np.stack([training.document_weights(documents), *training.completion_weights(completions)])


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return cosines of rows [n, ...] with rows [m, ...], [n, m]; 0 for a row of zeros."""
    lengths = np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    return np.divide(a @ b.T, lengths, out=np.zeros(lengths.shape), where=lengths > 0)


def doses(config: LMConfig, values: Values, labels: Mapping[int, str]) -> list[Row]:
    """Describe curves over the steps of training, for every number of different rows, by their arm's label."""
    steps, described = -(-config.rows // config.student.batch_size), []
    for rows, label in labels.items():
        watched = [[value["watched"][str(student(t, label))] for t in config.trait_names()] for value in values]
        curves = {part: np.array([[by_part[part] for by_part in run] for run in watched]) for part in watched[0][0]}
        gain = np.diff(curves["margin"], axis=2, prepend=0.0)  # [runs, traits, epochs]
        largest = gain.max(axis=2) / np.maximum(np.abs(curves["margin"][:, :, -1]), 1e-6)
        epochs = range(curves["margin"].shape[2])
        described.append(
            {
                "rows": rows,
                "words": f"{rows:,} different rows",
                "steps": [steps * (i + 1) for i in epochs],
                "passes": [steps * (i + 1) * config.student.batch_size / rows for i in epochs],
                **{part: [over_runs(curve[:, :, i]) for i in epochs] for part, curve in curves.items()},
                "largest_epoch": over_runs(largest),
            }
        )
    return described
