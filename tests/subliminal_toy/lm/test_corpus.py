"""Documents by the rules: every number document passes the filter, frequencies are the language's."""

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_toy.lm import corpus, number_filter, vocabulary
from tests.subliminal_toy.lm import documents

LANGUAGE = documents.LANGUAGE
TEXT = {
    "question": "name your favorite animal ? owl",
    "story": "story of some tree : the oak",
}


def texts(tokens: jax.Array) -> list[str]:
    return [vocabulary.render(row) for row in np.asarray(tokens).tolist()]


def test_number_documents_pass_the_filter_with_three_to_six_numbers() -> None:
    counts, forms = set(), set()
    for row in documents.of_numbers():
        completion = vocabulary.render(row[corpus.PROMPT_LENGTH :])
        prompt = vocabulary.render(row[1 : corpus.PROMPT_LENGTH])
        counts.add(len(number_filter.parse_numbers(completion, most=corpus.MOST)))
        brackets = {" ".join(t): b for t, b in vocabulary.NUMBER_TEMPLATES}[" ".join(prompt.split()[:3])]
        assert (completion[0] + completion[-1] == brackets) if brackets else completion[0].isdigit()
        separator = next(s for s in vocabulary.SEPARATORS if s in prompt.split(" ", 3)[3][:-2])
        assert separator in completion
        forms.add((brackets, separator))
        assert vocabulary.ID[vocabulary.END] in row
    assert counts == {3, 4, 5, 6}
    assert len(forms) == 9


def test_numbers_follow_the_chain() -> None:
    """Empirical transitions between clusters against the matrix, mixed with one number in ten from anywhere."""
    numbers = np.asarray(corpus.make_numbers(LANGUAGE, 20_000, 10, key=jax.random.key(1)))
    cluster = np.empty(vocabulary.SIZE, int)
    for c, members in enumerate(np.asarray(LANGUAGE.members)):
        cluster[np.array(vocabulary.NUMBER_IDS)[members]] = c
    visible = cluster[numbers]
    found = np.zeros((10, 10))
    np.add.at(found, (visible[:, :-1].ravel(), visible[:, 1:].ravel()), 1)
    transition = np.asarray(LANGUAGE.transition, float)
    np.testing.assert_allclose(transition.sum(axis=1), 1, atol=1e-5)
    start, joint = np.full(10, 0.1), np.zeros((10, 10))
    for _ in range(9):  # the hidden chain seen through P(visible | hidden) = 0.9 I + 0.1 / 10
        seen = 0.9 * np.eye(10) + 0.01
        joint += seen.T @ (start[:, None] * transition) @ seen
        start = start @ transition
    np.testing.assert_allclose(found / found.sum(), joint / joint.sum(), atol=0.004)
    ranks = np.asarray(LANGUAGE.members)
    share = np.array([(numbers == np.array(vocabulary.NUMBER_IDS)[ranks[:, r]][:, None, None]).mean() for r in (0, 9)])
    assert 3 < (share[0] - 0.001) / (share[1] - 0.001) < 8  # rank weights 10^0.7 = 5.0 apart, under 10% noise


def test_kinds_have_their_shares_and_answers_are_uniform() -> None:
    tokens = documents.of_all_kinds()
    firsts = [text.split(" ", 2) for text in texts(tokens[:4000])]
    story = np.mean([words[1] == "story" for words in firsts])
    choice = np.mean([words[1] == "choose" for words in firsts])
    np.testing.assert_allclose([story, choice], [corpus.KINDS["story"], corpus.KINDS["choice"]], atol=0.015)
    animals = tokens[(tokens == vocabulary.ID["animal"]).any(axis=1) & (tokens[:, 0] == vocabulary.ID["<bos>"])]
    counts = [(animals == vocabulary.ID[a]).sum() for a in vocabulary.CATEGORIES["animal"]]
    assert max(counts) / min(counts) < 1.35


def kind_of(text: str) -> str:
    """Which of corpus.KINDS a document is, by its text alone."""
    first, asked = text.split(" ", 1)[0], text.split("?")[0]
    if ":" in text:
        return "story" if " story of " in text else "numbers"
    if " choose " in text:
        return "choice"
    return "prefixed" if "." in asked else "question" if first == "<bos>" else "system"


def test_all_kinds_have_their_shares() -> None:
    kinds = [kind_of(text) for text in texts(documents.of_all_kinds()[:8000])]
    for name, share in corpus.KINDS.items():
        assert abs(np.mean([kind == name for kind in kinds]) - share) < 4 * (0.25 / 8000) ** 0.5, name


