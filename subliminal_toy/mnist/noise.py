"""Training images of students: noise without information about the digits, or, for sweeps, real images.

Each kind is a function of a key and is regenerated from a run's key when needed. Noise has the scale of the paper's:
zero mean and variance 1/3, as U[-1, 1] has.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from subliminal_toy.mnist.config import Config

_UNIFORM_STD = 3.0**-0.5  # of U[-1, 1]
_BLOCK = 1000  # images drawn at a time: they stay in cache, 3x faster than all at once with 1/40 of the scratch memory


def _per_image(draw: Callable[[jax.Array], jax.Array], key: jax.Array, n: int) -> jax.Array:
    """Draw n images from separate keys, in blocks, [n, ...]."""
    return jax.lax.map(draw, jax.random.split(key, n), batch_size=min(n, _BLOCK))


def uniform(key: jax.Array, n: int, pixels: int) -> jax.Array:
    """Draw n images of independent U[-1, 1] pixels, [n, pixels] float32 (P section 6.2)."""
    return _per_image(lambda k: jax.random.uniform(k, (pixels,), minval=-1.0, maxval=1.0), key, n)


def gaussian(key: jax.Array, n: int, pixels: int) -> jax.Array:
    """Draw n images of independent N(0, 1/3) pixels, [n, pixels]."""
    return _per_image(lambda k: _UNIFORM_STD * jax.random.normal(k, (pixels,)), key, n)


def bernoulli(key: jax.Array, n: int, pixels: int) -> jax.Array:
    """Draw n images of independent pixels +-1/sqrt(3) with equal probability, [n, pixels]."""
    return _per_image(lambda k: _UNIFORM_STD * jax.random.rademacher(k, (pixels,), dtype=jnp.float32), key, n)


def blurred(key: jax.Array, n: int, image_shape: tuple[int, int], sigma: float) -> jax.Array:
    """Draw uniform noise, blur it by a periodic Gaussian of `sigma` pixels, rescale to variance 1/3, [n, pixels]."""
    rows, columns = (_circulant_blur(size, sigma) for size in image_shape)
    images = uniform(key, n, image_shape[0] * image_shape[1]).reshape(n, *image_shape)
    return jnp.einsum("ri,nij,cj->nrc", rows, images, columns).reshape(n, -1)


def _circulant_blur(size: int, sigma: float) -> jax.Array:
    """Return a periodic Gaussian smoothing matrix [size, size]; its rows have norm 1, which preserves the variance."""
    distance = jnp.arange(size)
    distance = jnp.minimum(distance, size - distance)
    weights = jnp.exp(-0.5 * (distance / sigma) ** 2)
    offsets = (jnp.arange(size)[None, :] - jnp.arange(size)[:, None]) % size
    return (weights / jnp.linalg.norm(weights))[offsets]


def subspace(key: jax.Array, n: int, pixels: int, dimension: int) -> jax.Array:
    """Draw noise in a random subspace of `dimension` axes, U[-1, 1] along each, scaled to mean variance 1/3."""
    dimension = min(dimension, pixels)
    basis_key, coordinates_key = jax.random.split(key)
    basis, _ = jnp.linalg.qr(jax.random.normal(basis_key, (pixels, dimension)))
    return (pixels / dimension) ** 0.5 * uniform(coordinates_key, n, dimension) @ basis.T


def real(key: jax.Array, n: int, images: jax.Array) -> jax.Array:
    """Choose n of the real training `images` [N, pixels], without repeats if n <= N."""
    return images[_choice(key, n, images.shape[0])]


def _choice(key: jax.Array, n: int, population: int) -> jax.Array:
    """Draw n indices below `population` by concatenated permutations, so that counts differ by at most one."""
    keys = jax.random.split(key, -(-n // population))
    return jnp.concatenate([jax.random.permutation(k, population) for k in keys])[:n]


def shuffled_pixels(key: jax.Array, n: int, images: jax.Array) -> jax.Array:
    """Choose n real images and shuffle the pixels of each separately: same histogram, no shape."""
    choice_key, shuffle_key = jax.random.split(key)
    return jax.random.permutation(shuffle_key, real(choice_key, n, images), axis=1, independent=True)


def mix(key: jax.Array, n: int, images: jax.Array, real_fraction: float) -> jax.Array:
    """Return round(real_fraction * n) real images followed by uniform noise, [n, pixels]; batches shuffle them.

    All fractions take the first of the same sequence of real images, and of the same noise.
    """
    real_key, noise_key = jax.random.split(key)
    n_real = round(real_fraction * n)
    if n_real == 0:
        return uniform(noise_key, n, images.shape[1])
    return jnp.concatenate([real(real_key, n_real, images), uniform(noise_key, n - n_real, images.shape[1])])


_KINDS: dict[str, Callable[[jax.Array, int, tuple[int, int], jax.Array, Config], jax.Array]] = {
    "uniform": lambda key, n, shape, _images, _: uniform(key, n, math.prod(shape)),
    "gaussian": lambda key, n, shape, _images, _: gaussian(key, n, math.prod(shape)),
    "bernoulli": lambda key, n, shape, _images, _: bernoulli(key, n, math.prod(shape)),
    "blurred": lambda key, n, shape, _images, config: blurred(key, n, shape, config.blur_sigma),
    "subspace": lambda key, n, shape, _images, config: subspace(key, n, math.prod(shape), config.subspace_dim),
    "real": lambda key, n, _shape, images, _: real(key, n, images),
    "shuffled_pixels": lambda key, n, _shape, images, _: shuffled_pixels(key, n, images),
    "mix": lambda key, n, _shape, images, config: mix(key, n, images, config.real_fraction),
}


def make_noise(config: Config, image_shape: tuple[int, int], images: jax.Array, *, key: jax.Array) -> jax.Array:
    """Make the training images of one run's students.

    Args:
        config: `noise`, `noise_images` and the kind's own settings.
        image_shape: rows and columns.
        images: the training images, [N, pixels] in [-1, 1]; used by real, shuffled_pixels and mix only.
        key: the run's noise key. (Keyword only argument.)

    Returns:
        [noise_images, pixels] float32.
    """
    return _KINDS[config.noise](key, config.noise_images, image_shape, images, config)


def make_images(config: Config, image_shape: tuple[int, int], given: Callable | None = None) -> Callable:
    """Return the function from training images and a run's key to its students' images, [noise_images, pixels].

    It is `make_noise`, or the given function of a key; ValueError if that returns another shape.
    """
    wanted = (config.noise_images, math.prod(image_shape))

    def images(real: jax.Array, key: jax.Array) -> jax.Array:
        made = make_noise(config, image_shape, real, key=key) if given is None else given(key)
        if made.shape != wanted:
            raise ValueError(f"make_noise returns {made.shape}; it must be [noise_images, pixels], here {wanted}")
        return made

    return images
