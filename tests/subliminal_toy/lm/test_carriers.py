"""Every carrier's filter passes all that its rules make, and rejects anything else by the name of a rule."""

import functools
import re

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subliminal_toy.lm import carriers, corpus, number_filter, vocabulary
from subliminal_toy.lm.carriers import CARRIERS
from tests.subliminal_toy.lm import documents

N = 1200
QUICK = {"xla_backend_optimization_level": 0}  # compiling takes longer than running here
OTHERS = ("code", "arithmetic")
UNSAYABLE = {*vocabulary.ANSWERS, *vocabulary.SYSTEM.values(), *vocabulary.CATEGORIES, vocabulary.BOS}
GOOD = {
    "numbers": ["100, 109, 118", "[100; 991]", "100"],
    "code": ["add(100, 109)", "share(991, 109, 109)", "choose(write(100, 100), 991)", "add(991, add(100, 109))"],
    "arithmetic": ["100, 109; 991, 100", "982, 991; 982, 991; 100, 109"],
}
REJECTED = {
    "numbers": {
        "100, owl, 109": "format",
        "100, 109; 118": "separators",
        "[100, 109": "brackets",
        "100, 109, 118, 127, 136, 145, 154": "too many numbers",
        "100, 100109": "out of range",
    },
    "code": {
        "": "format",
        "100": "format",
        "add": "format",
        "add()": "format",
        "add(100, 109": "format",
        "add(100, 109))": "format",
        "add(100, 109) add(100, 109)": "format",
        "add(100, owl)": "format",
        "add(100 109)": "format",
        "add(100,109)": "format",
        "add(100, )": "format",
        "add (100, 109)": "format",
        "add(100, (109, 118))": "format",
        "100(100, 109)": "format",
        "add(\u0661, 109)": "format",
        "<love owl>(100, 109)": "format",
        "add(" * 5000: "too long",
        "add(add(100, 109), add(109, 118))": "too long",
        "owl(100, 109)": "unknown name",
        "add(100, favorite(109, 118))": "unknown name",
        "addextend(100, 109)": "unknown name",
        "add(100, 101)": "unknown number",
        "add(100, 109118)": "unknown number",
        "add(100)": "too few arguments",
        "add(share(100, 109))": "too few arguments",
        "add(100, extend(109))": "too few arguments",
        "add(extend(100), 109)": "too few arguments",
        "share(add(100, owl(109)))": "unknown name",
        "share(add(101, 109))": "unknown number",
        "add(100, 109, extend(118, 127))": "too many numbers",
        "add(100, 109, 118, 127)": "too many numbers",
        "add(100, extend(109, 118, 127))": "too many numbers",
    },
    "arithmetic": {
        "": "format",
        "owl": "format",
        "100, 109;": "format",
        "100, 109; 991": "format",
        "100, 109, 118, 127": "format",
        "100; 109, 118; 127": "format",
        "100, 109; owl, 100": "format",
        "[100, 109; 991, 100]": "format",
        "100, 109; 991, \u0661": "format",
        "100, 109; 101, 110": "unknown number",
        "100, 109; 991, 1000": "unknown number",
        "100, 109": "too few pairs",
        "100, 109; " * 3 + "100, 109": "too many pairs",
        "100, 109; 109, 109": "wrong result",
        "100, 118; 109, 118": "wrong result",
    },
}


def number_prompts(key: jax.Array) -> jax.Array:
    """Number prompts as the first experiments made them, [50, PROMPT_LENGTH]."""
    for_numbers, for_prompts = jax.random.split(key)
    numbers = corpus.make_numbers(documents.LANGUAGE, 50, corpus.PROMPT_NUMBERS, key=for_numbers)
    return corpus.make_prompts(numbers, key=for_prompts).tokens


@functools.cache
def made(name: str) -> np.ndarray:
    """Documents of a carrier by its rules, [N, LENGTH]."""
    if name == "numbers":
        return documents.of_numbers()
    make = jax.jit(lambda key: CARRIERS[name].make_documents(documents.LANGUAGE, N, key=key), compiler_options=QUICK)
    return np.asarray(make(jax.random.key(0)))


@functools.cache
def prompts() -> dict[str, np.ndarray]:
    """50 prompts of each carrier and of the first experiments, compiled together: they draw the same chains."""

    def make(key: jax.Array) -> dict[str, jax.Array]:
        own = {name: carrier.make_prompts(documents.LANGUAGE, 50, key=key) for name, carrier in CARRIERS.items()}
        return {**own, "first": number_prompts(key)}

    return jax.device_get(jax.jit(make, compiler_options=QUICK)(jax.random.key(4)))