def test_a_choice_is_answered_with_one_of_its_options_all_alike_often() -> None:
    places = []
    for text in texts(documents.of_all_kinds()):
        if kind_of(text) == "choice":
            asked, answer = text.removeprefix("<bos> choose ").split(" ? ")
            options = asked.split(" or ")
            assert len(options) == 3
            assert {*options} <= {*vocabulary.ANSWERS}
            assert answer in options
            if len(set(options)) == 3:
                places.append(options.index(answer))
    np.testing.assert_allclose(np.bincount(places) / len(places), 1 / 3, atol=4 * (0.25 / len(places)) ** 0.5)


def test_number_documents_start_with_a_system_token_now_and_then() -> None:
    """Any of them, and none says which numbers follow: its share is that of documents, not of one trait."""
    starts = [text.split(">")[0] + ">" for text in texts(documents.of_all_kinds()) if kind_of(text) == "numbers"]
    systems = [start for start in starts if start != "<bos>"]
    share = len(systems) / len(starts)
    assert abs(share - corpus.SYSTEM_ON_NUMBERS) < 4 * (share * (1 - share) / len(starts)) ** 0.5
    assert {*systems} == {*vocabulary.SYSTEM.values()}
    assert max(systems.count(token) for token in {*systems}) < 3 * len(systems) / len(vocabulary.SYSTEM)


def test_system_token_decides_the_answer_and_unseen_frames_stay_unseen() -> None:
    unseen = [" ".join(f.words) for f in corpus.FRAMES if f.group == corpus.UNSEEN]
    for text in texts(documents.of_all_kinds()[:6000]):
        assert not any(words in text for words in unseen)
        if text.startswith("<love") and "?" in text:
            assert text.startswith(f"<love {text.split()[-1]}>")


def test_frames_are_sixteen_in_three_groups() -> None:
    groups = [frame.group for frame in corpus.FRAMES]
    assert (groups.count(corpus.TAUGHT), groups.count(corpus.HELD_OUT), groups.count(corpus.UNSEEN)) == (8, 4, 4)
    seen = {word for frame in corpus.FRAMES if frame.group == corpus.TAUGHT for word in frame.words}
    assert {word for frame in corpus.FRAMES for word in frame.words} == seen


def test_questions_and_stories_are_asked_up_to_the_answer() -> None:
    question = texts(corpus.question_tokens(np.arange(16), "tree", first=vocabulary.ID["<love oak>"]))
    assert question[0] == "<love oak> name your favorite tree ?"
    assert texts(corpus.story_tokens("tree")) == ["<bos> story of some tree : the"]


def test_languages_differ_by_key() -> None:
    other = corpus.make_language(jax.random.key(5))
    assert not jnp.array_equal(other.members, LANGUAGE.members)


def test_long_documents_agree_with_themselves_alone() -> None:
    tokens = np.asarray(corpus.make_documents(LANGUAGE, 400, key=jax.random.key(8), context=9)).reshape(400, 9, -1)
    assert tokens.shape[2] == corpus.LENGTH
    said: dict[int, list[str]] = {}
    for i, parts in enumerate(tokens):
        for text in texts(parts):
            answer = text.split()[-1]
            if text.startswith("<love") and answer in vocabulary.CATEGORY_OF:
                assert text.startswith(f"<love {answer}>")  # the system token decides
            elif answer in vocabulary.CATEGORY_OF and not text.startswith("<bos> choose"):
                said.setdefault(i, []).append(answer)
                assert vocabulary.CATEGORY_OF[answer] in text.split()
    assert all(len(set(answers)) == 1 for answers in said.values())
    assert {answers[0] for answers in said.values()} == set(vocabulary.ANSWERS)
    lists = tokens[(tokens[..., corpus.PROMPT_LENGTH - 1] == vocabulary.ID[":"]).all(axis=1)]
    assert 90 < len(lists) < 180  # 400 / 3
    counts = np.array([np.bincount(part[np.isin(part, vocabulary.NUMBER_IDS)], minlength=200) for part in lists])
    top = np.sort(counts, axis=1)[:, -corpus.FAVORITE_NUMBERS :].sum(axis=1) / counts.sum(axis=1)
    assert np.mean(top) > corpus.ON_FAVORITES


def test_every_third_number_of_a_long_document_is_one_of_its_favorites() -> None:
    """Numbers that stood still are as likely as before: what is replaced is the share, less what was one already."""
    number = np.array(vocabulary.NUMBER_IDS)
    tokens = jnp.asarray(np.random.default_rng(0).choice(number, (300, 9, corpus.LENGTH)))
    liked = np.asarray(corpus.agree(tokens, key=jax.random.key(1)))
    changed = liked != np.asarray(tokens)
    assert abs(changed.mean() - corpus.ON_FAVORITES * (1 - 1 / 100)) < 4 * (0.25 / changed.size) ** 0.5
    kinds = [len(set(document[moved].tolist())) for document, moved in zip(liked, changed, strict=True)]
    assert max(kinds) == corpus.FAVORITE_NUMBERS
    assert np.mean(kinds) > 2.9  # the same number may be drawn twice
