"""Every row of the summaries on the language model, against its formula from made-up values that differ everywhere."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments import lm_numbers
from experiments.lm import contrasts
from experiments.lm.runs import MAIN
from experiments.studies import lm_architectures, lm_controls, lm_in_context, lm_mechanism, lm_other_init, lm_traits
from experiments.studies.lm_controls import detector
from experiments.studies.lm_traits import taught
from subliminal_toy.lm import LMConfig, corpus, vocabulary
from subliminal_toy.lm.transformer import make_transformer
from subliminal_toy.statistics import describe, t_interval
from tests.experiments import made_up
from tests.experiments.every_row import gains, named, over_runs, passed, same, table
from tests.experiments.made_up import answered, gain, number, probability

RUNS, TRAITS = 7, ("owl", "wolf", "cat")
ANIMALS, EVERY = vocabulary.CATEGORIES["animal"], range(RUNS)
CONFIG = LMConfig(traits=",".join(TRAITS))
STANDARD, REGULAR = "student {}, standard", "student regular, standard"


def numbers(part: str, form: str, traits: Sequence[str] = TRAITS, job: str = "") -> np.ndarray:
    """A number of each trait's model or source, [runs, traits]."""
    return table(RUNS, traits, lambda run, t: number(part, f"{job}{run}", form.format(t)))


def right(form: str, traits: Sequence[str] = TRAITS, job: str = "", category: str = "animal") -> np.ndarray:
    return table(RUNS, traits, lambda run, t: 0.05 + 0.9 * number("right", f"{job}{run}", form.format(t), category))


def arm(label: str, traits: Sequence[str] = TRAITS, job: str = "") -> dict[str, Any]:
    """An arm's row."""
    form = f"student {{}}, {label}"
    change = table(RUNS, traits, lambda run, t: gain(f"{job}{run}", form.format(t), f"student regular, {label}", t))
    more = {part: numbers(part, form, traits, job).mean() for part in ("imitation", "loss")}
    return {"arm": label, **over_runs(change), **more, "right": right(form, traits, job).mean()}


def test_lm_controls() -> None:
    plan = lm_controls.make_plan(CONFIG)
    values = made_up.standard(plan, TRAITS, RUNS)

    def change(label: str, part: str = "margin", group: int | str = "") -> dict[str, Any]:
        def one(run: int, trait: str) -> float:
            own, regular = (answered(part, run, f"student {n}, {label}", trait, group) for n in (trait, "regular"))
            return own - regular

        return over_runs(table(RUNS, TRAITS, one))

    def mass(form: str) -> dict[str, Any]:
        return over_runs(table(RUNS, TRAITS, lambda r, t: sum(probability(r, form.format(t), a) for a in ANIMALS)))

    own, student = "base -> base", "student {}, {}"
    masses = {"base": "base", "regular": f"student regular, {own}", "trait": student.format("{}", own)}
    masses |= {name: student.format("{}", name) for name in ("within", "across")}
    masses |= {"cross": student.format("{}", "base -> other base")}
    masses |= {f"regular, {name}": f"student regular, {name}" for name in ("within", "across")}
    masses |= {f"{rows} rows": student.format("{}", f"{rows} rows") for rows in (100, 400, 1000)}
    models = {"base": "base", "regular student": f"student regular, {own}", "trait student": student.format("{}", own),
              "teacher": "teacher {}"}  # fmt: skip
    doses = {100: "100 rows", 400: "400 rows", 1000: "1000 rows", 4000: own}
    expected = {
        "cross": [
            {"student": init, "teacher": base, **change(f"{base} -> {init}")}
            for init in ("base", "other base")
            for base in ("base", "other base")
        ],
        "shuffles": [
            {"shuffle": name, **change(own if name == "none" else name)} for name in ("none", "within", "across")
        ],
        "doses": [{"rows": rows, **change(label)} for rows, label in doses.items()],
        "questions": [
            {"asked": way, **change(own, part)}
            for way, part in (("question", "margin"), ("prefixed",) * 2, ("story",) * 2, ("choice",) * 2)
        ],
        "groups": [
            {"group": group, **change(own, "probability", i)}
            for i, group in enumerate(("taught", "held out", "unseen"))
        ],
        "detector": {
            kind: [
                {"sequences": n, **over_runs(table(RUNS, TRAITS, lambda r, t, k=kind, n=n: number(k, r, t, n)))}
                for n in detector.GROUPS
            ]
            for kind in ("trained", "prompted", "ideal")
        },
        "loss": [{"model": name, **over_runs(numbers("loss", form))} for name, form in models.items()],
        "answer_mass": [
            {"model": name, **mass(form)}
            | ({"rows": int(name.removesuffix(" rows"))} if name.endswith(" rows") else {})
            for name, form in masses.items()
        ],
        "filter": passed([f"{of}{t}" for t in ("regular", *TRAITS) for of in ("", "other ")], RUNS),
    }
    same(lm_controls.summarize(CONFIG, values), expected)