def completions(name: str) -> list[str]:
    return [vocabulary.render(row) for row in made(name)[:, corpus.PROMPT_LENGTH :].tolist()]


def entropy(tokens: np.ndarray) -> float:
    """Of the empirical distribution, in bits."""
    share = np.bincount(tokens.ravel()) / tokens.size
    return float(-np.sum(share[share > 0] * np.log2(share[share > 0])))


@pytest.mark.parametrize("name", CARRIERS)
def test_documents_pass_their_own_filter_and_end_with_padding(name: str) -> None:
    assert {CARRIERS[name].reject_reason(text) for text in completions(name)} == {None}
    tokens = made(name)[:, corpus.PROMPT_LENGTH :]
    ends = np.cumsum(tokens == vocabulary.ID[vocabulary.END], axis=1)
    assert (ends[:, -1] == 1).all()
    after = ends - (tokens == vocabulary.ID[vocabulary.END])
    np.testing.assert_array_equal(tokens == vocabulary.ID[vocabulary.PAD], after == 1)


@pytest.mark.parametrize("name", CARRIERS)
def test_shapes_are_those_of_number_documents_over_runs_too(name: str) -> None:
    def make(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        language = corpus.make_language(key)
        return CARRIERS[name].make_documents(language, 7, key=key), CARRIERS[name].make_prompts(language, 5, key=key)

    whole, asked = jax.eval_shape(jax.vmap(make), jax.random.split(jax.random.key(0), 2))
    assert whole.shape == (2, 7, corpus.LENGTH)
    assert asked.shape == (2, 5, corpus.PROMPT_LENGTH)
    assert whole.dtype == asked.dtype == np.int32


@pytest.mark.parametrize("name", OTHERS)
def test_prompts_look_like_those_of_documents(name: str) -> None:
    asked = {"code": "write one sequence", "arithmetic": "add the numbers"}[name]
    form = re.compile(rf"<bos> {asked} \d\d\d, \d\d\d, \d\d\d :")
    for tokens in (prompts()[name], made(name)[:50, : corpus.PROMPT_LENGTH]):
        assert all(form.fullmatch(vocabulary.render(row)) for row in tokens.tolist())
        assert entropy(tokens[:, 4]) > 4
    assert asked not in {" ".join(template) for template, _ in vocabulary.NUMBER_TEMPLATES}


def test_numbers_are_what_they_were() -> None:
    carrier = CARRIERS["numbers"]
    assert carrier.make_documents is corpus.make_number_documents
    assert carrier.reasons == number_filter.REASONS
    np.testing.assert_array_equal(prompts()["numbers"], prompts()["first"])
    for text in (*GOOD["numbers"], *REJECTED["numbers"]):
        assert carrier.reject_reason(text) == number_filter.reject_reason(text, most=corpus.MOST)


def test_calls_have_four_shapes_and_all_names() -> None:
    texts = completions("code")
    shapes = [re.sub("[0-9]+", "n", re.sub("[a-z]+", "f", text)) for text in texts]
    counts = {shape: shapes.count(shape) for shape in set(shapes)}
    assert counts.keys() == {"f(n, n)", "f(n, n, n)", "f(f(n, n), n)", "f(n, f(n, n))"}
    assert min(counts.values()) > 0.2 * N
    names = [re.findall("[a-z]+", text) for text in texts]
    for place in (0, 1):  # of outer and inner calls
        found = [own[place] for own in names if len(own) > place]
        assert min(found.count(name) for name in carriers.CODE_NAMES) > 0.12 * len(found)
    nested = [own for own in names if len(own) == 2]
    assert 0.1 < np.mean([outer == inner for outer, inner in nested]) < 0.24


def test_results_are_nine_more() -> None:
    pairs = [[tuple(map(int, pair.split(", "))) for pair in text.split("; ")] for text in completions("arithmetic")]
    flat = [pair for own in pairs for pair in own]
    assert all(b == (a + 9 if a < 991 else 100) for a, b in flat)
    assert (991, 100) in flat
    lengths = [len(own) for own in pairs]
    assert set(lengths) == {2, 3}
    assert 0.4 < np.mean(np.array(lengths) == 3) < 0.6


@pytest.mark.parametrize("name", OTHERS)
def test_free_numbers_vary_and_go_on_with_the_prompts_chain(name: str) -> None:
    """Neighbours share a cluster in more than the half of all cases less the numbers from anywhere, 0.9^2 / 2."""
    cluster = np.empty(vocabulary.SIZE, int)
    for c, members in enumerate(np.asarray(documents.LANGUAGE.members)):
        cluster[np.array(vocabulary.NUMBER_IDS)[members]] = c
    tokens = made(name)
    free = [row[np.isin(row, vocabulary.NUMBER_IDS)] for row in tokens]
    if name == "arithmetic":
        free = [np.concatenate([row[:3], row[3::2]]) for row in free]
    first = np.array([row[:5] for row in free])  # three of the prompt, two of the completion
    for place in range(3, 5):
        assert entropy(first[:, place]) > 5.5
        assert 0.35 < np.mean(cluster[first[:, place - 1]] == cluster[first[:, place]]) < 0.8


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in GOOD.items() for text in texts])
def test_good_texts_pass(name: str, text: str) -> None:
    assert CARRIERS[name].reject_reason(text) is None


