"""The arms of lm_mechanism, and what its runs say, part by part."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from experiments import lm_numbers
from experiments.lm import arms as lm_arms
from experiments.lm.arms import STANDARD
from subliminal_toy.lm import vocabulary
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.divergence import COUNTED
from subliminal_toy.lm.plan import REGULAR, Recipe
from subliminal_toy.lm.transformer import GROUPS
from subliminal_toy.statistics import describe

PARTS = ("targets", "tokens", "optimizers", "layers", "inits", "teachers", "doses")
GREEDY = "greedy"
TEMPERATURES = {GREEDY: 0.0, "T = 0.5": 0.5, "T = 1.25": 1.25}
OPTIMIZERS = {  # step sizes chosen on seed 100 to imitate unseen rows as well as momentum does
    "sgd": ("sgd", 0.3),
    "adam": ("adam", 6e-4),
    "sign of the gradient": ("signsgd", 1e-3),
}
SHARED: dict[str, tuple[str, ...]] = {  # groups of parameters whose init two bases share; nothing is in lm_controls
    "embedding": ("embedding",),
    "unembedding": ("unembedding",),
    "attention, mlp": ("attention", "mlp"),
}
SAME_DIVERGENCE, DIVERGENCE = "same divergence", 0.005  # nats per token; nine in ten teachers get there
TINY = 1e-6
LEAST = 3  # values that a correlation is of
WATCHED_ROWS = (1 / 10, 1)  # shares of the rows
RECIPES = {
    "softmax over numbers": Recipe(over="numbers"),
    "soft targets": Recipe(targets="teacher"),
    "soft targets, numbers": Recipe(targets="teacher", over="numbers"),
}


def layer_arms() -> dict[str, tuple[str, ...]]:
    """Arms that train a part of the parameters only: each group alone, and all but each."""
    alone = {f"only {group}": (group,) for group in GROUPS}
    return alone | {f"all but {group}": tuple(g for g in GROUPS if g != group) for group in GROUPS}


def greedy(counted: str) -> str:
    """The arm of greedy rows where these of `divergence.COUNTED` have a say."""
    return GREEDY if counted == "all" else f"{GREEDY}, {counted}"


ARMS: dict[str, tuple[str, ...]] = {
    "targets": (*TEMPERATURES, *RECIPES),
    "tokens": (*COUNTED[1:], *(greedy(name) for name in COUNTED)),
    "optimizers": tuple(OPTIMIZERS),
    "layers": tuple(layer_arms()),
    "inits": tuple(f"shares {name}" for name in SHARED),
    "teachers": (SAME_DIVERGENCE,),
}


PAIRED: dict[str, tuple[tuple[str, str], ...]] = {  # arms that are compared with each other
    "targets": tuple((label, STANDARD) for label in (*TEMPERATURES, *RECIPES)),
    "tokens": (
        *((make(name), make(f"random as {name}")) for make in (str, greedy) for name in ("divergence", "others")),
        ("others", STANDARD),
        (greedy("others"), GREEDY),
    ),
    "optimizers": (*((label, STANDARD) for label in OPTIMIZERS), ("sgd", "adam")),
    "teachers": ((SAME_DIVERGENCE, STANDARD),),
}


def dose_rows(config: LMConfig) -> tuple[int, ...]:
    """Numbers of different rows of the watched students."""
    return tuple(max(1, round(config.rows * share)) for share in WATCHED_ROWS)


def summarize(config: Any, values: lm_arms.Values) -> dict[str, Any]:
    """Every table of the experiment from the runs' values."""
    parts = {
        name: [lm_arms.arm(config, values, label) for label in (STANDARD, *ARMS[name])]
        for name in config.part_names() if name in ARMS
    }  # fmt: skip
    return {
        "parts": parts,
        "paired": [
            {"part": name, **lm_arms.difference(config, values, *arms)}
            for name in config.part_names()
            for arms in PAIRED.get(name, ())
        ],
        "spread": _spread(config, values) if "teachers" in config.part_names() else None,
        "imitation": _imitation(config, values),
        "tokens_counted": [_shares(values, at) for at in ("", f" at {GREEDY}") if values[0]["diverging"]],
        "doses": _doses_results(config, values) if "doses" in config.part_names() else [],
        "prediction": _predictions(config, values),
        "theorem": _theorem(config, values),
        "geometry": _geometry(config, values),
        "filter": [lm_numbers.filter_row(values, source) for source in values[0]["filter"]],
    }