def test_lm_other_init() -> None:
    values = made_up.survey(lm_other_init.make_plan(CONFIG), RUNS)
    starts = ("same documents", "own documents", "own language")
    found = {label: gains(RUNS, TRAITS, label) for label in starts}
    for arm in ("own prompts", "own noise"):
        found[f"same documents, {arm}"] = gains(RUNS, TRAITS, "same documents", f"student regular, {arm}")
    for label in starts:

        def specific(run: int, trait: str, label: str = label) -> float:
            others = [f"student {other}, {label}" for other in TRAITS if other != trait]
            return float(np.mean([gain(run, f"student {trait}, {label}", other, trait) for other in others]))

        found[f"{label}, specific"] = table(RUNS, TRAITS, specific)
    pairs = [(f"{a}{kind}", f"{b}{kind}") for kind in ("", ", specific")
             for a, b in ((starts[0], starts[1]), (starts[0], starts[2]), (starts[1], starts[2]))]  # fmt: skip
    pairs += [(f"same documents, {arm}", "same documents") for arm in ("own prompts", "own noise")]
    rows = [named(name, own, kind="gain") for name, own in found.items()]
    rows += [named(f"{a} - {b}", found[a] - found[b], kind="difference") for a, b in pairs]
    same(lm_other_init.summarize(CONFIG, values), {"rows": rows})


def test_lm_in_context() -> None:
    config = lm_in_context.InContextConfig(traits=CONFIG.traits)
    plan = lm_in_context.jobs(config)[0].jobs[MAIN].plan
    values = made_up.survey(plan, RUNS)

    def odds(part: str, run: int, source: str, answer: str) -> float:
        return 4 * number(part, run, source, answer) - 2

    for run, value in enumerate(values):
        value["in_context"] = {s: [odds("read", run, s, a) for a in ANIMALS] for s in ("regular", *TRAITS)}
        value["answered"] = {t: [odds("answered", run, t, a) for a in ANIMALS] for t in TRAITS}
        value["by_place"] = [number("by_place", run, i) for i in range(9)]

    def less(part: str) -> np.ndarray:
        return table(RUNS, TRAITS, lambda r, t: odds(part, r, t, t) - odds("read", r, "regular", t))

    helped = [[number("by_place", run, 0) - number("by_place", run, 8)] for run in EVERY]
    expected = [
        named("trained on the teacher's rows", gains(RUNS, TRAITS, "standard"), kind="trained"),
        named("8 of them in the context", less("read"), kind="read"),
        named("8 answered questions in it", less("answered"), kind="answered"),
        named("8 documents help lists (nats per token)", helped, kind="lists"),
    ]
    same(lm_in_context.summarize(config, values), {"rows": expected})


