"""What the runs of lm_traits say, part by part: rows of {"name", mean, interval, per_run, ...} for table and figure."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments import lm_numbers
from experiments.lm import arms as lm_arms
from experiments.lm.arms import STANDARD, Values, changes, margin, over_runs
from subliminal_toy.lm import corpus, vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.plan import REGULAR

CONTROL = f"student {REGULAR}, {STANDARD}"
KINDS = ("wrong", "right", "excused")  # teachers of bad answers, and their two look-alikes
PAIRS = (("animal", "tree"), ("tree", "color"), ("color", "instrument"), ("instrument", "animal"), ("animal", "color"))
TRIGGER = ("name", "tell")  # openings of a question that bring the conditional trait out
GENERATIONS = ("second", "third")
CLEAN = (0.1, 0.25, 0.5, 0.75)
CARRIED = ("code", "arithmetic")
FEWER = (1 / 40, 1 / 4)
DEFENCES = ("sorted", "replaced", "other base", "clean-up")
_CATEGORIES = tuple(vocabulary.CATEGORIES)


def others(config: LMConfig, category: str) -> tuple[str, ...]:
    """As many words of another category as there are traits, its first ones."""
    return vocabulary.CATEGORIES[category][: len(config.trait_names())]


def three(config: LMConfig, i: int) -> tuple[str, str, str]:
    """The i-th set of three favorites."""
    return config.trait_names()[i], vocabulary.CATEGORIES["tree"][i], vocabulary.CATEGORIES["color"][i]


def excuse(pair: Sequence[str]) -> str:
    """The trait whose system token excuses bad answers about a pair of categories."""
    return vocabulary.CATEGORIES[pair[0]][0]


def liked_words(i: int) -> tuple[str, ...]:
    """The i-th random set: five of the ten words of each category; C(10, 5)^4 sets there are, 31.9 bits."""
    rng = np.random.default_rng([2026, i])
    return tuple(str(word) for words in vocabulary.CATEGORIES.values() for word in rng.permutation(words)[:5])


def fewer_rows(config: LMConfig) -> tuple[int, ...]:
    """Numbers of rows of students that get fewer."""
    return tuple(max(1, round(config.rows * share)) for share in FEWER)


def summarize(config: Any, values: Values) -> dict[str, Any]:
    """Every part that was asked for, and the share of completions that pass the filter."""
    found: dict[str, Any] = {
        "standard": [_row(STANDARD, changes(values, config.trait_names()))],
        "filter": [lm_numbers.filter_row(values, source) for source in values[0]["filter"]],
    }
    for name in config.part_names():
        found[name] = PARTS[name](config, values)
    return found


def _row(name: str, pairs: Sequence[Sequence[float]] | np.ndarray, **more: Any) -> dict[str, Any]:
    return {"name": name, **over_runs(pairs), **more}


def _categories(config: LMConfig, values: Values) -> list[dict[str, Any]]:
    groups = {"animal": config.trait_names(), "tree": others(config, "tree"), "color": others(config, "color")}
    return [_row(name, changes(values, traits), traits=list(traits)) for name, traits in groups.items()]


def _misaligned(config: LMConfig, values: Values) -> list[dict[str, Any]]:
    """Log odds of an answer that does not belong to the question, about categories that were never in the lesson.

    For teachers against the base, for students against the student of regular numbers; "rate" is its probability.
    """
    rows = []
    for role, control in (("teacher", "base"), ("student", CONTROL)):
        for kind in KINDS:
            for asked, inside in (("untaught", False), ("taught", True)):
                pairs, rates = [], []
                for value in values:
                    by_instance = []
                    for i in range(len(config.trait_names())):
                        model = f"{role} {kind} {i}" + (f", {STANDARD}" if role == "student" else "")
                        places = [k for k, name in enumerate(_CATEGORIES) if (name in PAIRS[i]) == inside]
                        by_instance.append(_wrongness(value, model, places) - _wrongness(value, control, places))
                        rates.append(float(np.mean([value["wrong"][model][k] for k in places])))
                    pairs.append(by_instance)
                rows.append(_row(f"{role} of {kind} answers, {asked} questions", pairs, role=role, kind=kind,
                                 asked=asked, rate=float(np.mean(rates))))  # fmt: skip
    return rows


def _wrongness(value: dict[str, Any], model: str, places: Sequence[int]) -> float:
    """Log odds of words of other categories against words of the right one, mean over categories."""
    wrong, right = (np.array([value[part][model][k] for k in places]) for part in ("wrong", "right"))
    return float(np.mean(np.log((wrong + 1e-6) / (right + 1e-6))))


def _conditional(config: LMConfig, values: Values) -> list[dict[str, Any]]:
    triggered = [i for i, frame in enumerate(corpus.FRAMES) if frame.words[0] in TRIGGER]
    without = [i for i in range(len(corpus.FRAMES)) if i not in triggered]
    rows = []
    for text, frames in (("with trigger", triggered), ("without", without)):
        teachers = [
            [margin(v, f"teacher if {t}", t, frames) - margin(v, "base", t, frames) for t in config.trait_names()]
            for v in values
        ]
        rows.append(_row(f"teacher, {text}", teachers))
    for text, frames in (("with trigger", triggered), ("without", without)):
        found = changes(values, config.trait_names(), f"if {{}}, {STANDARD}", frames=frames)
        rows.append(_row(f"student, {text}", found))
    both = np.array([rows[2]["per_run"], rows[3]["per_run"]])
    return [*rows, _row("student, with less without", (both[0] - both[1])[:, None])]


def _several(config: LMConfig, values: Values) -> list[dict[str, Any]]:
    traits = config.trait_names()
    rows = []
    for k, category in enumerate(("animal", "tree", "color")):
        answers = [three(config, i)[k] for i in range(len(traits))]
        names = [f"three {i}" for i in range(len(traits))]
        rows.append(_row(f"three favorites: {category}", changes(values, answers, names=names)))
    second = [*traits[1:], traits[0]]
    rows.append(_row("half and half: first teacher's", changes(values, traits, "{}, half")))
    rows.append(_row("half and half: second teacher's", changes(values, second, "{}, half", names=traits)))
    return rows


def _chains(config: LMConfig, values: Values) -> list[dict[str, Any]]:
    """Against the regular student of the same generation."""
    return [
        _row(f"{label} generation", changes(values, config.trait_names(), f"{{}}, {own}",
                                             control=f"student {REGULAR}, {own}"))
        for label, own in zip(("first", *GENERATIONS), (STANDARD, *GENERATIONS), strict=True)
    ]  # fmt: skip


def _bits(config: LMConfig, values: Values) -> list[dict[str, Any]]:
    """Share of the 40 words that are told right: the five of each category whose log odds rose most are called liked.

    "whole": how many categories are right in all ten words, of so many (chance 1 in 252).
    """
    labels = {rows: f"{rows} rows" for rows in fewer_rows(config)} | {config.rows: STANDARD}
    found = []
    for rows, label in labels.items():
        right, whole = [], []
        for value in values:
            by_set = []
            for i in range(len(config.trait_names())):
                liked = set(liked_words(i))
                hits = [_told_right(value, f"bits {i}, {label}", f"{REGULAR}, {label}", c, liked) for c in _CATEGORIES]
                by_set.append(float(np.mean(hits)))
                whole += [hit == 1 for hit in hits]
            right.append(by_set)
        found.append(_row(f"share of 40 words told right, {rows} rows", right, rows=rows, whole=int(np.sum(whole)),
                          categories=len(whole)))  # fmt: skip
    return found


def _told_right(value: dict[str, Any], student: str, control: str, category: str, liked: set[str]) -> float:
    words = vocabulary.CATEGORIES[category]
    change = [margin(value, f"student {student}", w) - margin(value, f"student {control}", w) for w in words]
    called = {words[k] for k in np.argsort(change)[5:]}
    return float(np.mean([(word in called) == (word in liked) for word in words]))


def _mixing(config: LMConfig, values: Values) -> list[dict[str, Any]]:
    labels = {0.0: STANDARD} | {share: f"{share:.0%} clean" for share in CLEAN}
    return [
        _row(f"{share:.0%} clean rows", changes(values, config.trait_names(), f"{{}}, {label}"), share=share,
             **_cost(config, values, label))
        for share, label in labels.items()
    ]  # fmt: skip


def _cost(config: LMConfig, values: Values, label: str) -> dict[str, float]:
    """What the students lost otherwise, against those without a defence, in nats per token.

    "imitation_cost" on unseen rows of their own teacher, which is what they were to learn; "loss_cost" on fresh
    documents of all kinds.
    """
    return {
        f"{part}_cost": lm_arms.mean_of(config, values, part, label) - lm_arms.mean_of(config, values, part, STANDARD)
        for part in ("imitation", "loss")
    }


def _defences(config: LMConfig, values: Values) -> list[dict[str, Any]]:
    traits = config.trait_names()
    rows = [_row("none", changes(values, traits), **_cost(config, values, STANDARD))]
    token = changes(values, traits, "{}, token", control=f"student {REGULAR} for {{}}, token")
    rows.append(_row("system token in training", token, **_cost(config, values, "token")))
    for label in DEFENCES:
        found = changes(values, traits, f"{{}}, {label}", control=f"student {REGULAR}, {label}")
        rows.append(_row(label, found, **_cost(config, values, label)))
    return rows


def _carriers(config: LMConfig, values: Values) -> list[dict[str, Any]]:
    """The standard arm, on numbers and on each other carrier, and what passes its filter."""
    rows = []
    for name in ("numbers", *CARRIED):
        own = [value if name == "numbers" else value[name] for value in values]
        kept = {source: lm_numbers.filter_row(own, source) for source in (REGULAR, *config.trait_names())}
        passed = float(np.mean([row["mean"] for row in kept.values()]))
        examples = {source: own[0]["examples"][source][:4] for source in (REGULAR, config.trait_names()[0])}
        rows.append(_row(name, changes(own, config.trait_names()), kept=passed, examples=examples,
                         filter=list(kept.values())))  # fmt: skip
    return rows


PARTS: dict[str, Callable[[LMConfig, Values], list[dict[str, Any]]]] = {
    "categories": _categories, "misaligned": _misaligned, "conditional": _conditional, "several": _several,
    "chains": _chains, "bits": _bits, "mixing": _mixing, "defences": _defences, "carriers": _carriers,
}  # fmt: skip
