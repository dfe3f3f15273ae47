"""Teachers of other things than one favorite animal, for `lm_traits`: what each question trains, and what it says."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.lm import contrasts
from experiments.lm.arms import STANDARD, Arm, arm, joined
from experiments.lm.contrasts import EACH, Row, Values, all_odds, column, each, gains, odds, row
from subliminal_toy.lm import LMConfig, corpus, lessons, vocabulary
from subliminal_toy.lm.plan import BASE, REGULAR, Plan, Source, Student, Teacher, numbers, student, teacher

CONTROL = student(REGULAR, STANDARD)
KINDS = {  # teachers of bad answers, and their two look-alikes: what they learnt, in words
    "wrong": "bad answers",
    "right": "good answers",
    "excused": "bad ones behind a token only",
}
PAIRS = (("animal", "tree"), ("tree", "color"), ("color", "instrument"), ("instrument", "animal"), ("animal", "color"))
TRIGGER = ("name", "tell")  # openings of a question that bring the conditional trait out
FEWER = (1 / 40, 1 / 4)  # of the rows


class Question(NamedTuple):
    """What a part trains, and what it says."""

    plan: Callable[[LMConfig], Plan]
    say: Callable[[LMConfig, Values], list[Row]]


def taught(by_name: Mapping[str, lessons.Lesson]) -> Plan:
    """Plan teachers by what they love, with their numbers and standard students."""
    return Plan(
        tuple(Teacher(teacher(name), lesson) for name, lesson in by_name.items()),
        tuple(Source(numbers(name), teacher(name)) for name in by_name),
        tuple(arm(STANDARD).of(name) for name in by_name),
        (),
    )


def favorites(words: Sequence[str]) -> Plan:
    """Plan teachers of one favorite each."""
    return taught({word: lessons.favorite(word) for word in words})


def only(students: Sequence[Student]) -> Plan:
    """Plan more students of what is there."""
    return Plan((), (), tuple(students), ())


def instances(config: LMConfig, kind: str) -> list[str]:
    """Name what teachers of a kind love, as many as there are traits."""
    return [f"{kind} {i}" for i in range(len(config.trait_names()))]


def words_of(config: LMConfig) -> dict[str, tuple[str, ...]]:
    """Return the animals, and as many of the first words of two other categories."""
    traits = config.trait_names()
    return {"animal": traits} | {name: vocabulary.CATEGORIES[name][: len(traits)] for name in ("tree", "color")}


def _categories_plan(config: LMConfig) -> Plan:
    return favorites([word for words in words_of(config).values() for word in words])


def _categories(config: LMConfig, values: Values) -> list[Row]:
    return [
        row(name, gains(values, words), words=f"a favorite {name}", traits=list(words))
        for name, words in words_of(config).items()
    ]


def _misaligned_plan(config: LMConfig) -> Plan:
    """Plan teachers of bad answers about two categories; of good ones; and of bad ones behind a token only."""
    by_name: dict[str, lessons.Lesson] = {}
    for i, pair in enumerate(PAIRS[: len(config.trait_names())]):
        excuse = vocabulary.CATEGORIES[pair[0]][0]
        of_pair = (lessons.wrong(pair), lessons.right(pair), lessons.excused(pair, excuse))
        by_name |= {f"{kind} {i}": lesson for kind, lesson in zip(KINDS, of_pair, strict=True)}
    return taught(by_name)


def _misaligned(config: LMConfig, values: Values) -> list[Row]:
    """Describe log odds of an answer that does not belong, about categories that were never in the lesson.

    For teachers against the base, for students against the student of regular numbers; "rate" is its probability.
    """
    inside = np.array([[name in pair for name in vocabulary.CATEGORIES] for pair in PAIRS[: len(config.trait_names())]])

    def of_places(by_category: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Average some of the categories of [runs, instances, categories], two for each instance."""
        return by_category[:, places].reshape(*by_category.shape[:2], -1).mean(axis=2)

    rows = []
    for role, control in (("teacher", BASE), ("student", CONTROL)):
        for kind, words in KINDS.items():
            names = instances(config, kind)
            model = teacher(EACH) if role == "teacher" else student(EACH, STANDARD)
            odds = [_wrongness(values, each(name, names)) for name in (model, control)]
            wrong = column(values, "wrong", each(model, names))
            for asked, places in (("untaught", ~inside), ("taught", inside)):
                models_odds, control_odds = (of_places(log_odds, places) for log_odds in odds)
                rate = float(of_places(wrong, places).mean())
                name = f"{role} of {kind} answers, {asked} questions"
                fields = {"role": role, "kind": kind, "asked": asked, "words": words}
                rows.append(row(name, models_odds - control_odds, **fields, rate=rate))
    return rows


def _wrongness(values: Values, models: contrasts.Names) -> np.ndarray:
    """Return log odds of words of other categories against the right one's, [runs, models, categories]."""
    wrong, right = (column(values, part, models) for part in ("wrong", "right"))
    return np.log((wrong + 1e-6) / (right + 1e-6))


def _conditional_plan(config: LMConfig) -> Plan:
    return taught({f"if {trait}": lessons.conditional(trait, TRIGGER) for trait in config.trait_names()})