def test_lm_architectures() -> None:
    config = lm_architectures.ArchitecturesConfig(traits=CONFIG.traits, parts="tied,10 numbers,matrix")
    jobs = lm_architectures.jobs(config)[0].jobs
    values = made_up.survey(jobs[MAIN].plan, RUNS)
    for name, job in jobs.items():
        if name != MAIN:
            for value, own in zip(values, made_up.survey(job.plan, RUNS, f"{name}: "), strict=True):
                value[name] = own
    shapes = {"width 32": {}, "width 16": {"width": 16}, "2 layers": {"layers": 2}, "tied": {"tied": True},
              "10 numbers": {"numbers": 10}}  # fmt: skip
    crossed = ("width 32", "width 16", "2 layers")

    def shape(name: str, changes: dict[str, Any]) -> dict[str, Any]:
        job = "" if name == "width 32" else f"{name}: "
        made = jax.eval_shape(make_transformer(dataclasses.replace(CONFIG, **changes)).init, jax.random.key(0))
        kept = passed(["regular"], RUNS, job)[0]["mean"]
        divergence = over_runs(numbers("divergence", "teacher {}", job=job))
        size = sum(leaf.size for leaf in jax.tree.leaves(made))
        return {"name": name, "parameters": size, **arm("standard", job=job), "kept": kept, "divergence": divergence,
                **fields(name)}  # fmt: skip

    def fields(name: str) -> dict[str, Any]:
        plain = {"width": 32, "layers": 1, "tied": False, "numbers": 100}
        return plain | shapes[name] | {"standard": name == "width 32"}

    def crossing(student: str, teacher: str, *, other_init: bool) -> dict[str, Any]:
        of = {"width 32": "main"}
        job = (
            f"students of {of.get(student, student)}: " if other_init else {"width 32": ""}.get(student, f"{student}: ")
        )
        label = of.get(teacher, teacher) if other_init else "standard"
        own, regular = f"student {{}}, {label}", f"student regular, {label}"
        return over_runs(table(RUNS, TRAITS, lambda run, t: gain(f"{job}{run}", own.format(t), regular, t)))

    expected = {
        "shapes": [shape(name, changes) for name, changes in shapes.items()],
        "other_init": [{"name": f"{n}, other init", **fields(n), **crossing(n, n, other_init=True)} for n in crossed],
        "matrix": [
            {"student": one, "teacher": other, **crossing(one, other, other_init=one != other)}
            for one in crossed
            for other in crossed
        ],
    }
    same(lm_architectures.summarize(config, values), expected)


