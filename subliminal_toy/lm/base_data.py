"""The documents that bases are trained on: each run's language and text, shared by its bases or separate."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.lm import corpus, training
from subliminal_toy.lm.carriers import CARRIERS
from subliminal_toy.lm.config import LMConfig
from subliminal_toy.lm.keys import RunKeys, fold_in
from subliminal_toy.lm.plan import Base

FRESH_DOCUMENTS = 512


@functools.lru_cache(maxsize=64)
def make_base_data(config: LMConfig, mesh: Mesh, bases: tuple[Base, ...]) -> Callable:
    """Return a function from keys to each run's language, its fresh documents, and the data of its bases."""
    over_runs = functools.partial(engine.over_runs, mesh=mesh)
    weigh = over_runs(training.document_weights)
    make_language = over_runs(functools.partial(corpus.make_language, numbers=config.numbers))
    corpus_of = functools.partial(
        corpus.make_documents, make_lists=CARRIERS[config.carrier].make_documents, context=config.context
    )
    make_documents = over_runs(lambda language, key: corpus_of(language, config.documents + FRESH_DOCUMENTS, key=key))
    split = over_runs(_split)
    default = {i: 0 if config.shared_documents else i for i in range(len(bases))}
    streams = [(base.language, base.documents or default[i]) for i, base in enumerate(bases)]

    def extra_stream(keys: RunKeys, language: corpus.Language, which: int, number: int) -> tuple:
        language = make_language(fold_in(keys.extra_languages, which)) if which else language
        return language, fold_in(keys.extra_documents, number) if number else keys.documents

    def base_data(keys: RunKeys) -> tuple[corpus.Language, jax.Array, engine.Data]:
        language = make_language(keys.language)
        fresh, documents = split(make_documents(language, keys.documents))
        corpora = {(0, 0): documents}
        for stream in streams:
            if stream not in corpora:
                corpora[stream] = split(make_documents(*extra_stream(keys, language, *stream)))[1]
        if len(corpora) == 1:
            return language, fresh, engine.Data(per_run={"tokens": documents, "weights": weigh(documents)})
        tokens = jnp.stack([corpora[stream] for stream in streams], axis=1)
        return language, fresh, engine.Data(per_model={"tokens": tokens, "weights": weigh(tokens)})

    return base_data


def _split(documents: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Split off fresh documents of LENGTH tokens, which no base is trained on."""
    return documents[:FRESH_DOCUMENTS].reshape(-1, corpus.LENGTH)[:FRESH_DOCUMENTS], documents[FRESH_DOCUMENTS:]