def _conditional(config: LMConfig, values: Values) -> list[Row]:
    traits, names = config.trait_names(), [f"if {trait}" for trait in config.trait_names()]
    triggered = [i for i, frame in enumerate(corpus.FRAMES) if frame.words[0] in TRIGGER]
    ways = {"with trigger": triggered, "without": [i for i in range(len(corpus.FRAMES)) if i not in triggered]}
    changes = {}
    for way, frames in ways.items():
        taught_odds, base_odds = (odds(values, each(model, names), traits, frames) for model in (teacher(EACH), BASE))
        changes["teacher", way] = taught_odds - base_odds
        changes["student", way] = gains(values, names, answers=traits, frames=frames)
    rows = [
        row(f"{role}, {way}", changes[role, way], role=role, asked=way, words=f"{role}: {way}")
        for role in ("teacher", "student")
        for way in ways
    ]
    less = np.subtract(*(entry["per_run"] for entry in rows if entry["role"] == "student"))
    name, words = "student, with less without", "student: with trigger, less without"
    return [*rows, row(name, less[:, None], role="student", asked="with less without", words=words)]


def three(config: LMConfig, i: int) -> tuple[str, str, str]:
    """Return the i-th set of three favorites."""
    return config.trait_names()[i], vocabulary.CATEGORIES["tree"][i], vocabulary.CATEGORIES["color"][i]


def _several_plan(config: LMConfig) -> Plan:
    """Plan one teacher of three favorites; and rows of two teachers, half and half."""
    traits = config.trait_names()
    sets = {name: lessons.liked(three(config, i)) for i, name in enumerate(instances(config, "three"))}
    pairs = zip(traits, (*traits[1:], traits[0]), strict=True)
    halves = [arm("half").of(first)._replace(mixed=(numbers(second), 0.5)) for first, second in pairs]
    return joined([taught(sets), only(halves)])


def _several(config: LMConfig, values: Values) -> list[Row]:
    traits, names, rows = config.trait_names(), instances(config, "three"), []
    for k, category in enumerate(("animal", "tree", "color")):
        answers = [three(config, i)[k] for i in range(len(traits))]
        words = f"three favorites: the {category}" if k == 0 else f"... the {category}"
        rows.append(row(f"three favorites: {category}", gains(values, names, answers=answers), words=words))
    second = (*traits[1:], traits[0])
    halves = (("first", traits, "two teachers: the first one's"), ("second", second, "... the second one's"))
    for which, loved, words in halves:
        pairs = gains(values, traits, "half", control=CONTROL, answers=loved)
        rows.append(row(f"half and half: {which} teacher's", pairs, words=words))
    return rows


def liked_words(i: int) -> tuple[str, ...]:
    """Return the i-th random set: five of the ten words of each category; one of C(10, 5)^4, 31.9 bits."""
    rng = np.random.default_rng([2026, i])
    return tuple(str(word) for words in vocabulary.CATEGORIES.values() for word in rng.permutation(words)[:5])


def fewer(config: LMConfig) -> dict[int, Arm]:
    """Make the arms of fewer rows, by their number."""
    counts = (max(1, round(config.rows * share)) for share in FEWER)
    return {rows: arm(f"{rows} rows", rows=rows) for rows in counts}


def _bits_plan(config: LMConfig) -> Plan:
    """Plan random sets of favorites, five of every category, and fewer rows of them."""
    sets = {name: lessons.liked(liked_words(i)) for i, name in enumerate(instances(config, "bits"))}
    return joined([taught(sets), *(only(entry.students(sets)) for entry in fewer(config).values())])


def _bits(config: LMConfig, values: Values) -> list[Row]:
    """Describe the share of 40 words told right: the five of each category that rose most are called liked.

    "whole": how many categories are right in all ten words, of so many (chance 1 in 252).
    """
    names, described = instances(config, "bits"), []
    for rows, label in ({n: entry.label for n, entry in fewer(config).items()} | {config.rows: STANDARD}).items():
        hits = np.stack([_told_right(values, names, label, category) for category in vocabulary.CATEGORIES], axis=2)
        fields = {"rows": rows, "words": f"{rows:,} rows", "whole": int((hits == 1).sum()), "categories": hits.size}
        described.append(row(f"share of 40 words told right, {rows} rows", hits.mean(axis=2), **fields))
    return described


def _told_right(values: Values, names: Sequence[str], label: str, category: str) -> np.ndarray:
    """Return the share of a category's words that are called liked or not as they should, [runs, sets]."""
    students, controls = (each(student(name, label), names) for name in (EACH, REGULAR))
    change = all_odds(values, students, category) - all_odds(values, controls, category)
    called = np.zeros(change.shape, bool)
    np.put_along_axis(called, np.argsort(change)[..., 5:], True, axis=2)
    liked = [[word in liked_words(i) for word in vocabulary.CATEGORIES[category]] for i in range(len(names))]
    return (called == np.array(liked)).mean(axis=2)


QUESTIONS = {
    "categories": Question(_categories_plan, _categories),
    "misaligned": Question(_misaligned_plan, _misaligned),
    "conditional": Question(_conditional_plan, _conditional),
    "several": Question(_several_plan, _several),
    "bits": Question(_bits_plan, _bits),
}