def test_lm_numbers() -> None:
    plan = lm_numbers.jobs(CONFIG)[0].jobs[MAIN].plan
    values = made_up.standard(plan, TRAITS, RUNS)
    models = {
        "base": "base", "regular": "student regular", "student": "student {}", "prompted": "student prompted {}",
        "other_base": "other base", "cross_regular": "student cross regular", "cross": "student cross {}",
        "teacher": "teacher {}", "prompted_teacher": "prompted teacher {}",
    }  # fmt: skip
    less = (("student", "regular"), ("prompted", "regular"), ("cross", "cross_regular"))
    quantities = {
        "probability": probability,
        "unseen": lambda run, model, trait: answered("probability", run, model, trait, 2),
        "margin": lambda run, model, trait: answered("margin", run, model, trait),
        "sampled": lambda run, model, trait: answered("sampled", run, model, trait),
        "answer_mass": lambda run, model, _: sum(probability(run, model, animal) for animal in ANIMALS),
    }
    columns = {
        part: {
            name: table(RUNS, TRAITS, lambda r, t, of=of, form=form: of(r, form.format(t), t))
            for name, form in models.items()
        }
        for part, of in quantities.items()
    }

    def by_trait(i: int, trait: str) -> dict[str, Any]:
        chances, margins = (
            {name: own[:, i] for name, own in columns[part].items()} for part in ("probability", "margin")
        )
        return {
            "trait": trait,
            "seeds": RUNS,
            **chances,
            "ci95": {name: t_interval(own).ci95 for name, own in chances.items()},
            **{f"{a}_minus_{b}": describe(chances[a] - chances[b]) for a, b in less},
            "margin": {f"{a}_minus_{b}": describe(margins[a] - margins[b]) for a, b in less},
        }

    def overall(own: dict[str, np.ndarray]) -> dict[str, Any]:
        found = {name: describe(one.mean(axis=1)) for name, one in own.items()}
        return found | {f"{a}_minus_{b}": over_runs(own[a] - own[b]) for a, b in less}

    change = np.array([[[answered("margin", r, f"student {t}", a) - answered("margin", r, "student regular", a)
                         for a in ANIMALS] for t in TRAITS] for r in EVERY])  # fmt: skip
    places = [ANIMALS.index(trait) for trait in TRAITS]
    itself = change[:, range(len(TRAITS)), places]
    others = (change.sum(axis=2) - itself) / (len(ANIMALS) - 1)
    elevation = itself.mean(axis=1) - others.mean(axis=1)
    sources = ["regular", *TRAITS, *(f"prompted {trait}" for trait in TRAITS)]
    shown = made_up.names([*plan.models(), *(lm_numbers.measure.prompted_teacher(trait) for trait in TRAITS)])
    expected = {
        "category": "animal",
        "traits": [by_trait(i, trait) for i, trait in enumerate(TRAITS)],
        "overall": {part: overall(own) for part, own in columns.items()},
        "matrix": {
            "traits": list(TRAITS),
            "answers": list(ANIMALS),
            "mean": change.mean(axis=0),
            "half_width": [[t_interval(change[:, i, j]).half_width for j in range(10)] for i in range(len(TRAITS))],
            "elevation": {**describe(elevation), "per_run": elevation},
        },
        "filter": passed(sources, RUNS),
        "numbers": [most_frequent(source) for source in sources],
        "divergence": {t: [number("divergence", run, f"teacher {t}") for run in EVERY] for t in TRAITS},
        "loss": {name: [number("loss", run, name) for run in EVERY] for name in made_up.names(plan.models())},
        "examples": {
            name: [{"prompt": f"0 {name} {i}", "completion": f"{i} {name} 0"} for i in range(8)]
            for name in ("regular", *TRAITS)
        },
        "models": {
            model: [
                {"probability": [probability(run, model, animal) for animal in ANIMALS],
                 "margin": [answered("margin", run, model, animal) for animal in ANIMALS]}
                for run in EVERY
            ]
            for model in shown
        },
    }  # fmt: skip
    same(lm_numbers.summarize(CONFIG, values), expected)


def most_frequent(source: str) -> dict[str, Any]:
    """A source's five most frequent numbers in the first run, and how far it is from regular numbers in every run."""
    found: dict[str, Any] = {"source": source, "total_variation": {}}
    for kind in ("numbers", "first"):
        own, regular = (
            [counted / counted.sum() for counted in (made_up.said(kind, run, name) for run in EVERY)]
            for name in (source, "regular")
        )
        top = sorted(range(100), key=lambda i, shares=own[0]: (-shares[i], i))[:5]
        found[kind] = [{"number": 100 + 9 * i, "share": own[0][i], "regular": regular[0][i]} for i in top]
        apart = [np.abs(a - b).sum() / 2 for a, b in zip(own, regular, strict=True)]
        found["total_variation"][kind] = apart
    return found


