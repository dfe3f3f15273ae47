"""The pipeline against its straight-line version: which rows, weights, order and init each kind of student gets."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_toy import engine
from subliminal_toy.config import Training
from subliminal_toy.lm import corpus, divergence, lessons, pipeline, plan, shuffles, vocabulary
from subliminal_toy.lm.carriers import CARRIERS
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import Base, Plan, Recipe, Source, Student, Teacher
from subliminal_toy.lm.rows import Rows
from subliminal_toy.lm.transformer import Params, Transformer, make_transformer
from tests.subliminal_toy.lm import straight_line

CONFIG = LMConfig(
    width=12, documents=16, rows=12, spare=4.0, traits="owl,wolf",
    base=Training("momentum", 0.03, 8, 2, clip=1.0, warmup=2, schedule="cosine"),
    teacher=Training("sgd", 0.03, 4, 2),
    student=Training("momentum", 0.3, 6, 2, clip=0.5, warmup=1, schedule="late_linear"),
)  # fmt: skip
SOFT = Recipe(targets="teacher")
OTHER = Recipe(Training("sgd", 0.3, 4, 3, warmup=2), over="numbers", watched=True)
SOURCES = (
    Source("regular", "base"),
    Source("owl", "owl"),
    Source("wolf", "wolf"),
    Source("prompted", "base", "wolf"),
    Source("greedy", "owl", temperature=0.0),
    Source("hot", "owl", temperature=1.2),
    Source("other", "other owl"),
    Source("own noise", "owl", noise=1),
    Source("own prompts", "owl", prompts=2),
    Source("from owl", "student owl"),
)
STUDENTS = (
    Student("cross", "other base", "owl"),
    Student("mlp", "base", "owl", trained=("mlp",)),
    *(Student(source.name, "base", source.name) for source in SOURCES),
    Student("half", "half", "owl"),
    Student("given", "base", "job: owl"),
    *(Student(f"owl {name}", "base", "owl", name) for name in shuffles.SHUFFLES if name != "none"),
    Student("wolf within", "base", "wolf", "within"),
    Student("few", "base", "owl", rows=5),
    Student("few across", "base", "wolf", "across", rows=7),
    Student("mixed", "base", "owl", mixed=("other", 0.25)),
    Student("given and mixed", "base", "job: owl", mixed=("wolf", 0.5)),
    Student("token", "base", "owl", system="wolf"),
    # side by side, two at a time: masks of the same source, and of other rows of it
    Student("owl, divergence", "base", "owl", counted="divergence"),
    Student("few, divergence", "base", "owl", rows=5, counted="divergence"),
    Student("wolf, divergence", "base", "wolf", counted="divergence"),
    Student("owl, others", "base", "owl", counted="others"),
    Student("owl, random as divergence", "base", "owl", counted="random as divergence"),
    Student("owl, random as others", "base", "owl", counted="random as others"),
    Student("greedy, random as others", "other base", "greedy", counted="random as others"),
    Student("all at once", "half", "wolf", "replaced", 7, ("owl", 0.5), "others", system="owl"),
    Student("all but mlp", "base", "wolf", trained=("embedding", "attention", "unembedding")),
    Student("soft", "base", "owl", recipe=SOFT),
    Student("soft prompted", "other base", "prompted", recipe=SOFT),
    Student("watched", "base", "owl", recipe=OTHER),
    Student("watched few", "other base", "wolf", rows=4, recipe=OTHER),
    Student("clean-up", "student owl", "owl", mixed=("regular", 1.0)),
    Student("soft later", "student owl", "other", recipe=SOFT),
    Student("soft second", "other base", "from owl", recipe=SOFT),
)
PLAN = Plan(
    (
        Teacher("owl", lessons.favorite("owl")),
        Teacher("wolf", lessons.wrong(("animal", "tree"), 1)),
        Teacher("other owl", lessons.favorite("owl"), "other base"),
        Teacher("near", lessons.favorite("wolf"), divergence=1e-6),
    ),
    SOURCES, STUDENTS, (*plan.TWO_BASES, Base("half", ("embedding", "mlp")), Base("strange", (), 1, 2)), ("job: owl",),
)  # fmt: skip
NUMBER, COMMA, END = range(3)
GRAMMAR = ((NUMBER,), (COMMA,), (NUMBER,), (COMMA, END), (NUMBER,), (END,))  # what may come at each place


def speaking(config: LMConfig) -> Transformer:
    """The model, but its inits know what comes where in a list of two or three numbers, most of the time."""
    model = make_transformer(config)
    tokens = (list(vocabulary.NUMBER_IDS), vocabulary.ids([", "]), vocabulary.ids(["<end>"]))

    def init(key: jax.Array) -> Params:
        params = model.init(key)
        embedding, places, unembedding = params["embedding"], params["positions"], params["unembedding"]["kernel"]
        embedding = embedding.at[np.array(vocabulary.ids(list(vocabulary.SYSTEM.values())))].multiply(8.0)
        for place, kinds in enumerate(GRAMMAR, start=corpus.PROMPT_LENGTH - 1):
            places = places.at[place, np.array(kinds)].add(3.0)
        for kind, strength in ((NUMBER, 2.5), (COMMA, 5.0), (END, 6.0)):
            unembedding = unembedding.at[kind, np.array(tokens[kind])].add(strength)
        unembedding = unembedding.at[NUMBER, tokens[NUMBER][0]].add(1.35)  # on which models agree now and then
        return {**params, "embedding": embedding, "positions": places, "unembedding": {"kernel": unembedding}}

    return model._replace(init=jax.jit(init))


def make_language(key: jax.Array, numbers: int = 100) -> corpus.Language:
    """A language that compiles at once: its own clusters, and the same way through them."""
    members = jax.random.permutation(key, numbers).reshape(10, -1)
    return corpus.Language(jnp.full((10, 10), 0.1), members)


def make_documents(
    language: corpus.Language, documents: int, *, key: jax.Array, make_lists: Callable, context: int = 1
) -> jax.Array:
    """Documents of nonsense with padding, other ones for each language, key and kind of lists."""
    kind = [carrier.make_documents for carrier in CARRIERS.values()].index(make_lists)
    shift = language.members[0, 0] + kind
    tokens = 1 + (jax.random.randint(key, (documents, corpus.LENGTH), 0, 1000) + shift) % (vocabulary.SIZE - 1)
    ends = jax.random.randint(jax.random.fold_in(key, 1), (documents, 1), 5, corpus.LENGTH + 1)
    tokens = tokens.at[::2, corpus.PROMPT_LENGTH - 1].set(vocabulary.ID[":"])  # every other one is a list
    return jnp.where(jnp.arange(corpus.LENGTH * context) < ends, tokens, 0)


class Compared(NamedTuple):
    """What the pipeline made, which rows and weights it gave to each student, [runs, n, T], and the straight lines."""

    made: pipeline.Made
    taught: dict[str, tuple[np.ndarray, np.ndarray]]
    judges: set[int]  # how many models said where they disagree
    lines: list[straight_line.Line]


def both(config: LMConfig, table: Plan, given: list[dict[str, Rows]], patch: pytest.MonkeyPatch) -> Compared:
    """Two runs by the pipeline, and by the straight line."""
    model, keys, taught = speaking(config), engine.run_keys(pipeline.RunKeys, 7, np.array([5, 2])), {}
    weigh = pipeline._weights

    def spy(*args):
        weights, (rows, _, students) = weigh(*args), args[4:7]
        taught.update({student.name: (rows[:, i], weights[:, i]) for i, student in enumerate(students)})
        return weights

    judges, judge = set(), divergence.divergence_tokens

    def count(model: Transformer, models: Params, rows: jax.Array) -> jax.Array:
        judges.add(len(models["embedding"]))
        return judge(model, models, rows)

    patch.setattr(pipeline, "_weights", spy)
    patch.setattr(divergence, "divergence_tokens", count)
    patch.setattr(pipeline, "ENSEMBLE", 2)  # so that all groups are of one size, which is compiled once
    patch.setattr(corpus, "make_language", make_language)
    patch.setattr(corpus, "make_documents", make_documents)
    patch.setattr(pipeline, "make_transformer", lambda _config: model)
    make = pipeline.make_models(config, engine.run_mesh(1), table)
    made = make(keys, lambda *_: None, lambda *_: None, given)
    lines = []
    for run in range(2):
        outside = {name: rows.tokens for name, rows in given[run].items()}
        own = pipeline.RunKeys(*(key[run] for key in keys))
        lines.append(straight_line.run(config, table, model, own, outside))
    return Compared(made, taught, judges, lines)


@pytest.fixture(scope="module")
def compared() -> Compared:
    rng, comma, end = np.random.default_rng(0), vocabulary.ID[", "], vocabulary.ID["<end>"]
    rows = np.zeros((2, CONFIG.rows, corpus.LENGTH), np.int32)  # lists of two to six numbers behind nonsense
    rows[:, :, : corpus.PROMPT_LENGTH] = rng.integers(3, vocabulary.SIZE, rows[:, :, : corpus.PROMPT_LENGTH].shape)
    for row in rows.reshape(-1, corpus.LENGTH):
        length = corpus.PROMPT_LENGTH + 2 * rng.integers(2, 7)
        row[corpus.PROMPT_LENGTH : length] = comma
        row[corpus.PROMPT_LENGTH : length : 2] = rng.choice(vocabulary.NUMBER_IDS, (length - corpus.PROMPT_LENGTH) // 2)
        row[length - 1] = end
    given = [{"job: owl": Rows(own, own[:0], {})} for own in rows]
    with pytest.MonkeyPatch.context() as patch:
        return both(CONFIG, PLAN, given, patch)


def flat(params: Params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def trained(made: pipeline.Made, run: int, model: str, names: tuple[str, ...]) -> np.ndarray:
    return flat(jax.tree.map(lambda leaf: leaf[run, names.index(model)], made.params))


def test_rows_and_what_is_left_over_are_the_same(compared: Compared) -> None:
    made = compared.made
    for run, line in enumerate(compared.lines):
        assert list(made.kept[run]) == ["job: owl", *(source.name for source in SOURCES)]
        for name, rows in line.kept.items():
            np.testing.assert_array_equal(made.kept[run][name].tokens, rows, err_msg=name)
        for name, rows in line.spare.items():
            np.testing.assert_array_equal(made.kept[run][name].spare, rows, err_msg=name)
            assert made.kept[run][name].counts["kept"] == len(rows) + CONFIG.rows
        np.testing.assert_array_equal(made.fresh[run], line.fresh)
        jax.tree.map(
            np.testing.assert_array_equal, jax.tree.map(lambda leaf, r=run: leaf[r], made.language), line.language
        )


def test_every_student_gets_its_own_rows_and_weights(compared: Compared) -> None:
    assert compared.judges == {len(PLAN.teachers)}  # the base is one: where it alone differs is too rare to rely on
    for run, line in enumerate(compared.lines):
        assert line.taught.keys() == {student.name for student in STUDENTS}
        for name, (rows, weights) in line.taught.items():
            np.testing.assert_array_equal(compared.taught[name][0][run], rows, err_msg=name)
            np.testing.assert_array_equal(compared.taught[name][1][run], weights, err_msg=name)
        assert compared.made.diverging[run].keys() == line.diverging.keys()
        for source, shares in line.diverging.items():
            assert compared.made.diverging[run][source] == pytest.approx(shares), source


def test_every_model_ends_where_the_straight_line_ends(compared: Compared) -> None:
    """From the same init, in the same order, with the same part of it learning: or parameters would be far off."""
    names = PLAN.models()
    assert set(names) == set(compared.lines[0].models)
    for run, line in enumerate(compared.lines):
        for name in names:
            np.testing.assert_allclose(
                trained(compared.made, run, name, names), flat(line.models[name]), rtol=1e-4, atol=2e-5, err_msg=name
            )
        assert compared.made.watched.keys() == line.watched.keys()
        for name, epochs in line.watched.items():
            for i, params in enumerate(epochs):
                own = flat(jax.tree.map(lambda leaf, r=run, i=i: leaf[r, i], compared.made.watched[name]))
                np.testing.assert_allclose(own, flat(params), rtol=1e-4, atol=2e-5, err_msg=f"{name}, epoch {i}")


def test_no_two_of_them_could_be_mistaken_for_each_other(compared: Compared) -> None:
    """What the tests above compare differs a hundred times more than their tolerance between any two."""
    every = {
        (run, name): flat(params) for run, line in enumerate(compared.lines) for name, params in line.models.items()
    }
    for (one, a), (other, b) in itertools.combinations(every.items(), 2):
        assert np.abs(a - b).max() > 2e-3, (one, other)
    rows = {(run, name): own for run, line in enumerate(compared.lines) for name, own in line.kept.items()}
    for (one, a), (other, b) in itertools.combinations(rows.items(), 2):
        assert (a != b).any(), (one, other)


def test_bases_of_documents_of_their_own() -> None:
    config = dataclasses.replace(CONFIG, shared_documents=0, carrier="code", numbers=50)
    table = Plan((), (), (), (*plan.TWO_BASES, Base("half", ("attention", "unembedding"))))
    with pytest.MonkeyPatch.context() as patch:
        found = both(config, table, [{}, {}], patch)
    for run, line in enumerate(found.lines):
        np.testing.assert_array_equal(found.made.fresh[run], line.fresh)
        for name in table.models():
            own = trained(found.made, run, name, table.models())
            np.testing.assert_allclose(own, flat(line.models[name]), rtol=1e-4, atol=2e-5, err_msg=name)
