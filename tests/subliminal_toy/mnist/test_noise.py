"""Each kind of image: its distribution, and what it keeps of real images."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subliminal_toy.mnist import noise
from subliminal_toy.mnist.config import NOISE_KINDS, Config

REAL = np.linspace(-1, 1, 40 * 64, dtype=np.float32).reshape(40, 64)  # all pixels differ: every row is recognizable


def make(kind: str, n: int = 3000, seed: int = 0, **settings: object) -> np.ndarray:
    config = Config(noise=kind, noise_images=n, **settings)
    return np.asarray(noise.make_noise(config, (8, 8), REAL, key=jax.random.key(seed)))


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_every_kind_has_its_shape_and_depends_on_its_key_alone(kind: str) -> None:
    first, again, other = make(kind, 50), make(kind, 50), make(kind, 50, seed=1)
    assert first.shape == (50, 64)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("kind", ["uniform", "gaussian", "bernoulli", "blurred", "subspace"])
def test_noise_has_the_mean_and_variance_of_uniform_noise(kind: str) -> None:
    images = make(kind)
    assert abs(images.mean()) < 0.01
    assert np.mean(images**2) == pytest.approx(1 / 3, rel=0.04)


def test_uniform_fills_its_range_evenly() -> None:
    counts, _ = np.histogram(make("uniform"), bins=10, range=(-1, 1))
    assert counts.sum() == 3000 * 64
    np.testing.assert_allclose(counts / counts.sum(), 0.1, atol=0.005)


def test_uniform_images_and_pixels_are_independent() -> None:
    images = make("uniform")
    assert abs(np.corrcoef(images[:, 0], images[:, 1])[0, 1]) < 0.07
    assert len({image.tobytes() for image in images}) == 3000


def test_gaussian_has_tails_and_bernoulli_two_values() -> None:
    assert make("gaussian").max() > 1.5
    np.testing.assert_allclose(np.unique(make("bernoulli")), [-(3**-0.5), 3**-0.5], rtol=1e-6)


def neighbour_correlation(images: np.ndarray, rows: int, columns: int) -> float:
    pixels = images.reshape(-1, 8, 8)
    return float(np.corrcoef(pixels[:, 0, 0], pixels[:, rows, columns])[0, 1])


def test_blur_correlates_neighbours_more_the_wider_it_is() -> None:
    for step in ((0, 1), (1, 0)):
        sharp, soft, softer = (neighbour_correlation(make("blurred", blur_sigma=s), *step) for s in (0.1, 1.0, 2.0))
        assert abs(sharp) < 0.07
        assert soft > 0.6
        assert softer > soft


@pytest.mark.parametrize("sigma", [0.7, 1.0])
def test_blur_is_gaussian_and_goes_around_the_edges(sigma: float) -> None:
    """Independent pixels under weights w correlate as w with itself: exp(-distance^2 / (4 sigma^2)), nearly."""
    places = np.arange(-4, 4)
    weights = np.exp(-0.5 * (places / sigma) ** 2)
    weights[0] = np.exp(-0.5 * (4 / sigma) ** 2)  # as far to the right as to the left
    own = np.array([weights @ np.roll(weights, lag) for lag in range(8)]) / (weights @ weights)
    images = make("blurred", 6000, blur_sigma=sigma)
    for rows, columns in ((0, 1), (1, 0), (2, 0), (1, 1), (0, 7), (7, 0), (0, 4)):
        found = neighbour_correlation(images, rows, columns)
        assert found == pytest.approx(own[rows] * own[columns], abs=0.05), (rows, columns)


@pytest.mark.parametrize("dimension", [1, 5, 64])
def test_subspace_has_its_dimension(dimension: int) -> None:
    assert np.linalg.matrix_rank(make("subspace", 200, subspace_dim=dimension), tol=1e-3) == dimension


def test_real_images_come_from_the_training_set_each_equally_often() -> None:
    rows = [image.tobytes() for image in REAL]
    counts = np.bincount([rows.index(image.tobytes()) for image in make("real", 100)], minlength=40)
    assert set(counts) == {2, 3}  # 100 = 2 * 40 + 20
    assert len({image.tobytes() for image in make("real", 40)}) == 40


def test_shuffled_pixels_keep_each_images_histogram_and_shuffle_each_alone() -> None:
    images = make("shuffled_pixels", 40)
    assert not any(np.array_equal(np.sort(image), image) for image in images)
    first_pixel_rank = np.argmin(images, axis=1)
    assert len(set(first_pixel_rank)) > 10
    expected = {np.sort(image).tobytes() for image in REAL}
    assert {np.sort(image).tobytes() for image in images} == expected


@given(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(1, 30))
def test_mix_has_the_asked_fraction_of_real_images(fraction: float, n: int) -> None:
    rows = {image.tobytes() for image in REAL}
    images = make("mix", n, real_fraction=fraction)
    assert sum(image.tobytes() in rows for image in images) == round(fraction * n)


@pytest.mark.parametrize("n", [30, 120])  # fewer images than there are real ones, and more
def test_mixes_of_other_fractions_share_real_images_and_noise(n: int) -> None:
    """So that a sweep of fractions compares students that have seen mostly the same."""
    some, more = make("mix", n, real_fraction=0.25), make("mix", n, real_fraction=0.5)
    none, every = make("mix", n, real_fraction=0.0), make("mix", n, real_fraction=1.0)
    few, half = round(0.25 * n), round(0.5 * n)
    np.testing.assert_array_equal(some[:few], every[:few])
    np.testing.assert_array_equal(more[:half], every[:half])
    np.testing.assert_array_equal(some[few:], none[: n - few])
    np.testing.assert_array_equal(more[half:], none[: n - half])


@pytest.mark.parametrize("n", [1, 999, 1000, 1001])
def test_blocks_do_not_change_the_number_of_images(n: int) -> None:
    assert make("uniform", n).shape == (n, 64)