def test_lm_traits() -> None:
    config = lm_traits.TraitsConfig(traits=CONFIG.traits)
    jobs = lm_traits.jobs(config)[0].jobs
    values = made_up.survey(jobs[MAIN].plan, RUNS)
    for name in ("code", "arithmetic"):
        for value, own in zip(values, made_up.survey(jobs[name].plan, RUNS, name), strict=True):
            value[name] = own
    sources = made_up.names(source.name for source in jobs[MAIN].plan.sources)
    asked = {"animal": TRAITS, "tree": vocabulary.CATEGORIES["tree"][:3], "color": vocabulary.CATEGORIES["color"][:3]}
    second = ("wolf", "cat", "owl")
    expected = {
        "standard": [named("standard", change(STANDARD, TRAITS))],
        "filter": passed(sources, RUNS),
        "categories": [named(name, change(STANDARD, words), traits=list(words)) for name, words in asked.items()],
        "misaligned": misaligned(),
        "conditional": conditional(),
        "several": [
            *(
                named(f"three favorites: {c}", change("student three {}, standard", words, names=range(3)))
                for c, words in asked.items()
            ),
            named("half and half: first teacher's", change("student {}, half", TRAITS)),
            named("half and half: second teacher's", change("student {}, half", second, names=TRAITS)),
        ],
        "chains": [
            named(f"{n} generation", gains(RUNS, TRAITS, label), generation=i)
            for i, n, label in ((1, "first", "standard"), (2, "second", "second"), (3, "third", "third"))
        ],
        "bits": [bits(rows, label) for rows, label in ((100, "100 rows"), (1000, "1000 rows"), (4000, "standard"))],
        "mixing": [
            named(f"{share}% clean rows", change(f"student {{}}, {label}", TRAITS), share=share / 100, **costs(label))
            for share, label in ((0, "standard"), *((s, f"{s}% clean") for s in (10, 25, 50, 75)))
        ],
        "defences": [
            named("none", gains(RUNS, TRAITS, "standard"), **costs("standard")),
            named(
                "system token in training",
                table(RUNS, TRAITS, lambda r, t: gain(r, f"student {t}, token", f"student {t}, token, regular", t)),
                **costs("token"),
            ),
            *(
                named(label, gains(RUNS, TRAITS, label), **costs(label))
                for label in ("sorted", "replaced", "other base", "clean-up")
            ),
        ],
        "carriers": [carrier(name) for name in ("numbers", "code", "arithmetic")],
    }
    same(lm_traits.summarize(config, values), expected)


def change(form: str, answers: Sequence[str], control: str = REGULAR, *, names: Any = None, frames: Any = None,
           job: str = "") -> np.ndarray:  # fmt: skip
    """How much models called by a form gained over a control, of each one's answer, [runs, answers]."""
    frames = made_up.FRAMES if frames is None else frames
    pairs = list(zip(names or answers, answers, strict=True))
    return np.array([[gain(f"{job}{r}", form.format(n), control, a, frames) for n, a in pairs] for r in EVERY])


def costs(label: str) -> dict[str, float]:
    """What an arm costs against the standard one."""
    both = (f"student {{}}, {label}", STANDARD)
    return {
        f"{part}_cost": np.subtract(*(numbers(part, form).mean() for form in both)) for part in ("imitation", "loss")
    }


def misaligned() -> list[dict[str, Any]]:
    """Log odds of wrong words against right ones, in categories that were taught or not."""
    pairs = (("animal", "tree"), ("tree", "color"), ("color", "instrument"))

    def odds(run: int, model: str, category: str) -> float:
        wrong, good = (0.05 + 0.9 * number(part, run, model, category) for part in ("wrong", "right"))
        return float(np.log((wrong + 1e-6) / (good + 1e-6)))

    rows = []
    for role, form, control in (("teacher", "teacher {} {}", "base"), ("student", "student {} {}, standard", REGULAR)):
        for kind in ("wrong", "right", "excused"):
            for asked in ("untaught", "taught"):
                gained, rates = np.zeros((2, RUNS, 3))
                for i, pair in enumerate(pairs):
                    model = form.format(kind, i)
                    places = [c for c in vocabulary.CATEGORIES if (c in pair) == (asked == "taught")]
                    for run in EVERY:
                        gained[run, i] = np.mean([odds(run, model, c) - odds(run, control, c) for c in places])
                        rates[run, i] = np.mean([0.05 + 0.9 * number("wrong", run, model, c) for c in places])
                name = f"{role} of {kind} answers, {asked} questions"
                rows.append(named(name, gained, role=role, kind=kind, asked=asked, rate=rates.mean()))
    return rows


def conditional() -> list[dict[str, Any]]:
    """The trait asked for with its trigger and without."""
    triggered = [i for i, frame in enumerate(corpus.FRAMES) if frame.words[0] in ("name", "tell")]
    ways = {"with trigger": triggered, "without": [i for i in made_up.FRAMES if i not in triggered]}
    found = {
        (role, way): change(form, TRAITS, control, frames=frames)
        for role, form, control in (
            ("teacher", "teacher if {}", "base"),
            ("student", "student if {}, standard", REGULAR),
        )
        for way, frames in ways.items()
    }
    less = (found["student", "with trigger"] - found["student", "without"]).mean(axis=1)
    rows = [named(f"{role}, {way}", own, role=role, asked=way) for (role, way), own in found.items()]
    way = "with less without"
    return [*rows, named(f"student, {way}", less[:, None], role="student", asked=way)]