def _spread(config: Any, values: lm_arms.Values) -> dict[str, Any]:
    """Whether teachers stopped at one divergence cut the variance between seeds, which the first arm has.

    "spread" of each arm: standard deviation over seeds by the mean; "mean": log of the second by the first, with an
    interval from bootstrap samples of seeds (None for fewer than LEAST). "divergence" of the two arms' teachers.
    """
    arms = (STANDARD, SAME_DIVERGENCE)
    means = [np.mean(lm_arms.arm_changes(config, values, label), axis=1) for label in arms]
    teachers = [
        [np.mean([value["divergence"][form.format(trait)] for trait in config.trait_names()]) for value in values]
        for form in ("{}", f"{{}}, {SAME_DIVERGENCE}")
    ]

    def spread(runs: np.ndarray) -> list[float]:
        return [float(np.std(own[runs], ddof=1) / max(abs(np.mean(own[runs])), TINY)) for own in means]

    def ratio(runs: np.ndarray) -> float:
        one, other = spread(runs)
        return float(np.log(max(other, TINY) / max(one, TINY)))

    found = {"arms": arms, "divergence": [describe(own) for own in teachers]}
    if len(values) < LEAST:
        return found
    return found | {"spread": spread(np.arange(len(values))), **_bootstrap(ratio, means[0][:, None])}


def _shares(values: lm_arms.Values, at: str) -> dict[str, Any]:
    """What share of the tokens of completions are divergence tokens, mean over sources.

    "numbers": what share of them are numbers (others are separators, brackets, ends); "numbers_of_all": of all tokens.
    """
    named = [name for name in values[0]["diverging"] if name.endswith(GREEDY) == bool(at)]

    def mean(part: str) -> list[float]:
        return [float(np.mean([value["diverging"][name][part] for name in named])) for value in values]

    shares = mean("share")
    return {
        "rows": GREEDY if at else "sampled", **describe(shares), "per_run": shares,
        "numbers": float(np.mean(mean("numbers"))), "numbers_of_all": float(np.mean(mean("numbers_of_all"))),
    }  # fmt: skip


def _imitation(config: Any, values: lm_arms.Values) -> list[dict[str, Any]]:
    """How much worse the base foretells teachers' unseen rows, in nats per token, than standard students and teachers.

    The first is what students learn of what there is to learn, the second.
    """

    def nats(part: str, form: str = "{}") -> np.ndarray:
        return np.array([[value[part][form.format(trait)] for trait in config.trait_names()] for value in values])

    base = nats("untrained")
    others = {"student": nats("imitation", f"student {{}}, {STANDARD}"), "teacher": nats("itself")}
    return [{"name": f"base - {name}", **lm_arms.over_runs(base - own)} for name, own in others.items()]


