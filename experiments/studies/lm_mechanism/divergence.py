"""Which tokens differ between teachers: divergence tokens (after Schrodi et al. 2025, arXiv 2509.23886).

A token of a completion is a divergence token if, given what stands before it, teachers of different traits and the base
(a teacher without a trait) do not all find the same next token likeliest. In greedy completions, where the row's own
teacher says what it finds likeliest, this is Schrodi et al.'s definition, with the base among the teachers: some other
one would have said something else. In sampled ones it is wider, as it holds whichever token was sampled. The more
teachers, the more such tokens. Students may be trained on these alone, on all but these, or on as many tokens drawn at
random, as many of each kind: numbers, separators, brackets, ends, and all others.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine, lm
from subliminal_toy.lm import corpus, training, vocabulary
from subliminal_toy.lm.pipeline import CACHED, stack
from subliminal_toy.lm.plan import Name, Plan, Weigh, Weighing
from subliminal_toy.lm.transformer import Params, Transformer, make_transformer

_KINDS = (vocabulary.NUMBERS, vocabulary.SEPARATORS, vocabulary.BRACKETS, (vocabulary.END,))
COUNTED = ("all", "divergence", "others", "random as divergence", "random as others")


def divergence_tokens(model: Transformer, teachers: Params, tokens: jax.Array) -> jax.Array:
    """Find where models [models, ...] disagree on the likeliest token of rows [n, T]: [n, T] bool, prompts False."""
    first = corpus.PROMPT_LENGTH

    def likeliest(params: Params) -> jax.Array:
        return jnp.argmax(model.apply(params, tokens[:, :-1], first=first - 1), axis=-1)

    chosen = jax.lax.map(likeliest, teachers)
    return jnp.pad(jnp.any(chosen != chosen[0], axis=0), ((0, 0), (first, 0)))


def token_kinds(tokens: np.ndarray) -> np.ndarray:
    """Return the kind of each token of any array: 1 number, 2 separator, 3 bracket, 4 end, 0 other."""
    kinds = np.zeros(vocabulary.SIZE, int)
    for i, words in enumerate(_KINDS, start=1):
        kinds[vocabulary.ids(words)] = i
    return kinds[tokens]


def counted_tokens(
    tokens: np.ndarray, diverging: np.ndarray, completion: np.ndarray, rng: np.random.Generator
) -> Mapping[str, np.ndarray]:
    """Return for each of COUNTED which tokens enter the loss, [n, T] bool.

    Args:
        tokens: the rows [n, T].
        diverging: from `divergence_tokens`.
        completion: where the rows have a token of the completion; only these ever enter.
        rng: draws the random ones, as many of each kind as those that they stand for; rows that agree have the same.
    """
    here, kinds = diverging & completion, token_kinds(tokens)
    drawn, order = np.zeros_like(completion), rng.random(tokens.shape)
    for kind in range(len(_KINDS) + 1):
        places = np.flatnonzero(completion & (kinds == kind))
        first = np.argsort(order.ravel()[places])[: np.sum(here & (kinds == kind))]
        drawn.ravel()[places[first]] = True
    masks = (completion, here, completion & ~here, drawn, completion & ~drawn)
    return dict(zip(COUNTED, masks, strict=True))


def only(counted: str, rows: Weighing) -> np.ndarray:
    """Return weights [runs, n, T] that are 1 for the tokens that one of COUNTED names, else 0."""
    if "masks" not in rows.memo:  # the same for all of COUNTED
        judges = stack([rows.models[name] for name in judge_names(rows.plan)])
        where = np.asarray(_make_judge(rows.model, rows.mesh)(judges, engine.shard_runs(rows.tokens, rows.mesh)))
        rngs = [
            np.random.default_rng([*np.asarray(jax.random.key_data(key)), 1]) for key in rows.keys
        ]  # as transforms'
        runs = zip(rows.tokens, where, rows.completion, rngs, strict=True)  # but for the 1
        rows.memo["masks"] = [counted_tokens(*run) for run in runs]
    return np.array([masks[counted] for masks in rows.memo["masks"]])


WEIGHINGS: dict[str, Weigh] = {name: functools.partial(only, name) for name in COUNTED if name != "all"}


def judge_names(plan: Plan) -> list[Name]:
    """Return the names of the models that decide: the first base, and all teachers trained to the end."""
    return [plan.bases[0].name, *(teacher.name for teacher in plan.teachers if teacher.divergence is None)]


def measure(trained: lm.Trained) -> list[dict]:
    """Return of each run "diverging" {source: shares}, for the sources of students whose tokens are weighed.

    "share" of the completions' tokens that are divergence tokens; "numbers": how many of these are numbers;
    "numbers_of_all": how many of all tokens are.
    """
    plan, mesh = trained.plan, trained.mesh
    judge = _make_judge(make_transformer(trained.config), mesh)
    judges = stack([trained.params(name) for name in judge_names(plan)])
    shares: list[dict[str, dict]] = [{} for _ in trained.keys.init]
    for source in dict.fromkeys(student.source for student in plan.students if student.weigh is not None):
        tokens = np.stack([rows.tokens for rows in trained.rows[source]])
        where = np.asarray(judge(judges, engine.shard_runs(tokens, mesh)))
        completion = np.asarray(training.completion_weights(jnp.asarray(tokens))) > 0
        for by_source, *run in zip(shares, tokens, where, completion, strict=True):
            by_source[str(source)] = _shares(*run)
    return [{"diverging": by_source} for by_source in shares]


def _shares(tokens: np.ndarray, diverging: np.ndarray, completion: np.ndarray) -> dict[str, float]:
    number, here = np.isin(tokens, vocabulary.NUMBER_IDS), diverging & completion
    return {
        "share": float(here.sum() / completion.sum()),
        "numbers": float(number[here].mean()) if here.any() else 0.0,
        "numbers_of_all": float(number[completion].mean()),
    }


@functools.lru_cache(maxsize=CACHED)
def _make_judge(model: Transformer, mesh: Mesh) -> Callable:
    """Compile where models [runs, models, ...] disagree on the next token of rows [runs, n, T]."""
    return engine.over_runs(functools.partial(divergence_tokens, model), mesh)
