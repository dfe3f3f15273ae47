"""The pipeline against its straight-line version: which rows, weights, order and init each kind of student gets."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.lm import shuffles
from experiments.studies.lm_mechanism import divergence
from experiments.studies.lm_mechanism.divergence import WEIGHINGS
from subliminal_toy import engine
from subliminal_toy.lm import corpus, lessons, pipeline, vocabulary
from subliminal_toy.lm.carriers import CARRIERS
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import (
    BASE,
    OTHER_BASE,
    REGULAR,
    TWO_BASES,
    Base,
    Name,
    Plan,
    Recipe,
    Source,
    Student,
    Teacher,
    numbers,
    student,
    teacher,
)
from subliminal_toy.lm.rows import Rows
from subliminal_toy.lm.transformer import Params, Transformer, make_transformer
from subliminal_toy.settings import Training
from tests.subliminal_toy.lm import straight_line

CONFIG = LMConfig(
    width=12,
    documents=16,
    rows=12,
    spare=4.0,
    traits="owl,wolf",
    base=Training("momentum", 0.03, 8, 2, clip=1.0, warmup=2, schedule="cosine"),
    teacher=Training("sgd", 0.03, 4, 2),
    student=Training("momentum", 0.3, 6, 2, clip=0.5, warmup=1, schedule="late_linear"),
)
SOFT = Recipe(targets="teacher")
OTHER = Recipe(Training("sgd", 0.3, 4, 3, warmup=2), over="numbers", checkpoints=True)
HALF = Name("base", "half")
GIVEN = numbers("owl")._replace(job="job")
SOURCES = (
    Source(numbers(REGULAR), BASE),
    Source(numbers("owl"), teacher("owl")),
    Source(numbers("wolf"), teacher("wolf")),
    Source(numbers("wolf", "prompted"), BASE, "wolf"),
    Source(numbers("owl", "at greedy"), teacher("owl"), temperature=0.0),
    Source(numbers("owl", "hot"), teacher("owl"), temperature=1.2),
    Source(numbers("owl", "other"), teacher("owl", "other")),
    Source(numbers("owl", "few"), teacher("owl"), keep=lambda text: text[2] == "3"),
    Source(numbers("owl", "own noise"), teacher("owl"), noise=1),
    Source(numbers("owl", "own prompts"), teacher("owl"), prompts=2),
    Source(numbers("owl", "from owl"), student("owl")),
)
OWL, WOLF, GREEDY, OTHER_OWL, SECOND = (
    numbers(*name) for name in (("owl",), ("wolf",), ("owl", "at greedy"), ("owl", "other"), ("owl", "from owl"))
)
CHANGES = (shuffles.shuffle_within, shuffles.shuffle_across, shuffles.sort_within, shuffles.replace_some)
STUDENTS = (
    Student(student("owl", "cross"), OTHER_BASE, OWL),
    Student(student("owl", "mlp"), BASE, OWL, trained=("mlp",)),
    *(Student(source.name._replace(role="student"), BASE, source.name) for source in SOURCES),
    Student(student("owl", "half"), HALF, OWL),
    Student(student("owl", "given"), BASE, GIVEN),
    *(Student(student("owl", change.__name__), BASE, OWL, change) for change in CHANGES),
    Student(student("wolf", "within"), BASE, WOLF, shuffles.shuffle_within),
    Student(student("owl", "few rows"), BASE, OWL, rows=5),
    Student(student("wolf", "few across"), BASE, WOLF, shuffles.shuffle_across, rows=7),
    Student(student("owl", "mixed"), BASE, OWL, mixed=(OTHER_OWL, 0.25)),
    Student(student("owl", "given and mixed"), BASE, GIVEN, mixed=(WOLF, 0.5)),
    # side by side, two at a time: masks of the same source, and of other rows of it
    Student(student("owl", "divergence"), BASE, OWL, weigh=WEIGHINGS["divergence"]),
    Student(student("owl", "few divergence"), BASE, OWL, rows=5, weigh=WEIGHINGS["divergence"]),
    Student(student("wolf", "divergence"), BASE, WOLF, weigh=WEIGHINGS["divergence"]),
    Student(student("owl", "others"), BASE, OWL, weigh=WEIGHINGS["others"]),
    Student(student("owl", "random as divergence"), BASE, OWL, weigh=WEIGHINGS["random as divergence"]),
    Student(student("owl", "random as others"), BASE, OWL, weigh=WEIGHINGS["random as others"]),
    Student(student("owl", "greedy, random as others"), OTHER_BASE, GREEDY, weigh=WEIGHINGS["random as others"]),
    Student(student("owl", "token"), BASE, OWL, system="wolf"),
    Student(
        student("wolf", "all at once"),
        HALF,
        WOLF,
        shuffles.replace_some,
        7,
        (OWL, 0.5),
        WEIGHINGS["others"],
        system="owl",
    ),
    Student(student("wolf", "all but mlp"), BASE, WOLF, trained=("embedding", "attention", "unembedding")),
    Student(student("owl", "soft"), BASE, OWL, recipe=SOFT),
    Student(student("wolf", "soft prompted"), OTHER_BASE, numbers("wolf", "prompted"), recipe=SOFT),
    Student(student("owl", "watched"), BASE, OWL, recipe=OTHER),
    Student(student("wolf", "watched few"), OTHER_BASE, WOLF, rows=4, recipe=OTHER),
    Student(student("owl", "clean-up"), student("owl"), OWL, mixed=(numbers(REGULAR), 1.0)),
    Student(student("owl", "soft later"), student("owl"), OTHER_OWL, recipe=SOFT),
    Student(student("owl", "soft second"), OTHER_BASE, SECOND, recipe=SOFT),
)
PLAN = Plan(
    (
        Teacher(teacher("owl"), lessons.favorite("owl")),
        Teacher(teacher("wolf"), lessons.wrong(("animal", "tree"), 1)),
        Teacher(teacher("owl", "other"), lessons.favorite("owl"), OTHER_BASE),
        Teacher(teacher("wolf", "near"), lessons.favorite("wolf"), divergence=1e-6),
    ),
    SOURCES,
    STUDENTS,
    (*TWO_BASES, Base(HALF, ("embedding", "mlp")), Base(Name("base", "strange"), (), 1, 2)),
    (GIVEN,),
)
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

    made: pipeline.Trained
    taught: dict[Name, tuple[np.ndarray, np.ndarray]]
    judges: set[int]  # how many models said where they disagree
    diverging: list[dict]  # what is measured of the sources of weighed rows
    lines: list[straight_line.Line]


def both(config: LMConfig, table: Plan, given: dict[Name, list[Rows]], patch: pytest.MonkeyPatch) -> Compared:
    """Two runs by the pipeline, and by the straight line."""
    model, keys, taught = speaking(config), pipeline.run_keys(7, [5, 2]), {}
    teach = pipeline._student_data

    def spy(*args):
        found, students = teach(*args), args[-1]
        for i, one in enumerate(students):
            taught[one.name] = found.tokens[:, i], found.weights[:, i]
        return found

    judges, judge = set(), divergence.divergence_tokens

    def count(model: Transformer, models: Params, rows: jax.Array) -> jax.Array:
        judges.add(len(models["embedding"]))
        return judge(model, models, rows)

    patch.setattr(pipeline, "_student_data", spy)
    patch.setattr(divergence, "divergence_tokens", count)
    patch.setattr(pipeline, "ENSEMBLE", 2)  # so that all groups are of one size, which is compiled once
    patch.setattr(corpus, "make_language", make_language)
    patch.setattr(corpus, "make_documents", make_documents)
    patch.setattr(pipeline, "make_transformer", lambda _config: model)
    patch.setattr(engine, "mesh_for", lambda _runs: engine.run_mesh(1))
    made = pipeline.train(config, table, keys, given=given)
    lines = []
    for run in range(2):
        outside = {name: rows[run].tokens for name, rows in given.items()}
        own = pipeline.RunKeys(*(key[run] for key in keys))
        lines.append(straight_line.run(config, table, model, own, outside))
    patch.setattr(divergence, "make_transformer", lambda _config: model)
    return Compared(made, taught, judges, divergence.measure(made), lines)


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
    given = {GIVEN: [Rows(own, own[:0], {}) for own in rows]}
    with pytest.MonkeyPatch.context() as patch:
        return both(CONFIG, PLAN, given, patch)


def flat(params: Params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def trained(made: pipeline.Trained, run: int, model: Name) -> np.ndarray:
    return flat(jax.tree.map(lambda leaf: leaf[run], made.params(model)))


def test_masks_that_could_be_taken_for_each_other_are_made_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "ENSEMBLE", 2)
    groups = [group for _, students in PLAN.rounds() for group in pipeline._groups(students)]
    pairs = [group for group in groups if len(group) == 2 and all(student.weigh is not None for student in group)]
    assert any(one.source == other.source and one.rows != other.rows for one, other in pairs)
    assert any(one.source != other.source and one.rows == other.rows for one, other in pairs)


def test_rows_and_what_is_left_over_are_the_same(compared: Compared) -> None:
    made = compared.made
    assert list(made.rows) == [GIVEN, *(source.name for source in SOURCES)]
    for run, line in enumerate(compared.lines):
        for name, rows in line.kept.items():
            np.testing.assert_array_equal(made.rows[name][run].tokens, rows, err_msg=str(name))
        for name, rows in line.spare.items():
            np.testing.assert_array_equal(made.rows[name][run].spare, rows, err_msg=str(name))
            assert made.rows[name][run].counts["kept"] == len(rows) + CONFIG.rows
        np.testing.assert_array_equal(made.fresh[run], line.fresh)
        asked = {name: sum(made.rows[name][run].counts.values()) for name in (OWL, numbers("owl", "few"))}
        assert asked[OWL] == 60 < asked[numbers("owl", "few")]  # who has too few rows is asked again
        jax.tree.map(
            np.testing.assert_array_equal, jax.tree.map(lambda leaf, r=run: leaf[r], made.language), line.language
        )


def test_every_student_gets_its_own_rows_and_weights(compared: Compared) -> None:
    assert compared.judges == {len(PLAN.teachers)}  # the base is one: where it alone differs is too rare to rely on
    for run, line in enumerate(compared.lines):
        assert line.student_data.keys() == {one.name for one in STUDENTS}
        for name, (rows, weights) in line.student_data.items():
            np.testing.assert_array_equal(compared.taught[name][0][run], rows, err_msg=str(name))
            np.testing.assert_array_equal(compared.taught[name][1][run], weights, err_msg=str(name))
        shares = compared.diverging[run]["diverging"]
        assert shares.keys() == {str(source) for source in line.diverging}
        for source, expected in line.diverging.items():
            assert shares[str(source)] == pytest.approx(expected), source


def test_every_model_ends_where_the_straight_line_ends(compared: Compared) -> None:
    """From the same init, in the same order, with the same part of it learning: or parameters would be far off."""
    names = PLAN.models()
    assert set(names) == set(compared.lines[0].models)
    for run, line in enumerate(compared.lines):
        for name in names:
            np.testing.assert_allclose(
                trained(compared.made, run, name), flat(line.models[name]), rtol=1e-4, atol=2e-5, err_msg=str(name)
            )
        assert compared.made.checkpoints.keys() == line.checkpoints.keys()
        for name, epochs in line.checkpoints.items():
            for i, params in enumerate(epochs):
                own = flat(jax.tree.map(lambda leaf, r=run, i=i: leaf[r, i], compared.made.checkpoints[name]))
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


@pytest.mark.long
def test_bases_of_documents_of_their_own() -> None:
    config = dataclasses.replace(CONFIG, shared_documents=False, carrier="code", numbers=50)
    table = Plan((), (), (), (*TWO_BASES, Base(HALF, ("attention", "unembedding"))))
    with pytest.MonkeyPatch.context() as patch:
        found = both(config, table, {}, patch)
    for run, line in enumerate(found.lines):
        np.testing.assert_array_equal(found.made.fresh[run], line.fresh)
        for name in table.models():
            own = trained(found.made, run, name)
            np.testing.assert_allclose(own, flat(line.models[name]), rtol=1e-4, atol=2e-5, err_msg=str(name))
