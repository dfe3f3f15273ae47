"""Each update rule and kind of decay against its formula, worked by hand for two steps."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subliminal_toy.config import OPTIMIZERS, Training
from subliminal_toy.optimizers import make_optimizer

W, G = np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.25, -0.125])
RATE, DECAY = 0.1, 0.2


def steps(training: Training, count: int = 2) -> np.ndarray:
    optimizer, w = make_optimizer(training), jnp.asarray(W, jnp.float32)
    state = optimizer.init(w)
    for _ in range(count):
        updates, state = optimizer.update(jnp.asarray(G, jnp.float32), state, w)
        w = optax.apply_updates(w, updates)
    return np.asarray(w)


def by_hand(rule: str, decay: str, weight_decay: float, count: int = 2) -> np.ndarray:
    w, m, v = W.copy(), np.zeros(3), np.zeros(3)
    for t in range(1, count + 1):
        g = G + weight_decay * w if decay == "coupled" else G
        if rule == "adam":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            direction = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        elif rule == "momentum":
            m = 0.9 * m + g
            direction = m
        elif rule == "rmsprop":
            v = 0.9 * v + 0.1 * g**2
            direction = g / np.sqrt(v + 1e-8)
        else:
            direction = {"sgd": g, "signsgd": np.sign(g)}[rule]
        w = w - RATE * (direction + (weight_decay * w if decay == "decoupled" else 0))
    return w


@pytest.mark.parametrize("rule", OPTIMIZERS)
@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
@pytest.mark.parametrize("weight_decay", [0.0, DECAY])
def test_two_steps_are_the_formulas(rule: str, decay: str, weight_decay: float) -> None:
    training = Training(optimizer=rule, learning_rate=RATE, weight_decay=weight_decay, decay=decay)
    np.testing.assert_allclose(steps(training), by_hand(rule, decay, weight_decay), rtol=2e-5)


@pytest.mark.parametrize("rule", ["adam", "rmsprop", "signsgd"])
def test_coupled_and_decoupled_decay_differ(rule: str) -> None:
    coupled, decoupled = (
        steps(Training(optimizer=rule, learning_rate=RATE, weight_decay=DECAY, decay=d))
        for d in ("coupled", "decoupled")
    )
    assert np.abs(coupled - decoupled).max() > 1e-3
