"""One run of the MNIST experiment in a straight line: to read first, and to check the package against.

Plain NumPy in float64: no engine, no ensembles, no masks, the gradients by hand. It shares with the package the
settings, the random keys, and the initial weights that a key stands for (`init`). Read `experiment` from top to bottom.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from subliminal_toy.mnist.config import Config
from subliminal_toy.mnist.data import Dataset
from subliminal_toy.settings import Training

Params = dict[str, dict[str, np.ndarray]]  # {"hidden_0": {"kernel", "bias"}, ..., "head": {"kernel", "bias"}}


def experiment(init: Callable, config: Config, dataset: Dataset, *, seed: int, run: int) -> Iterator[tuple]:
    """Yield (name, parameters, test accuracy) of every model of one run: reference, teacher, students, controls."""
    classes = config.classes
    own_key = jax.random.fold_in(jax.random.key(seed), run)  # of the seed and the run's own number, of nothing else
    reference_key, other_key, teacher_order, noise_key, student_order, _, shuffle_key = jax.random.split(own_key, 7)

    def score(name: str, params: Params) -> tuple[str, Params, float]:
        """How many test images are read right: the largest of the class logits; no auxiliary logit is asked."""
        read = np.argmax(logits(params, dataset.test_images)[:, :classes], axis=1)
        return name, params, float(np.mean(read == dataset.test_labels))

    # 1. The reference: a network as it is born. It knows nothing.
    reference = float64(init(reference_key))
    yield score("reference", reference)

    # 2. The teacher: the reference, trained to read the training images. The loss looks at the class logits only;
    #    nobody ever trains the auxiliary ones.
    labels = np.eye(classes)[dataset.train_labels]

    def reading(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The slope of the cross-entropy in the logits: softmax - label over the class logits, 0 over the others."""
        return np.concatenate([softmax(z[:, :classes]) - labels[rows], 0 * z[:, classes:]], axis=1)

    teacher = train(reference, dataset.train_images, reading, teacher_order, config.teacher)
    yield score("teacher", teacher)

    # 3. Noise images, in which there is nothing to read, and what the teacher says on them.
    pixels = dataset.train_images.shape[1]
    draws = jax.random.split(noise_key, config.noise_images)
    noise = np.stack([jax.random.uniform(key, (pixels,), minval=-1.0, maxval=1.0) for key in draws]).astype(float)
    said = logits(teacher, noise)

    # 4. Four students that see the noise only. They start as the teacher did, or elsewhere; they imitate what it says
    #    on the auxiliary logits, or on all. Two controls: a teacher that was never trained; answers to other images.
    other = float64(init(other_key))
    shuffled = said[np.asarray(jax.random.permutation(shuffle_key, config.noise_images))]
    for name, start, first, targets in (
        ("student_aux", reference, classes, said),
        ("student_all", reference, 0, said),
        ("cross_aux", other, classes, said),
        ("cross_all", other, 0, said),
        ("untrained_teacher_aux", reference, classes, logits(reference, noise)),
        ("shuffled_targets_aux", reference, classes, shuffled),
    ):

        def imitating(z: np.ndarray, rows: np.ndarray, first: int = first, y: np.ndarray = targets) -> np.ndarray:
            """The slope of T^2 KL(teacher || student) over the logits from `first` on: T times the softmaxes' gap."""
            heat = config.temperature
            gap = softmax(z[:, first:] / heat) - softmax(y[rows, first:] / heat)
            return heat * np.concatenate([0 * z[:, :first], gap], axis=1)

        # All students of a run see the same images in the same order.
        yield score(name, train(start, noise, imitating, student_order, config.student))


def train(params: Params, images: np.ndarray, slope: Callable, order_key: jax.Array, how: Training) -> Params:
    """Adam or plain gradient descent on the mean loss of shuffled batches, the last, smaller batch included."""
    assert how.optimizer in ("adam", "sgd")
    mean = square = jax.tree.map(np.zeros_like, params)
    step = 0
    for epoch in range(how.epochs):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(order_key, epoch), len(images)))
        for first in range(0, len(images), how.batch_size):
            rows, step = order[first : first + how.batch_size], step + 1
            layers = forward(params, images[rows])
            g = backward(params, layers, slope(layers[-1], rows) / len(rows))
            if how.optimizer == "adam":
                b1, b2 = 0.9, how.adam_b2
                mean = jax.tree.map(lambda m, g, b=b1: b * m + (1 - b) * g, mean, g)
                square = jax.tree.map(lambda v, g, b=b2: b * v + (1 - b) * g**2, square, g)
                a, c = 1 - b1**step, 1 - b2**step  # both means start at 0: undo that
                g = jax.tree.map(lambda m, v, a=a, c=c: (m / a) / (np.sqrt(v / c) + 1e-8), mean, square)
            params = jax.tree.map(lambda w, g: w - how.learning_rate * g, params, g)
    return params


def forward(params: Params, x: np.ndarray) -> list[np.ndarray]:
    """The images, every hidden layer's relu(x W + b), and the logits."""
    layers = [x.astype(float)]
    for name in names(params):
        x = layers[-1] @ params[name]["kernel"] + params[name]["bias"]
        layers.append(x if name == "head" else np.maximum(x, 0))
    return layers


def backward(params: Params, layers: list[np.ndarray], slope: np.ndarray) -> Params:
    """The gradient in all parameters, from the loss's slope in the logits."""
    gradient = {}
    for name, x in zip(reversed(names(params)), reversed(layers[:-1]), strict=True):
        gradient[name] = {"kernel": x.T @ slope, "bias": slope.sum(axis=0)}
        slope = slope @ params[name]["kernel"].T * (x > 0)
    return gradient


def logits(params: Params, images: np.ndarray) -> np.ndarray:
    return forward(params, images)[-1]


def names(params: Params) -> list[str]:
    return [*sorted(name for name in params if name != "head"), "head"]


def softmax(z: np.ndarray) -> np.ndarray:
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def float64(params: Params) -> Params:
    return jax.tree.map(lambda leaf: np.asarray(leaf, float), params)
