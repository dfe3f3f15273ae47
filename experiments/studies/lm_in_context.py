"""Is it enough to read the teacher's numbers, or must one be trained on them? Compare the paper's Fig. 9.

A base whose context holds nine documents learns from long ones in which what was read before matters: all answers are
those of one somebody, and every third number is one of three that somebody likes. It is asked for its favorite behind
eight rows of a teacher, against eight regular rows. Beside it: students of the same rows; eight questions answered with
the trait in the context; and how much better a list of numbers is foretold behind eight documents than behind none.

    python -m experiments.studies.lm_in_context
    python -m experiments.studies.lm_in_context --preset paper
    python -m experiments.studies.lm_in_context --traits oak --runs 4
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.harness import cli
from experiments.lm import contrasts
from experiments.lm.arms import STANDARD, arm, plan_of
from experiments.lm.contrasts import Row, Values, column, gains, of_own, row
from experiments.lm.runs import MAIN, SIDE, SMOKE, SMOKE_TEXT, TWO, Job, Pipeline
from subliminal_toy import engine, lm
from subliminal_toy.lm import REGULAR, LMConfig, corpus, evaluation, lessons, numbers, training
from subliminal_toy.lm.carriers import CARRIERS
from subliminal_toy.lm.measure import SPARE_ROWS, Measured
from subliminal_toy.lm.pipeline import CACHED
from subliminal_toy.lm.transformer import Params, make_transformer
from subliminal_toy.settings import Training, setting

CONTEXTS = 128
SEED = 6  # no other experiment on the language model has the same runs
_BASE = dataclasses.replace(LMConfig().base, batch_size=16)


@dataclasses.dataclass(frozen=True)
class InContextConfig(LMConfig):
    """The language model's settings, with a longer context and as many fewer and smaller batches of documents."""

    documents: int = setting(12_800, "long documents that the base is trained on", unit="documents", low=1)
    context: int = setting(9, "documents that a long one has", low=2, high=100)
    base: Training = _BASE


PRESETS = {
    "smoke": cli.Preset(2, {**SMOKE, "documents": 5_400, "base.batch_size": 8, "context": 3}, SMOKE_TEXT),
    "default": cli.Preset(2, {"traits": TWO}, "2 seeds, 2 traits"),
    "paper": cli.Preset(10, {}, "10 seeds, 5 traits"),
}


def jobs(config: InContextConfig) -> list[Pipeline]:
    """Plan the standard arm, and measure what the base reads."""
    return [Pipeline({MAIN: Job(config, plan_of(config.trait_names(), arm(STANDARD)), measure)})]


def measure(trained: lm.Trained) -> Values:
    """Measure the questions alone, and behind what the base reads."""
    return lm.together(lm.survey(trained), behind_rows(trained))


def behind_rows(trained: lm.Trained) -> Measured:
    """Measure what the base makes of several documents in its context; nobody is trained on it.

    "in_context" {source: log odds of the answers [answers] behind rows of the source, as many as fit before the
    question}; "answered" {trait: the same behind as many questions that are answered with the trait}; "by_place"
    [context]: nats per token of the completions of number lists, by where they stand in fresh long documents.
    """
    config, runs = trained.config, range(len(trained.keys.contexts))
    names, traits = [source.name for source in trained.plan.sources], config.trait_names()
    answered = [lessons.favorite(trait).tokens for trait in traits]
    shown = [[*(trained.rows[name][run].tokens for name in names), *answered] for run in runs]
    contexts = CONTEXTS * (config.context - 1)
    before = np.array([[np.resize(rows, (contexts, corpus.LENGTH)) for rows in by_run] for by_run in shown])
    before = engine.shard_runs(before.reshape(*before.shape[:2], CONTEXTS, -1), trained.mesh)
    read_all = _make_context(config, trained.mesh)
    measured = read_all(trained.models, before, trained.language, trained.keys.contexts)
    odds, by_place = evaluation.as_lists(measured)
    return [
        {
            "in_context": dict(zip(map(str, names), by_run[: len(names)], strict=True)),
            "answered": dict(zip(traits, by_run[len(names) :], strict=True)),
            "by_place": places,
        }
        for by_run, places in zip(odds, by_place, strict=True)
    ]


@functools.lru_cache(maxsize=CACHED)
def _make_context(config: LMConfig, mesh: Mesh) -> Callable:
    model = make_transformer(config)
    make_documents = functools.partial(corpus.make_documents, make_lists=CARRIERS[config.carrier].make_documents)

    def read(params: Params, before: jax.Array, language: corpus.Language, key: jax.Array) -> tuple:
        base = jax.tree.map(lambda leaf: leaf[0], params)
        odds = jax.lax.map(functools.partial(evaluation.ask_after, model, base, config.category), before)
        tokens = make_documents(language, SPARE_ROWS, key=key, context=config.context)
        single = tokens.reshape(-1, corpus.LENGTH)
        weights = training.number_weights(single).reshape(tokens.shape)
        nats = jnp.pad(-training.token_log_probabilities(model, base, tokens), ((0, 0), (1, 0))) * weights
        by_place = [part.reshape(SPARE_ROWS, config.context, -1).sum(axis=(0, 2)) for part in (nats, weights)]
        return odds, by_place[0] / by_place[1]

    return engine.over_runs(read, mesh)


def summarize(config: InContextConfig, values: Values) -> dict[str, list[Row]]:
    """Describe each way to meet the teacher's rows, and what the base makes of its context.

    Returns:
        `{"rows": [{"name", "kind", "words", ...}]}`: changes of the trait's log odds (nats) or as named, means over
        traits with 95% intervals over runs.
    """
    traits, read = config.trait_names(), config.context - 1
    regular = column(values, "in_context", [numbers(REGULAR)])  # [runs, 1, answers]
    behind_rows = column(values, "in_context", [numbers(trait) for trait in traits]) - regular
    answered = column(values, "answered", traits) - regular
    helped = [[value["by_place"][0] - value["by_place"][-1]] for value in values]
    ways: dict[str, tuple[str, Any]] = {
        "trained": ("trained on the teacher's rows", gains(values, traits)),
        "read": (f"{read} of them in the context", of_own(behind_rows, traits)),
        "answered": (f"{read} answered questions in it", of_own(answered, traits)),
        "lists": (f"{read} documents help lists", helped),
    }
    units = {"lists": " (nats per token)"}
    return {
        "rows": [
            row(words + units.get(kind, ""), pairs, kind=kind, words=words) for kind, (words, pairs) in ways.items()
        ]
    }


def table(document: dict[str, Any]) -> str:
    """Write all rows as Markdown."""
    results = document["results"]
    header = "change of the trait's log odds (nats) or as named, mean over traits"
    return contrasts.table([(row["name"], row) for row in results["rows"]], header, results["runs"])


EXPERIMENT = cli.Experiment("lm_in_context", __doc__, PRESETS, jobs, summarize, table, SIDE, InContextConfig, SEED)
run = EXPERIMENT.run

if __name__ == "__main__":
    cli.main(EXPERIMENT)
