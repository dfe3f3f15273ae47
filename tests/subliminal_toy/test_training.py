"""Each update rule and kind of decay against its formula, worked by hand for two steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subliminal_toy import engine
from subliminal_toy.settings import OPTIMIZERS, Training
from subliminal_toy.training import make_optimizer, make_phase, step_sizes

W, G = np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.25, -0.125])
RATE, DECAY = 0.1, 0.2


def steps(training: Training, count: int = 2, examples: int = 1) -> np.ndarray:
    optimizer, w = make_optimizer(training, examples), jnp.asarray(W, jnp.float32)
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


def rates(count: int, **changes: object) -> np.ndarray:
    schedule = step_sizes(Training(learning_rate=0.5, batch_size=10, epochs=5, **changes), examples=37)  # 20 steps
    return np.array([schedule(i) if callable(schedule) else schedule for i in range(count)])


def test_step_sizes_are_the_formulas() -> None:
    np.testing.assert_array_equal(rates(20), np.full(20, 0.5))
    rising = 0.5 * np.arange(1, 5) / 4
    t = np.arange(16) / 16
    np.testing.assert_allclose(rates(20, warmup=4), [*rising, *np.full(16, 0.5)], rtol=1e-6)
    falling = {"cosine": 0.25 * (1 + np.cos(np.pi * t)), "late_linear": 0.5 * np.minimum(1, 2 - 2 * t)}
    for schedule, expected in falling.items():
        found = rates(20, warmup=4, schedule=schedule)
        np.testing.assert_allclose(found, [*rising, *expected], rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 5, 7, 8])
def test_late_linear_halves_an_odd_number_of_steps_too(steps: int) -> None:
    schedule = step_sizes(Training(learning_rate=0.5, batch_size=1, epochs=1, schedule="late_linear"), examples=steps)
    expected = 0.5 * np.minimum(1, 2 - 2 * np.arange(steps + 1) / steps)  # the last one: after all steps, 0
    np.testing.assert_allclose([schedule(i) for i in range(steps + 1)], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
def test_rate_decay_and_clip_are_each_models_own_numbers(decay: str) -> None:
    """Models of one phase, each by hand: numbers of the training that a condition replaces must not be seen."""
    values = {"learning_rate": [0.1, 0.3, 0.1], "weight_decay": [0.2, 0.5, 1.5], "clip": [0.1, 10.0, 0.3]}
    shared = Training("momentum", 1.0, 1, 2, weight_decay=1.0, decay=decay, clip=1.0)  # as a kind of students has it
    numbers = {name: jnp.array([own]) for name, own in values.items()}
    fit = make_phase(lambda w, batch, _: jnp.vdot(w, batch["g"]), shared, 1, mesh=engine.run_mesh(1), name="a phase")
    data = engine.Data(common={"g": jnp.array([G])})
    start, keys = jnp.broadcast_to(jnp.asarray(W, jnp.float32), (1, 3, 3)), jax.random.split(jax.random.key(0), 1)
    ended = fit(start, data, {"numbers": numbers}, keys).params
    for model, (rate, weight_decay, clip) in enumerate(zip(*values.values(), strict=True)):
        w, m, clipped = W.copy(), np.zeros(3), G * min(1, clip / np.linalg.norm(G))
        for _ in range(2):
            m = 0.9 * m + clipped + (weight_decay * w if decay == "coupled" else 0)
            w = w - rate * (m + (weight_decay * w if decay == "decoupled" else 0))
        np.testing.assert_allclose(ended[0, model], w, rtol=1e-5)


def test_long_gradients_are_scaled_down_to_the_limit() -> None:
    free = steps(Training(optimizer="sgd", learning_rate=RATE), 1) - W
    clipped = steps(Training(optimizer="sgd", learning_rate=RATE, clip=0.1), 1) - W
    np.testing.assert_allclose(clipped, free * 0.1 / np.linalg.norm(G), atol=3e-7)  # float32 beside weights of 3
    loose = steps(Training(optimizer="sgd", learning_rate=RATE, clip=10.0), 1) - W
    np.testing.assert_array_equal(loose, free)


def test_adam_b2_is_the_decay_of_squared_gradients() -> None:
    optimizer = make_optimizer(Training(adam_b2=0.5, learning_rate=1.0), 1)
    gradients = jnp.array([1.0, -3.0])
    state = optimizer.init(gradients[0])
    _, state = optimizer.update(gradients[0], state)
    update, _ = optimizer.update(gradients[1], state)
    mean, square = (0.9 * 0.1 - 0.1 * 3) / (1 - 0.9**2), (0.5 * 0.5 + 0.5 * 9) / (1 - 0.5**2)
    np.testing.assert_allclose(update, -mean / square**0.5, rtol=1e-5)
