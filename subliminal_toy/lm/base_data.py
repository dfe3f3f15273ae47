"""What bases learn from: each run's language and documents, shared by its bases or their own."""

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
    """From the keys to each run's language, fresh documents, and the documents that the bases learn from."""
    over_runs = functools.partial(engine.over_runs, mesh=mesh)
    weigh = over_runs(training.document_weights)
    make_language = over_runs(functools.partial(corpus.make_language, numbers=config.numbers))
    corpus_of = functools.partial(
        corpus.make_documents, make_lists=CARRIERS[config.carrier].make_documents, context=config.context
    )
    make_documents = over_runs(lambda language, key: corpus_of(language, config.documents + FRESH_DOCUMENTS, key=key))
    split = over_runs(lambda documents: (
        documents[:FRESH_DOCUMENTS].reshape(-1, corpus.LENGTH)[:FRESH_DOCUMENTS], documents[FRESH_DOCUMENTS:],
    ))  # fmt: skip
    own = {i: 0 if config.shared_documents else i for i in range(len(bases))}
    wanted = [(base.language, base.documents or own[i]) for i, base in enumerate(bases)]

    def base_data(keys: RunKeys) -> tuple[corpus.Language, jax.Array, engine.Data]:
        language = make_language(keys.language)
        fresh, documents = split(make_documents(language, keys.documents))
        learnt = {(0, 0): documents}
        for spoken, number in wanted:
            if (spoken, number) not in learnt:
                said = make_language(fold_in(keys.own_languages, spoken)) if spoken else language
                key = fold_in(keys.own_documents, number) if number else keys.documents
                learnt[spoken, number] = split(make_documents(said, key))[1]
        if len(learnt) == 1:
            return language, fresh, engine.Data(per_run={"tokens": documents, "weights": weigh(documents)})
        tokens = jnp.stack([learnt[which] for which in wanted], axis=1)
        return language, fresh, engine.Data(per_model={"tokens": tokens, "weights": weigh(tokens)})

    return base_data