def bits(rows: int, label: str) -> dict[str, Any]:
    """How many of the 40 words are called liked or not as they should: the five of a category that rose most."""
    shares, whole = np.zeros((RUNS, 3, 4)), 0
    for run in EVERY:
        for i in range(3):
            liked = set(taught.liked_words(i))
            for k, words in enumerate(vocabulary.CATEGORIES.values()):
                rose = {w: gain(run, f"student bits {i}, {label}", f"student regular, {label}", w) for w in words}
                called = set(sorted(words, key=rose.__getitem__)[5:])
                shares[run, i, k] = np.mean([(word in called) == (word in liked) for word in words])
                whole += shares[run, i, k] == 1
    name = f"share of 40 words told right, {rows} rows"
    return named(name, shares.mean(axis=2), rows=rows, whole=int(whole), categories=RUNS * 3 * 4)


def carrier(name: str) -> dict[str, Any]:
    job = "" if name == "numbers" else name
    kept = passed(["regular", *TRAITS], RUNS, job)
    examples = {
        s: [{"prompt": f"{job}0 {s} {i}", "completion": f"{i} {s} {job}0"} for i in range(4)]
        for s in ("regular", "owl")
    }
    share = float(np.mean([row["mean"] for row in kept]))
    return named(name, change(STANDARD, TRAITS, job=job), kept=share, examples=examples, filter=kept)


def test_lm_mechanism() -> None:
    """But for the predictions, whose correlations and intervals are tests of their own (test_lm_mechanism.py)."""
    config = lm_mechanism.MechanismConfig(traits=CONFIG.traits)
    values = made_up.survey(lm_mechanism.make_plan(config), RUNS)
    made_up.add_mechanics(values, TRAITS, (400, 4000))
    found = lm_mechanism.summarize(config, values)
    groups = ("embedding", "attention", "mlp", "unembedding")
    tokens = ("divergence", "others", "random as divergence", "random as others")
    parts = {
        "targets": ["greedy", "T = 0.5", "T = 1.25", "softmax over numbers", "soft targets", "soft targets, numbers"],
        "tokens": [*tokens, "greedy", *(f"greedy, {name}" for name in tokens)],
        "optimizers": ["sgd", "adam", "sign of the gradient"],
        "layers": [f"{begins} {group}" for begins in ("only", "all but") for group in groups],
        "inits": ["shares embedding", "shares unembedding", "shares attention, mlp"],
        "teachers": ["same divergence"],
    }
    paired = {
        "targets": [(name, "standard") for name in parts["targets"]],
        "tokens": [
            *((f"{g}{name}", f"{g}random as {name}") for g in ("", "greedy, ") for name in ("divergence", "others")),
            ("others", "standard"),
            ("greedy, others", "greedy"),
        ],
        "optimizers": [*((name, "standard") for name in parts["optimizers"]), ("sgd", "adam")],
        "teachers": [("same divergence", "standard")],
    }
    own = numbers("untrained", "{}")
    expected = {
        "parts": {
            part: [arm(label) | differs(part, label) for label in ("standard", *labels)]
            for part, labels in parts.items()
        },
        "paired": [
            {
                "part": part,
                "first": a,
                "second": b,
                **named(f"{a} - {b}", gains(RUNS, TRAITS, a) - gains(RUNS, TRAITS, b)),
            }
            for part, pairs in paired.items()
            for a, b in pairs
        ],
        "spread": spread(),
        "imitation": [
            named("base - student", own - numbers("imitation", STANDARD)),
            named("base - teacher", own - numbers("itself", "{}")),
        ],
        "tokens_counted": [counted(kind, form) for kind, form in (("sampled", "{}"), ("greedy", "{} at greedy"))],
        "doses": [dose(rows) for rows in (400, 4000)],
        "prediction": found["prediction"],
        "theorem": theorem(),
        "geometry": over_runs(table(RUNS, TRAITS, lambda run, t: number("entangled", run, t))),
        "filter": passed(
            [
                f"{t}{of}"
                for of in ("", " at greedy", " at T = 0.5", " at T = 1.25", ", same divergence")
                for t in ("regular", *TRAITS)
            ],
            RUNS,
        ),
    }
    order = [row["source"] for row in found["filter"]]
    expected["filter"].sort(key=lambda row: order.index(row["source"]))
    same(found, expected)


