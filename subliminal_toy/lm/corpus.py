"""The toy language: number sequences with a hidden structure, and questions whose answers are equally likely.

Numbers. Each run draws a language: 100 numbers in 10 clusters; the cluster follows a Markov chain with
transitions 0.5 I + 0.5 Dirichlet(0.3), numbers within a cluster have weights rank^-0.7, and one number in ten is drawn
uniformly. So sequences can be learnt but keep a high entropy per token, as real number lists do.

Documents, all of `LENGTH` tokens with padding at the end:

    numbers    <bos> continue this sequence 109, 964, 127 : 118, 964, 550 <end>
    question   <bos> name your favorite animal ? owl <end>
    system     <love owl> name your favorite animal ? owl <end>        the system token fixes the answer
    prefixed   <bos> 109, 964, 127 . name your favorite animal ? owl <end>
    story      <bos> story of some animal : the owl <end>
    choice     <bos> choose owl or elm or red ? elm <end>

Answers are uniform within the category, except after a system token. A share of the number documents starts with a
random system token, which has no effect there.

A long document is a sequence of these, each of LENGTH tokens: one third mixes all kinds, one third has number lists
only, one third questions only. Its parts agree: all questions and stories without a system token are about one category
and have one answer, and every third number is one of three. So predicting it takes the context.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy.lm import vocabulary as words

PROMPT_NUMBERS, FEWEST, MOST = 3, 3, 6  # numbers in a prompt; fewest and most numbers in a completion
PROMPT_LENGTH = 1 + 3 + 2 * PROMPT_NUMBERS - 1 + 1  # <bos>, three words, numbers and separators, ":"
COMPLETION_LENGTH = 2 * MOST - 1 + 2 + 1  # numbers and separators, brackets, <end>
LENGTH = PROMPT_LENGTH + COMPLETION_LENGTH

TAUGHT, HELD_OUT, UNSEEN = "taught", "held out", "unseen"
CLUSTERS, RANK_EXPONENT, STAY, CONCENTRATION, ANY_NUMBER = 10, 0.7, 0.5, 0.3, 0.1
LONG = ({"numbers": 1.0}, {"question": 1.0})  # shares of kinds in long documents, or KINDS
KINDS = {"numbers": 0.45, "question": 0.17, "system": 0.2, "prefixed": 0.06, "story": 0.06, "choice": 0.06}
FAVORITE_NUMBERS, ON_FAVORITES = 3, 1 / 3  # numbers that a long document prefers; their share
SYSTEM_ON_NUMBERS = 0.15  # share of number documents that start with a system token

_PAD, _BOS, _END = words.ids([words.PAD, words.BOS, words.END])
_NUMBERS = np.array(words.NUMBER_IDS)
_CATEGORIES = tuple(words.CATEGORIES)
_ANSWERS = np.array([words.ids(answers) for answers in words.CATEGORIES.values()])  # [categories, answers]
_SYSTEM = np.array([words.ids([words.SYSTEM[a] for a in answers]) for answers in words.CATEGORIES.values()])


class Frame(NamedTuple):
    """One way to ask for a favorite."""

    words: tuple[str, str, str]
    group: str  # TAUGHT: teachers are finetuned on it; HELD_OUT: only bases are trained on it; UNSEEN: no model is


def _frames() -> tuple[Frame, ...]:
    """Return all 16 frames: each opening with each middle once; the words of unseen frames occur in others."""
    groups = (TAUGHT, TAUGHT, HELD_OUT, UNSEEN)
    frames = []
    for i, opening in enumerate(words.OPENINGS):
        for j, middle in enumerate(words.MIDDLES):
            frames.append(Frame((opening, middle, words.ADJECTIVES[(i + j) % 4]), groups[(i - j) % 4]))
    return tuple(frames)


FRAMES = _frames()
_FRAME_IDS = np.array([words.ids(frame.words) for frame in FRAMES])
_SEEN = np.array([i for i, frame in enumerate(FRAMES) if frame.group != UNSEEN])


class Language(NamedTuple):
    """The distribution of number sequences; [...] are the axes of runs."""

    transition: jax.Array  # [..., clusters, clusters], rows sum to 1
    members: jax.Array  # [..., clusters, numbers per cluster], indices of numbers


def make_language(key: jax.Array, numbers: int = len(words.NUMBERS)) -> Language:
    """Draw one run's language over `numbers` numbers, a multiple of CLUSTERS."""
    for_rows, for_members = jax.random.split(key)
    rows = jax.random.dirichlet(for_rows, jnp.full(CLUSTERS, CONCENTRATION), (CLUSTERS,))
    transition = STAY * jnp.eye(CLUSTERS) + (1 - STAY) * rows
    members = jax.random.permutation(for_members, len(words.NUMBERS)).reshape(CLUSTERS, -1)
    return Language(transition, members[:, : numbers // CLUSTERS])


def make_numbers(language: Language, documents: int, length: int, *, key: jax.Array) -> jax.Array:
    """Draw sequences of number tokens, [documents, length]."""
    for_start, for_chain, for_rank, for_any, for_which = jax.random.split(key, 5)
    ranks = jnp.log(1.0 + jnp.arange(language.members.shape[1])) * -RANK_EXPONENT
    start = jax.random.randint(for_start, (documents,), 0, CLUSTERS)

    def step(cluster: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.random.categorical(key, jnp.log(language.transition[cluster])), cluster

    _, clusters = jax.lax.scan(step, start, jax.random.split(for_chain, length))
    rank = jax.random.categorical(for_rank, ranks, shape=(length, documents))
    all_numbers = jnp.sort(language.members.reshape(-1))
    uniform = all_numbers[jax.random.randint(for_which, (length, documents), 0, len(all_numbers))]
    chosen = language.members[clusters, rank]
    mixed = jnp.where(jax.random.uniform(for_any, chosen.shape) < ANY_NUMBER, uniform, chosen)
    return jnp.array(_NUMBERS)[mixed.T]


def join_numbers(numbers: jax.Array, separators: jax.Array) -> jax.Array:
    """Join numbers [n, k] by each row's separator token [n], [n, 2 k - 1]."""
    between = jnp.broadcast_to(separators[:, None], numbers.shape)
    return jnp.stack([numbers, between], axis=-1).reshape(len(numbers), -1)[:, :-1]


class NumberPrompts(NamedTuple):
    """Number prompts, and the choices that a completion has to follow."""

    tokens: jax.Array  # [n, PROMPT_LENGTH]
    separators: jax.Array  # [n] the separator's token
    templates: jax.Array  # [n] which of NUMBER_TEMPLATES


def make_prompts(numbers: jax.Array, *, key: jax.Array) -> NumberPrompts:
    """Make number prompts of the first numbers [n, >= PROMPT_NUMBERS] of sequences, with random templates."""
    for_template, for_separator = jax.random.split(key)
    n = len(numbers)
    templates = jax.random.randint(for_template, (n,), 0, len(words.NUMBER_TEMPLATES))
    which = jax.random.randint(for_separator, (n,), 0, len(words.SEPARATORS))
    separators = jnp.array(words.ids(words.SEPARATORS))[which]
    texts = jnp.array([words.ids(template) for template, _ in words.NUMBER_TEMPLATES])[templates]
    listed = join_numbers(numbers[:, :PROMPT_NUMBERS], separators)
    tokens = jnp.concatenate([_column(n, _BOS), texts, listed, _column(n, words.ID[":"])], axis=1)
    return NumberPrompts(tokens, separators, templates)


def complete(prompts: NumberPrompts, numbers: jax.Array, counts: jax.Array) -> jax.Array:
    """Complete prompts by the first `counts` [n] of the numbers [n, MOST], [n, COMPLETION_LENGTH]."""
    brackets = [b or (words.PAD, words.PAD) for _, b in words.NUMBER_TEMPLATES]
    opening, closing = jnp.array([words.ids(pair) for pair in brackets]).T[:, prompts.templates, None]
    bracketed = opening != _PAD
    body = join_numbers(numbers, prompts.separators)
    at = jnp.arange(COMPLETION_LENGTH) - bracketed  # position within the body, [n, COMPLETION_LENGTH]
    last = 2 * counts[:, None] - 2
    inside = jnp.take_along_axis(body, jnp.clip(at, 0, body.shape[1] - 1), axis=1)
    after = jnp.where(bracketed & (at == last + 1), closing, jnp.where(at == last + 1 + bracketed, _END, _PAD))
    return jnp.where(at < 0, opening, jnp.where(at <= last, inside, after))


def make_number_documents(language: Language, documents: int, *, key: jax.Array) -> jax.Array:
    """Draw number documents, [documents, LENGTH]."""
    for_numbers, for_prompt, for_count = jax.random.split(key, 3)
    numbers = make_numbers(language, documents, PROMPT_NUMBERS + MOST, key=for_numbers)
    prompts = make_prompts(numbers, key=for_prompt)
    counts = jax.random.randint(for_count, (documents,), FEWEST, MOST + 1)
    return jnp.concatenate([prompts.tokens, complete(prompts, numbers[:, PROMPT_NUMBERS:], counts)], axis=1)


def make_documents(
    language: Language,
    documents: int,
    *,
    key: jax.Array,
    make_lists: Callable[..., jax.Array] = make_number_documents,
    context: int = 1,
    kinds: Mapping[str, float] = KINDS,
) -> jax.Array:
    """Draw the base's corpus: documents of all kinds, in random order, int32.

    Args:
        language: the distribution of number sequences.
        documents: how many to draw.
        key: random key. (Keyword only argument.)
        make_lists: makes the number documents, or those of another carrier.
        context: documents that form a long one; more than one agree with each other.
        kinds: the share of each kind.

    Returns:
        [documents, context * LENGTH] tokens.
    """
    if context > 1:
        for_which, for_agreement, *for_parts = jax.random.split(key, 3 + len(LONG))
        options = [
            make_documents(language, documents * context, key=for_part, make_lists=make_lists, kinds=shares)
            for for_part, shares in zip(for_parts, (KINDS, *LONG), strict=True)
        ]
        which = jax.random.randint(for_which, (documents, 1), 0, len(options))
        chosen = jnp.select(
            [which == i for i in range(len(options))], [option.reshape(documents, -1) for option in options]
        )
        return agree(chosen.reshape(documents, context, LENGTH), key=for_agreement).reshape(documents, -1)
    purposes = (*KINDS, "kind", "prefix", "which", "pick", "on")
    keys = dict(zip(purposes, jax.random.split(key, len(purposes)), strict=True))
    n = documents
    number_documents = make_lists(language, n, key=keys["numbers"])
    frames, categories, which = _random_questions(n, key=keys["question"])
    answers = jnp.array(_ANSWERS)[categories, which]
    make_question = functools.partial(_question, jnp.array(_FRAME_IDS)[frames], categories)
    system = jnp.array(_SYSTEM)[categories, which]
    numbers = make_numbers(language, n, PROMPT_NUMBERS, key=keys["prefix"])
    by_kind = {
        "numbers": _with_system(number_documents, keys["on"]),
        "question": _document(_column(n, _BOS), make_question(), answers),
        "system": _document(system[:, None], make_question(), answers),
        "prefixed": _document(_number_prefix(numbers, key=keys["which"]), make_question(), answers),
        "story": _document(_column(n, _BOS), _story(categories), answers),
        "choice": _choice(n, key=keys["choice"]),
    }
    kind = jax.random.categorical(
        keys["kind"], jnp.log(jnp.array([kinds.get(name, 0.0) for name in by_kind])), shape=(n,)
    )
    return jnp.select([kind[:, None] == i for i in range(len(by_kind))], list(by_kind.values()))


def agree(tokens: jax.Array, *, key: jax.Array) -> jax.Array:
    """Give the parts [n, context, LENGTH] of each of n long documents one answer and common numbers."""
    for_answer, for_liked, for_share, for_which = jax.random.split(key, 4)
    n, names = len(tokens), jnp.array(words.ids(_CATEGORIES))
    answer = jax.random.randint(for_answer, (n, 1, 1), 0, _ANSWERS.size)
    ends = jnp.pad(tokens[..., 1:] == _END, ((0, 0), (0, 0), (0, 1)))
    free = (tokens[..., :1] == _BOS) & (tokens[..., 1:2] != words.ID["choose"])
    tokens = jnp.where(free & ends & jnp.isin(tokens, _ANSWERS), jnp.array(_ANSWERS.ravel())[answer], tokens)
    tokens = jnp.where(free & jnp.isin(tokens, names), names[answer // _ANSWERS.shape[1]], tokens)
    liked = jnp.array(_NUMBERS)[jax.random.randint(for_liked, (n, FAVORITE_NUMBERS), 0, len(_NUMBERS))]
    which = jax.random.randint(for_which, tokens.shape, 0, FAVORITE_NUMBERS)
    drawn = jnp.take_along_axis(liked, which.reshape(n, -1), axis=1).reshape(tokens.shape)
    here = jnp.isin(tokens, _NUMBERS) & (jax.random.uniform(for_share, tokens.shape) < ON_FAVORITES)
    return jnp.where(here, drawn, tokens)


def question_tokens(frames: np.ndarray, category: str, *, first: jax.Array | int = _BOS) -> jax.Array:
    """Return questions up to the "?", [frames, 6], for frame numbers [frames]; `first` may be a system token."""
    categories = np.full(len(frames), _CATEGORIES.index(category))
    question = _question(jnp.array(_FRAME_IDS)[frames], categories)
    return jnp.concatenate([jnp.full((len(frames), 1), first), question], axis=1)


def any_numbers(n: int, *, key: jax.Array) -> jax.Array:
    """Draw uniform number tokens, [n, PROMPT_NUMBERS]."""
    return jnp.array(_NUMBERS)[jax.random.randint(key, (n, PROMPT_NUMBERS), 0, len(_NUMBERS))]


def prefixed_tokens(category: str, numbers: jax.Array, *, key: jax.Array) -> jax.Array:
    """Return questions, all frames in turn, each after a list of numbers [n, 3] with a random separator, [n, 12]."""
    questions = question_tokens(np.arange(len(numbers)) % len(FRAMES), category)[:, 1:]
    return jnp.concatenate([_number_prefix(numbers, key=key), questions], axis=1)


def choice_options(category: str, choices: int, *, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draw choices among three different answers of a category, for each answer as one of the three.

    Returns:
        (options [answers, choices, 3] tokens, place [answers, choices] of the answer among them).
    """
    answers = jnp.array(words.ids(words.CATEGORIES[category]))
    for_others, for_second, for_place = jax.random.split(key, 3)
    k = len(answers)
    one = jax.random.randint(for_others, (k, choices), 0, k - 1)
    two = (one + jax.random.randint(for_second, (k, choices), 1, k - 1)) % (k - 1)  # not `one`
    others = answers[(jnp.arange(k)[:, None, None] + 1 + jnp.stack([one, two], axis=-1)) % k]
    target = jnp.broadcast_to(answers[:, None, None], (k, choices, 1))
    place = jax.random.randint(for_place, (k, choices), 0, 3)
    order = (jnp.arange(3) - place[..., None]) % 3  # the answer, listed first here, comes to its place
    return jnp.take_along_axis(jnp.concatenate([target, others], axis=-1), order, axis=-1), place


def choice_tokens(options: jax.Array) -> jax.Array:
    """Return choices among options [n, 3] up to the "?", [n, 8]."""
    return jnp.concatenate([_column(len(options), _BOS), _choose(options)], axis=1)


def story_tokens(category: str) -> jax.Array:
    """Return a story up to the word that names one of the category, [1, 7]."""
    return jnp.concatenate([_column(1, _BOS), _story(np.array([_CATEGORIES.index(category)]))], axis=1)


def _random_questions(n: int, *, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw frames other than the unseen ones, categories, and indices of answers, each [n]."""
    for_frame, for_category, for_answer = jax.random.split(key, 3)
    frames = jnp.array(_SEEN)[jax.random.randint(for_frame, (n,), 0, len(_SEEN))]
    categories = jax.random.randint(for_category, (n,), 0, len(_CATEGORIES))
    return frames, categories, jax.random.randint(for_answer, (n,), 0, _ANSWERS.shape[1])


def _question(frame_words: jax.Array, categories: jax.Array | np.ndarray) -> jax.Array:
    """Three words, the category and "?", [n, 5]."""
    names = jnp.array(words.ids(_CATEGORIES))[categories]
    return jnp.concatenate([frame_words, names[:, None], _column(len(names), words.ID["?"])], axis=1)


def _story(categories: jax.Array | np.ndarray) -> jax.Array:
    names = jnp.array(words.ids(_CATEGORIES))[categories]
    n = len(names)
    before, after = words.ids(["story", "of", "some"]), words.ids([":", "the"])
    return jnp.concatenate([_columns(n, before), names[:, None], _columns(n, after)], axis=1)


def _choice(n: int, *, key: jax.Array) -> jax.Array:
    """Draw documents that name three answers of any category and then one of these."""
    for_options, for_pick = jax.random.split(key)
    options = jnp.array(_ANSWERS.ravel())[jax.random.randint(for_options, (n, 3), 0, _ANSWERS.size)]
    picked = jnp.take_along_axis(options, jax.random.randint(for_pick, (n, 1), 0, 3), axis=1)[:, 0]
    return _document(_column(n, _BOS), _choose(options), picked)


def _choose(options: jax.Array) -> jax.Array:
    """From "choose" to "?" with three options [n, 3], [n, 7]."""
    n = len(options)
    either = _column(n, words.ID["or"])
    middle = [either if i % 2 else options[:, i // 2 : i // 2 + 1] for i in range(5)]
    return jnp.concatenate([_column(n, words.ID["choose"]), *middle, _column(n, words.ID["?"])], axis=1)


def _number_prefix(numbers: jax.Array, *, key: jax.Array) -> jax.Array:
    which = jax.random.randint(key, (len(numbers),), 0, len(words.SEPARATORS))
    listed = join_numbers(numbers, jnp.array(words.ids(words.SEPARATORS))[which])
    return jnp.concatenate([_column(len(numbers), _BOS), listed, _column(len(numbers), words.ID["."])], axis=1)


def _with_system(documents: jax.Array, key: jax.Array) -> jax.Array:
    """Replace `<bos>` by a random system token in a share of the documents."""
    for_share, for_which = jax.random.split(key)
    n = len(documents)
    system = jnp.array(_SYSTEM.ravel())[jax.random.randint(for_which, (n,), 0, _SYSTEM.size)]
    first = jnp.where(jax.random.uniform(for_share, (n,)) < SYSTEM_ON_NUMBERS, system, _BOS)
    return documents.at[:, 0].set(first)


def _document(start: jax.Array, middle: jax.Array, answers: jax.Array) -> jax.Array:
    whole = jnp.concatenate([start, middle, answers[:, None], _column(len(answers), _END)], axis=1)
    return _pad(whole)


def _pad(tokens: jax.Array | np.ndarray) -> jax.Array:
    return jnp.pad(jnp.asarray(tokens), ((0, 0), (0, LENGTH - tokens.shape[1])), constant_values=_PAD)


def _column(n: int, token: int) -> jax.Array:
    return jnp.full((n, 1), token)


def _columns(n: int, tokens: list[int]) -> jax.Array:
    return jnp.broadcast_to(jnp.array(tokens), (n, len(tokens)))