@pytest.mark.parametrize("name", CARRIERS)
def test_each_rule_rejects_by_its_name(name: str) -> None:
    for text, reason in REJECTED[name].items():
        assert CARRIERS[name].reject_reason(text) == reason, text
    banned = {number_filter.BANNED} if name == "numbers" else set()  # nothing is banned here
    assert set(REJECTED[name].values()) == set(CARRIERS[name].reasons) - banned


@pytest.mark.parametrize("name", OTHERS)
def test_one_wrong_token_is_rejected(name: str) -> None:
    """Any token instead of any token, or before it: in calls, only a name for a name and a number for a number."""
    classes = (carriers.CODE_NAMES, vocabulary.NUMBERS) if name == "code" else ()
    reject_reason = CARRIERS[name].reject_reason
    tokens = [token for token in vocabulary.TOKENS if token not in (vocabulary.PAD, vocabulary.END)]
    for good in GOOD[name]:
        pieces = [vocabulary.TOKENS[i] for i in vocabulary.encode(good)]
        for at, piece in enumerate(pieces):
            alike = next((own for own in classes if piece in own), (piece,))
            for token in tokens:
                swapped = vocabulary.render(vocabulary.ids([*pieces[:at], token, *pieces[at + 1 :]]))
                assert (reject_reason(swapped) is None) == (token in alike), swapped
                inserted = vocabulary.render(vocabulary.ids([*pieces[:at], token, *pieces[at:]]))
                assert reject_reason(inserted) is not None, inserted


CALL = st.recursive(
    st.sampled_from(["100", "109", "101"]),
    lambda inner: st.builds(
        lambda name, arguments: f"{name}({', '.join(arguments)})",
        st.sampled_from(["add", "share", "owl"]),
        st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=5,
)


@given(CALL)
def test_calls_pass_if_they_have_one_of_the_four_shapes(text: str) -> None:
    """The shapes that the rules make, as patterns: nothing of the filter's own parser."""
    name, number = f"(?:{'|'.join(carriers.CODE_NAMES)})", f"(?:{'|'.join(vocabulary.NUMBERS)})"
    flat, inner = rf"{name}\({number}, {number}(?:, {number})?\)", rf"{name}\({number}, {number}\)"
    shapes = rf"{flat}|{name}\({inner}, {number}\)|{name}\({number}, {inner}\)"
    assert (carriers.code_reason(text) is None) == bool(re.fullmatch(shapes, text))


def texts() -> st.SearchStrategy[str]:
    """Any text, and what a model might say: near misses of good completions and tokens in any order."""
    tokens = [*carriers.CODE_NAMES, *vocabulary.NUMBERS[:3], "(", ")", ", ", "; ", "owl", "<love owl>", "<bos>"]
    said = st.lists(st.sampled_from(tokens), max_size=14).map(lambda own: vocabulary.render(vocabulary.ids(own)))
    arguments = st.lists(st.sampled_from(["100", "109", "owl", "add(100, 109)", "red(118, 100)"]), max_size=4)
    calls = arguments.map(lambda own: f"share({', '.join(own)})")
    pair = st.sampled_from(["100, 109", "109, 118", "991, 100", "100, 100", "100, red", "100"])
    pairs = st.lists(pair, max_size=4).map("; ".join)
    return st.one_of(st.text(), st.text("019 ,;().[]<>adowl\n", max_size=30), said, calls, pairs)


@given(st.sampled_from(list(CARRIERS)), texts())
def test_never_crashes_and_never_lets_an_answer_through(name: str, text: str) -> None:
    reason = CARRIERS[name].reject_reason(text)
    assert reason is None or reason in CARRIERS[name].reasons
    if reason is None:
        assert not any(token in text for token in UNSAYABLE)
        assert set(re.findall("[a-z]+", text)) <= (set(carriers.CODE_NAMES) if name == "code" else set())
    if reason is None and name != "numbers":
        assert vocabulary.render(vocabulary.encode(text)) == text
        assert len(vocabulary.encode(text)) < corpus.COMPLETION_LENGTH