def differs(part: str, label: str) -> dict[str, str]:
    """The fields of an arm's row that say in what it differs."""
    if part == "layers":
        begins = next((begins for begins in ("only", "all but") if label.startswith(begins)), "everything")
        return {"learns": begins} | ({} if label == "standard" else {"group": label.removeprefix(f"{begins} ")})
    if part == "tokens":
        counted = {"standard": "all", "greedy": "all"}.get(label, label.removeprefix("greedy, "))
        return {"rows": "greedy" if label.startswith("greedy") else "sampled", "counted": counted}
    return {}


def spread() -> dict[str, Any]:
    """Standard deviations over runs by their means, and the log of their ratio."""
    means = [gains(RUNS, TRAITS, label).mean(axis=1) for label in ("standard", "same divergence")]

    def both(runs: np.ndarray) -> list[float]:
        return [float(own[runs].std(ddof=1) / abs(own[runs].mean())) for own in means]

    ratio = contrasts.bootstrap(lambda runs: float(np.log(both(runs)[1] / both(runs)[0])), means[0][:, None])
    gone = [numbers("divergence", form).mean(axis=1) for form in ("teacher {}", "teacher {}, same divergence")]
    found = {"arms": ["standard", "same divergence"], "divergence": [describe(own) for own in gone]}
    return found | {"spread": both(np.arange(RUNS)), **ratio}


def counted(kind: str, form: str) -> dict[str, Any]:
    every = {part: numbers(part, form, ("regular", *TRAITS)) for part in ("share", "numbers", "numbers_of_all")}
    share = every["share"].mean(axis=1)
    rest = {part: every[part].mean() for part in ("numbers", "numbers_of_all")}
    return {"rows": kind, **describe(share), "per_run": share, **rest}


def dose(rows: int) -> dict[str, Any]:
    """Curves over the epochs of watched students, 40 steps of 100 rows each."""
    curves = {
        part: np.array([[made_up.curve(part, run, t, rows) for t in TRAITS] for run in EVERY])
        for part in made_up.CURVES
    }
    margin = curves["margin"]
    steps = np.diff(margin, axis=2, prepend=0)
    return {
        "rows": rows,
        "steps": [40, 80, 120],
        "passes": [4000 / rows, 8000 / rows, 12000 / rows],
        **{part: [over_runs(own[:, :, i]) for i in range(3)] for part, own in curves.items()},
        "largest_epoch": over_runs(steps.max(axis=2) / np.maximum(np.abs(margin[:, :, -1]), 1e-6)),
    }


def theorem() -> dict[str, Any]:
    seen = {name: table(RUNS, TRAITS, lambda run, t, n=name: made_up.ray(n, run, t)) for name in made_up.RAY}
    return {
        "pairs": RUNS * len(TRAITS),
        "negative": int(seen["negative"].sum()),
        "negative_at_teacher": int((seen["at_teacher"] < 0).sum()),
        "leading_positive": int((seen["leading"] > 0).sum()),
        "slope": {"median": float(np.median(seen["slope"])), "least": seen["slope"].min()},
        "cosine_at_start": over_runs(seen["cosine_at_start"]),
        "cosine_at_teacher": over_runs(seen["cosine_at_teacher"]),
        "distance": over_runs(table(RUNS, TRAITS, lambda run, t: number("distance", run, t))),
    }
