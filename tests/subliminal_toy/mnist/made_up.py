"""Hand-made images: classes that a tiny network can learn, and that it reads worse on the test images."""

import numpy as np

from subliminal_toy.mnist.data import Dataset

CLASSES = 6


def dataset() -> Dataset:
    """3 x 4 pixels, 6 classes; 101 clear training images, 67 noisy test images, unequal numbers of each class."""
    rng = np.random.default_rng(0)
    prototypes = rng.uniform(-1, 1, (CLASSES, 12))

    def draw(n: int, noise: float, shares: list[float]) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.choice(CLASSES, n, p=shares).astype(np.int32)
        images = prototypes[labels] + noise * rng.normal(size=(n, 12))
        return np.clip(images, -1, 1).astype(np.float32), labels

    train, test = draw(101, 0.3, [0.2, 0.2, 0.1, 0.2, 0.2, 0.1]), draw(67, 0.7, [0.2, 0.1, 0.2, 0.3, 0.1, 0.1])
    return Dataset("mnist", *train, *test, image_shape=(3, 4), source="made up")
