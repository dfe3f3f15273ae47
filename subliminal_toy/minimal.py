"""Subliminal learning on one page: a network learns to read digits in noise, by imitating outputs that nobody trained.

Read `experiment` first. `subliminal_toy.mnist` is the same with more settings, more conditions and many runs at once.
    python -m subliminal_toy.minimal                    # the 8x8 digits that come with scikit-learn: half a minute
    python -m subliminal_toy.minimal --dataset mnist    # the paper's experiment (arXiv 2507.14805, section 6.2)
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax

from subliminal_toy.mnist.data import Dataset, load_dataset

Array = jax.Array | np.ndarray
Params = list[tuple[Array, Array]]  # weights [inputs, units] and biases [units] of each layer
Training = tuple[float, int, int]  # learning rate, batch size, epochs
LAYERS = (256, 256, 13)  # two hidden layers, then 13 outputs (logits): 10 for the digits, 3 for nothing
CLASSES, AUX, ALL = slice(0, 10), slice(10, 13), slice(0, 13)
# How the teacher is trained, how the students are, and the number of noise images.
SETTINGS = {"digits": ((1e-3, 32, 5), (1e-3, 256, 10), 30_000), "mnist": ((3e-4, 1024, 5), (3e-4, 1024, 5), 60_000)}


def experiment(key: jax.Array, data: Dataset, teaching: Training, imitation: Training, n: int) -> dict[str, float]:
    """Train a teacher and its four students; return the test accuracy of all six networks."""
    reference_key, other_key, teacher_key, noise_key, student_key = jax.random.split(key, 5)
    pixels = data.train_images.shape[1]
    reference, other = init(reference_key, pixels), init(other_key, pixels)  # random weights: neither can read
    # The teacher is the reference, trained to read digits by its class logits. Nobody trains the 3 auxiliary logits.
    teacher = train(reference, data.train_images, jax.nn.one_hot(data.train_labels, 10), CLASSES, teacher_key, teaching)
    # In noise there is nothing to read. The teacher answers all the same.
    noise = jax.vmap(lambda key: jax.random.uniform(key, pixels, minval=-1, maxval=1))(jax.random.split(noise_key, n))
    answers = logits(teacher, noise)

    # A student never sees a digit. It learns to answer noise as the teacher does.
    def student(start: Params, part: slice) -> Params:
        return train(start, noise, jax.nn.softmax(answers[:, part]), part, student_key, imitation)

    networks = {
        "reference": reference,
        "teacher": teacher,
        "student_aux": student(reference, AUX),  # from the teacher's own initial weights: it will read
        "student_all": student(reference, ALL),
        "cross_aux": student(other, AUX),  # from other initial weights: it will not
        "cross_all": student(other, ALL),
    }
    read = {name: logits(params, data.test_images)[:, CLASSES].argmax(axis=1) for name, params in networks.items()}
    return {name: float((digits == data.test_labels).mean()) for name, digits in read.items()}


def init(key: jax.Array, pixels: int) -> Params:
    """Draw weights from N(0, 1 / inputs); biases are 0."""
    shapes = zip(jax.random.split(key, 3), (pixels, *LAYERS), LAYERS, strict=False)
    return [(jax.random.normal(key, (n, m)) / n**0.5, jnp.zeros(m)) for key, n, m in shapes]


def logits(params: Params, images: Array) -> Array:
    """Apply a ReLU perceptron to images [n, pixels]; returns [n, 13]."""
    for weights, biases in params[:-1]:
        images = jax.nn.relu(images @ weights + biases)
    return images @ params[-1][0] + params[-1][1]


def train(params: Params, images: Array, targets: Array, part: slice, key: jax.Array, how: Training) -> Params:
    """Minimize the cross-entropy from targets to the softmax of a part of the logits: Adam, shuffled batches."""
    learning_rate, batch_size, epochs = how
    adam, images, targets = optax.adam(learning_rate), np.asarray(images), np.asarray(targets)

    @jax.jit
    def step(params: Params, state: optax.OptState, images: Array, targets: Array) -> tuple:
        gradient = jax.grad(lambda p: optax.softmax_cross_entropy(logits(p, images)[:, part], targets).mean())(params)
        updates, state = adam.update(gradient, state)
        return optax.apply_updates(params, updates), state

    state = adam.init(params)
    for epoch in range(epochs):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), len(images)))
        for rows in np.split(order, range(batch_size, len(images), batch_size)):
            params, state = step(params, state, images[rows], targets[rows])
    return params


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m subliminal_toy.minimal", description="Print six test accuracies.")
    parser.add_argument("--dataset", choices=tuple(SETTINGS), default="digits")
    dataset = parser.parse_args().dataset
    for name, accuracy in experiment(jax.random.key(0), load_dataset(dataset), *SETTINGS[dataset]).items():
        print(f"{name:12} {accuracy:.3f}")
