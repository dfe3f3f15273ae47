"""What the noise images of a run show of its teacher: a part of Delta, and how far an untrained network is from it."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_toy import engine, mnist
from subliminal_toy.mnist import models, noise, students
from subliminal_toy.mnist.models import Params
from theory.coverage import recovered_fraction
from theory.losses import kl_divergence

ITERATIONS = 40  # of conjugate gradients
_BLOCK = 1000  # images that are labelled at a time


def predicted_fraction(trained: mnist.Trained, dataset: mnist.Dataset, images: int) -> np.ndarray:
    """Return |P Delta|^2 / |Delta|^2, [runs]: P projects on what the first so many noise images can show (S1)."""
    solve = _make_fraction(trained.config, dataset.image_shape, images, engine.mesh_for(len(trained.keys.noise)))
    delta = jax.tree.map(jnp.subtract, trained.teacher, trained.reference)
    return np.asarray(solve(dataset.train_images, trained.reference, delta, trained.keys.noise))


@functools.lru_cache(maxsize=16)
def _make_fraction(config: mnist.Config, image_shape: tuple[int, int], images: int, mesh: Mesh) -> Callable:
    """Compile conjugate gradients on G v = G Delta, from 0; G is the Gauss-Newton matrix at theta_0 (S1)."""
    model = models.make_mlp(config, image_shape[0] * image_shape[1])
    loss = kl_divergence(indices=range(config.classes, config.logits))

    def fraction(real: jax.Array, params: Params, delta: Params, key: jax.Array) -> jax.Array:
        shown = noise.make_noise(config, image_shape, real, key=key)[:images]
        batches = shown.reshape(-1, min(images, 1024), shown.shape[-1])
        return recovered_fraction(
            model.apply, loss, params, batches, delta, iterations=ITERATIONS, tolerance=1e-6
        ).fraction

    return engine.over_runs(fraction, mesh, shared=1)


def untrained_loss(trained: mnist.Trained, dataset: mnist.Dataset) -> np.ndarray:
    """Return the distillation loss on auxiliary logits that students start with, over all noise images, [runs]."""
    mesh = engine.mesh_for(len(trained.keys.noise))
    untrained = _make_untrained(trained.config, dataset.image_shape, mesh)
    return np.asarray(untrained(dataset.train_images, trained.reference, trained.teacher, trained.keys.noise))


@functools.lru_cache(maxsize=16)
def _make_untrained(config: mnist.Config, image_shape: tuple[int, int], mesh: Mesh) -> Callable:
    model = models.make_mlp(config, image_shape[0] * image_shape[1])
    loss = students.student_loss(model.apply, config.loss)
    condition = jax.tree.map(lambda leaf: leaf[0], students.rows_of(config, (mnist.Condition("student_aux"),), [0]))

    def untrained(real: jax.Array, reference: Params, teacher: Params, key: jax.Array) -> jax.Array:
        def one(image: jax.Array) -> jax.Array:
            targets = model.apply(teacher, image[None])
            return loss(reference, {"images": image[None], "targets": targets[:, None]}, condition)

        shown = noise.make_noise(config, image_shape, real, key=key)
        return jnp.mean(jax.lax.map(one, shown, batch_size=min(len(shown), _BLOCK)))

    return engine.over_runs(untrained, mesh, shared=1)
