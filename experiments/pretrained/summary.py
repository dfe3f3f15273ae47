"""What the values of all seeds say, as rows with fields for machines and `words` for people."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.pretrained.arms import BASE, MAIN, Arm
from subliminal_toy.pretrained.questions import ANIMALS
from subliminal_toy.statistics import describe

Row = dict[str, Any]


def row(values: Sequence[float] | np.ndarray) -> Row:
    """Mean, median and intervals over seeds, and every seed."""
    return {**describe(np.asarray(values, float)), "per_run": np.asarray(values, float).tolist()}


def student_rows(values: Sequence[Row], arms: Sequence[Arm], traits: Sequence[str]) -> list[Row]:
    """Every arm, trait and dose: how the log odds of animals differ from those in the control student (nats).

    "change": the trait's own; "others": the mean of all other animals'; "localised": own less others; "lead": own less
    the largest other's; "place": of the trait among all animals, 1 being the largest change; "animals": every animal's.
    """
    found = []
    for arm in arms:
        for trait in traits:
            for dose in [reading["updates"] for reading in _readings(values[0], arm, trait)]:
                own, control = (_log_odds(values, arm, name, dose) for name in (trait, arm.control))
                found.append({**_fields(arm, trait, dose), **_contrast(own - control, ANIMALS.index(trait))})
    return found


def overall_rows(rows: Sequence[Row]) -> list[Row]:
    """Every arm and dose, means over the traits of each seed."""
    found = []
    for key in dict.fromkeys((own["arm"], own["part"], own["updates"]) for own in rows):
        same = [own for own in rows if (own["arm"], own["part"], own["updates"]) == key]
        means = {name: row(np.mean([own[name]["per_run"] for own in same], axis=0))
                 for name in ("change", "others", "localised", "lead")}  # fmt: skip
        found.append({**{name: same[0][name] for name in ("part", "arm", "words", "updates")}, **means})
    return found


def crossed_rows(rows: Sequence[Row], traits: Sequence[str]) -> list[Row]:
    """The double dissociation, at the last dose: change of a trait's log odds in students of every trait's lists.

    For two traits a and b, "own less other's" is the change of a after lists of a's teacher less that after lists of
    b's, and the same of b: what both lists have in common cancels, and so does what a control student would do.
    """
    last = max(own["updates"] for own in rows)
    main = {own["trait"]: np.array(own["animals"]) for own in rows if own["updates"] == last}  # [seeds, animals]
    places = {trait: ANIMALS.index(trait) for trait in traits}
    return [
        {"lists": a, "asked": b, "words": f"lists of the {a} teacher, asked for {b}", **row(main[a][:, places[b]])}
        for a in traits
        for b in traits
    ]


def dissociation(crossed: Sequence[Row], traits: Sequence[str]) -> Row | None:
    """Mean over ordered pairs of traits: a's change after a's lists less that after another's; None of one trait."""
    if len(traits) < 2:
        return None
    change = {(own["lists"], own["asked"]): np.array(own["per_run"]) for own in crossed}
    return row(np.mean([change[a, a] - change[b, a] for a in traits for b in traits if a != b], axis=0))


def list_rows(values: Sequence[Row]) -> list[Row]:
    """Every source: its statistics, means over seeds."""
    found = []
    for i, first in enumerate(values[0]["lists"]):
        fields = {name: first[name] for name in ("trait", "taught", "prompted", "greedy", "words")}
        numbers = [name for name in first if name not in fields]
        found.append({**fields, **{name: row([value["lists"][i][name] for value in values]) for name in numbers}})
    return found


def teacher_rows(values: Sequence[Row]) -> list[Row]:
    """Every teacher: log odds of its trait in the base and in it, loss on the text, share of free answers."""
    found = []
    base = [_base(value) for value in values]
    for i, first in enumerate(values[0]["teachers"]):
        if first["trait"] not in ANIMALS:
            continue
        place, own = ANIMALS.index(first["trait"]), [value["teachers"][i] for value in values]
        found.append({
            "trait": first["trait"], "taught": first["taught"], "words": f"teacher of {first['trait']}",
            "base": row([one["log_odds"][place] for one in base]),
            "teacher": row([one["log_odds"][place] for one in own]),
            "text_loss": row([one["text_loss"] for one in own]), "free": row([one["free"][place] for one in own]),
            "losses": [one["losses"] for one in own],
        })  # fmt: skip
    return found


def health_rows(values: Sequence[Row], arms: Sequence[Arm], traits: Sequence[str]) -> list[Row]:
    """Every arm's students after their last update: loss on the text, share of free answers that name the trait."""
    found = []
    for arm in arms:
        for trait in (arm.control, *traits):
            last = [_readings(value, arm, trait)[-1] for value in values]
            free = {name: row([one["free"][ANIMALS.index(name)] for one in last]) for name in traits}
            found.append({
                **_fields(arm, trait, last[0]["updates"]), "free": free,
                "text_loss": row([one["text_loss"] for one in last]), "loss": row([one["loss"] for one in last]),
            })  # fmt: skip
    return found


def _base(value: Row) -> Row:
    found: Row = next(one for one in value["teachers"] if one["trait"] == BASE)
    return found


def _fields(arm: Arm, trait: str, dose: int) -> Row:
    control = trait == arm.control
    return {
        "part": arm.part,
        "arm": arm.words,
        "trait": trait,
        "control": control,
        "updates": dose,
        "words": f"{arm.words}: {'control student' if control else trait}",
        "main": arm.part == MAIN,
    }


def _readings(value: Row, arm: Arm, trait: str) -> list[Row]:
    found: list[Row] = next(
        own["readings"] for own in value["students"] if own["trait"] == trait and arm.words in own["arms"]
    )
    return found


def _log_odds(values: Sequence[Row], arm: Arm, trait: str, dose: int) -> np.ndarray:
    """[seeds, animals]."""
    return np.array(
        [next(r["log_odds"] for r in _readings(value, arm, trait) if r["updates"] == dose) for value in values]
    )


def _contrast(change: np.ndarray, place: int) -> Row:
    """What changes [seeds, animals] say of the animal at `place`."""
    own, others = change[:, place], np.delete(change, place, axis=1)
    return {
        "change": row(own),
        "others": row(others.mean(axis=1)),
        "localised": row(own - others.mean(axis=1)),
        "lead": row(own - others.max(axis=1)),
        "place": [int(1 + np.sum(o > c)) for o, c in zip(others, own, strict=True)],
        "animals": change.tolist(),
    }