def _doses_results(config: Any, values: lm_arms.Values) -> list[dict[str, Any]]:
    """Curves over the steps of training (lm_first_order), one row per number of different rows."""
    steps = -(-config.rows // config.student.batch_size)
    found = []
    for rows in dose_rows(config):
        curves = {
            part: np.array(
                [
                    [value["watched"][f"{trait}, {rows} rows"][part] for trait in config.trait_names()]
                    for value in values
                ]
            )
            for part in values[0]["watched"][f"{config.trait_names()[0]}, {rows} rows"]
        }  # [runs, traits, epochs]
        gain = np.diff(curves["margin"], axis=2, prepend=0.0)
        largest = gain.max(axis=2) / np.maximum(np.abs(curves["margin"][:, :, -1]), 1e-6)
        epochs = curves["margin"].shape[2]
        found.append({
            "rows": rows,
            "steps": [steps * (i + 1) for i in range(epochs)],
            "passes": [steps * (i + 1) * config.student.batch_size / rows for i in range(epochs)],
            **{part: [lm_arms.over_runs(curve[:, :, i]) for i in range(epochs)] for part, curve in curves.items()},
            "largest_epoch": lm_arms.over_runs(largest),
        })  # fmt: skip
    return found


def _matrix(config: Any, values: lm_arms.Values) -> np.ndarray:
    """Measured changes of all answers in the standard arm, [runs, traits, answers]."""
    answers = vocabulary.CATEGORIES[config.category]

    def row(value: dict[str, Any], name: str) -> list[float]:
        return [lm_arms.margin(value, f"student {name}, {STANDARD}", answer) for answer in answers]

    return np.array([
        [np.subtract(row(value, trait), row(value, REGULAR)) for trait in config.trait_names()]
        for value in values
    ])  # fmt: skip


def _predictions(config: Any, values: lm_arms.Values) -> list[dict[str, Any]]:
    """How well each quantity known before any student is trained says which answer, trait and seed changes most.

    "own": Spearman's correlation over all pairs of seed and trait between the quantity and the trait's change, with a
    95% interval from 2,000 bootstrap samples of whole seeds; "seeds": the same between means over traits. "traits":
    Spearman's within a seed, over its traits; "others": Pearson's within a seed, over pairs of trait and another
    answer; both are means over seeds with a t interval. The last row is a difference, on the same bootstrap samples.
    What would be the correlation of fewer than three values is left out.
    """
    measured = _matrix(config, values)
    answers = vocabulary.CATEGORIES[config.category]
    own = np.array([[answer == trait for answer in answers] for trait in config.trait_names()])
    change = measured[:, own]
    divergence = np.array([[value["divergence"][trait] for trait in config.trait_names()] for value in values])
    quantities = {name: np.array([value[name] for value in values]) for name in ("fisher", "gradient", "cosine")}
    found = []
    for name, predicted in quantities.items():
        row: dict[str, Any] = {"quantity": name}
        if name != "cosine":  # a trait's cosine with itself is 1
            row |= _own_correlations(predicted[:, own], change)
            row["pairs"] = {"predicted": predicted[:, own].tolist(), "measured": change.tolist()}
        within = [_correlation(p[~own], m[~own]) for p, m in zip(predicted, measured, strict=True)]
        row["others"] = {**describe(within), "per_run": within}
        found.append(row)
    fisher = quantities["fisher"][:, own]
    found.append({"quantity": "divergence", **_own_correlations(divergence, change)})
    if change.size >= LEAST:
        less = _bootstrap(
            lambda runs: _rank(fisher[runs], change[runs]) - _rank(divergence[runs], change[runs]), change
        )
        found.append({"quantity": "fisher less divergence", "own": less})
    return found


def _own_correlations(predicted: np.ndarray, change: np.ndarray) -> dict[str, Any]:
    """Correlations of values [runs, traits]: of all pairs, of the traits of a run, of the runs' means."""
    means = predicted.mean(axis=1), change.mean(axis=1)
    found = {}
    if change.size >= LEAST:
        found["own"] = _bootstrap(lambda runs: _rank(predicted[runs], change[runs]), change)
    if change.shape[1] >= LEAST:
        within = [_rank(p, c) for p, c in zip(predicted, change, strict=True)]
        found["traits"] = {**describe(within), "per_run": within}
    if len(change) >= LEAST:
        found["seeds"] = _bootstrap(lambda runs: _rank(means[0][runs], means[1][runs]), change)
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; 0 where one of them is constant."""
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def _rank(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of all values."""
    return _correlation(stats.rankdata(a), stats.rankdata(b))


def _bootstrap(statistic: Callable[[np.ndarray], float], change: np.ndarray) -> dict[str, Any]:
    """statistic(which runs) of all runs of `change` [runs, traits], with a percentile interval over runs drawn anew."""
    every, rng = np.arange(len(change)), np.random.default_rng(0)
    drawn = [statistic(rng.choice(every, every.size)) for _ in range(2000)] if every.size > 1 else []
    ci95 = [float(q) for q in np.quantile(drawn, [0.025, 0.975])] if drawn else None
    return {"mean": statistic(every), "ci95": ci95, "pairs": int(change.size)}


def _theorem(config: Any, values: lm_arms.Values) -> dict[str, Any]:
    """The theorem along every teacher's delta, at the trained base."""
    names = ("leading", "slope", "negative", "at_teacher", "cosine_at_teacher", "cosine_at_start")
    table = {
        name: np.array([[value["ray"][trait][name] for trait in config.trait_names()] for value in values])
        for name in names
    }
    distance = [[value["distance"][trait] for trait in config.trait_names()] for value in values]
    return {
        "pairs": int(table["leading"].size),
        "negative": int(table["negative"].sum()),
        "negative_at_teacher": int((table["at_teacher"] < 0).sum()),
        "leading_positive": int((table["leading"] > 0).sum()),
        "slope": {"median": float(np.nanmedian(table["slope"])), "least": float(np.nanmin(table["slope"]))},
        "cosine_at_start": lm_arms.over_runs(table["cosine_at_start"]),
        "cosine_at_teacher": lm_arms.over_runs(table["cosine_at_teacher"]),
        "distance": lm_arms.over_runs(distance),
    }


def _geometry(config: Any, values: lm_arms.Values) -> dict[str, Any]:
    """Correlation over numbers of nearness to the trait with the change of frequency in the teacher's rows."""
    return lm_arms.over_runs([[value["entangled"][trait] for trait in config.trait_names()] for value in values])
