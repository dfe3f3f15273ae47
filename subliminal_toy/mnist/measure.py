"""Measure trained networks: their accuracy on test images, and what one network answers."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.mnist import losses, models
from subliminal_toy.mnist.config import Config
from subliminal_toy.mnist.data import Dataset
from subliminal_toy.mnist.models import Model, Params
from subliminal_toy.mnist.protocol import Trained


def accuracies(trained: Trained, dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the test accuracy of each network, by name, [runs]."""
    measure = functools.partial(accuracy, trained.config, dataset, model=trained.model)
    start, teacher = (jax.tree.map(lambda leaf: leaf[:, None], p) for p in (trained.reference, trained.teacher))
    columns = [measure(params) for params in (start, teacher, trained.students)]
    by_name = dict(zip(trained.names(), np.concatenate(columns, axis=1).T, strict=True))
    for name, wrap in ((c.name, c.intervention.model) for c in trained.conditions):
        if wrap is not None:
            params, inputs = (
                jax.tree.map(lambda leaf: leaf[:, None], tree) for tree in (trained.params(name), trained.inputs[name])
            )
            by_name[name] = measure(params, wrap, inputs)[:, 0]
    return by_name


def accuracy(
    config: Config,
    dataset: Dataset,
    params: Any,
    wrap: Callable[[Callable], Callable] | None = None,
    inputs: Any = (),
    *,
    model: Model | None = None,
) -> np.ndarray:
    """Return the share of correctly classified test images, [runs, models], of params [runs, models, ...].

    The models may be the epochs of a `Trained.history`. `wrap` and `inputs` [runs, models, ...] are those of an
    intervention that changes the model; `model` is that of `train`.
    """
    mesh = engine.mesh_for(jax.tree.leaves(params)[0].shape[0])
    model = model or models.make_mlp(config, dataset.train_images.shape[1])
    evaluate = _make_evaluate(model.apply, config.classes, mesh, wrap)
    test = engine.replicate((dataset.test_images, dataset.test_labels), mesh)
    return np.asarray(evaluate(test, engine.shard_runs(params, mesh), engine.shard_runs(inputs, mesh)))


def logits(config: Config, params: Params, images: jax.Array) -> jax.Array:
    """Return the logits [n, logits] of one network [...] for images [n, pixels] in [-1, 1], class logits first."""
    return models.make_mlp(config, images.shape[-1]).apply(params, jnp.asarray(images))


@functools.lru_cache(maxsize=8)
def _make_evaluate(apply: Callable, classes: int, mesh: Mesh, wrap: Callable[[Callable], Callable] | None) -> Callable:
    """Return the function to test accuracies of the models of each run, [runs, models]."""
    answer = wrap(apply) if wrap else lambda params, images, _inputs: apply(params, images)

    def evaluate(test: tuple[jax.Array, jax.Array], params: Any, inputs: Any) -> jax.Array:
        images, labels = test
        return jax.vmap(lambda one, given: losses.accuracy(answer(one, images, given), labels, classes))(params, inputs)

    return engine.over_runs(evaluate, mesh, shared=1)
