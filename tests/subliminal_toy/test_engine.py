"""The engine against a plain Python loop over runs, models and steps; runs, devices and chunks change nothing."""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subliminal_toy import engine

N, BATCH, EPOCHS, RUNS, MODELS = 23, 8, 3, 4, 2  # 23 = 2 * 8 + 7: the last batch is smaller


def apply(params: dict, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ params["w"]) @ params["v"]


def loss(params: dict, batch: dict, condition: jax.Array) -> jax.Array:
    wrong = apply(params, batch["x"] + batch["shift"]) - batch["y"]
    return condition * jnp.mean((wrong + batch["own"][:, None]) ** 2)


def problem() -> tuple[dict, engine.Data, jax.Array, jax.Array]:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    params = {"w": normal(RUNS, MODELS, 3, 5), "v": normal(RUNS, MODELS, 5, 2)}
    data = engine.Data(
        common={"x": normal(N, 3)},
        per_run={"y": normal(RUNS, N, 2), "shift": normal(RUNS, N, 3)},
        per_model={"own": normal(RUNS, MODELS, N)},
    )
    conditions = jnp.asarray([[1.0, 0.5]] * RUNS)
    return params, data, conditions, jax.random.split(jax.random.key(7), RUNS)


def run_slice(tree: Any, runs: slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[runs], tree)


def train(
    optimizer: optax.GradientTransformation, runs: slice = slice(None), devices: int = 2
) -> tuple[dict, np.ndarray]:
    params, data, conditions, keys = problem()
    mesh = engine.run_mesh(devices)
    assert mesh.size == devices
    fit = engine.make_train(loss, lambda _: optimizer, batch_size=BATCH, epochs=EPOCHS, mesh=mesh)
    data = engine.Data(engine.replicate(data.common, mesh), *(run_slice(part, runs) for part in data[1:]))
    return fit(*run_slice((params,), runs), data, conditions[runs], keys[runs])[:2]


def plain_loop(optimizer: optax.GradientTransformation) -> tuple[dict, np.ndarray]:
    """The same training as four nested Python loops, one model at a time."""
    params, data, conditions, keys = problem()
    trained, losses = jax.tree.map(np.array, params), np.zeros((EPOCHS, RUNS, MODELS))
    value_and_grad = jax.jit(jax.value_and_grad(loss))
    for r, m in itertools.product(range(RUNS), range(MODELS)):
        own = jax.tree.map(lambda leaf, r=r, m=m: leaf[r, m], params)
        state = optimizer.init(own)
        for epoch in range(EPOCHS):
            order = jax.random.permutation(jax.random.fold_in(keys[r], epoch), N)
            values = []
            for start in range(0, N, BATCH):
                rows = order[start : start + BATCH]
                batch = {"x": data.common["x"][rows], "y": data.per_run["y"][r, rows]}
                batch |= {"shift": data.per_run["shift"][r, rows], "own": data.per_model["own"][r, m, rows]}
                value, grads = value_and_grad(own, batch, conditions[r, m])
                updates, state = optimizer.update(grads, state, own)
                own = optax.apply_updates(own, updates)
                values.append(float(value))
            losses[epoch, r, m] = np.mean(values)
        for name, leaf in own.items():
            trained[name][r, m] = leaf
    return trained, losses


def assert_trees_close(actual: Any, expected: Any, rtol: float = 2e-5, atol: float = 2e-6) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), actual, expected)


def test_assert_trees_close_fails_on_a_wrong_value() -> None:
    with pytest.raises(AssertionError):
        assert_trees_close({"a": np.ones(2)}, {"a": np.array([1, 1.0001])})
    with pytest.raises(AssertionError):
        assert_trees_close({"a": np.ones(2)}, {"b": np.ones(2)})


@pytest.mark.parametrize("name", ["adam", "sgd", "clipped"])
def test_engine_is_the_plain_loop(name: str) -> None:
    optimizer = {
        "adam": optax.adam(0.01),
        "sgd": optax.sgd(0.1, momentum=0.9),
        "clipped": optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(optax.linear_schedule(0.5, 0.0, 9))),
    }[name]
    params, losses = train(optimizer)
    expected, expected_losses = plain_loop(optimizer)
    assert_trees_close(params, expected)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    start = problem()[0]
    assert all(np.abs(np.asarray(params[name]) - start[name]).max() > 0.01 for name in start)


def test_a_run_does_not_depend_on_the_runs_beside_it_nor_on_the_devices() -> None:
    optimizer = optax.adam(0.01)
    together, _ = train(optimizer)
    for runs, devices in ((slice(0, 2), 2), (slice(2, 4), 1), (slice(3, 4), 1)):
        apart, _ = train(optimizer, runs, devices)
        assert_trees_close(apart, run_slice(together, runs), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("count", "runs"), [(1, [5, 5]), (2, [5, 6]), (3, [5, 6, 7, 5])])
def test_devices_are_filled_with_a_chunks_own_runs(count: int, runs: list[int]) -> None:
    """What they compute is dropped, but a run that nobody asked for could end the command by failing."""
    assert engine.fill_devices(5, count, engine.run_mesh(2)).tolist() == runs


@pytest.mark.parametrize(("runs", "padded"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2, 0]), (4, [0, 1, 2, 3])])
def test_padding_fills_two_devices_and_is_dropped(runs: int, padded: list[int]) -> None:
    assert engine.pad_runs(runs).tolist() == padded
    numbers = np.arange(2.0 * len(padded)).reshape(-1, 2)
    trees = {"a": engine.shard_runs(jnp.asarray(numbers), engine.mesh_for(len(padded))), "b": numbers}
    kept = engine.drop_padding(trees, runs)
    assert isinstance(kept["b"], np.ndarray)
    np.testing.assert_array_equal(kept["a"], numbers[:runs])
    np.testing.assert_array_equal(kept["b"], numbers[:runs])
    doubled = engine.over_runs(lambda x: 2 * x, engine.mesh_for(runs))(kept["a"])  # it lies on the devices of this mesh
    np.testing.assert_array_equal(doubled, 2 * numbers[:runs])


def test_same_arguments_same_bits_and_the_callers_arrays_survive() -> None:
    params, data, conditions, keys = problem()
    fit = engine.make_train(loss, lambda _: optax.adam(0.01), batch_size=BATCH, epochs=2, mesh=engine.run_mesh(1))
    first, *_ = fit(params, data, conditions, keys)
    second, *_ = fit(params, data, conditions, keys)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    jax.tree.map(np.testing.assert_array_equal, params, problem()[0])


def test_models_differ_only_by_their_condition() -> None:
    """A model under condition 0 has no gradient and must stay where it is while the other learns."""
    params, data, _, keys = problem()
    fit = engine.make_train(loss, lambda _: optax.adam(0.01), batch_size=BATCH, epochs=2, mesh=engine.run_mesh(1))
    trained, *_ = fit(params, data, jnp.asarray([[0.0, 1.0]] * RUNS), keys)
    np.testing.assert_array_equal(trained["w"][:, 0], params["w"][:, 0])
    assert np.abs(trained["w"][:, 1] - params["w"][:, 1]).max() > 0.01


def test_zero_epochs_train_nothing() -> None:
    params, data, conditions, keys = problem()
    fit = engine.make_train(loss, lambda _: optax.adam(0.01), batch_size=BATCH, epochs=0, mesh=engine.run_mesh(1))
    trained, losses, *_ = fit(params, data, conditions, keys)
    jax.tree.map(np.testing.assert_array_equal, trained, params)
    assert losses.size == 0


@pytest.mark.parametrize("batch_size", [1, N, N + 1, 1000])
def test_any_batch_size_sees_every_example_once(batch_size: int) -> None:
    """With SGD on a loss linear in the parameters, an epoch moves them by -lr * sum over steps of the batch means."""
    examples = jnp.arange(1.0, N + 1)
    fit = engine.make_train(
        lambda params, batch, _condition: params * jnp.sum(batch["x"]),
        lambda _: optax.sgd(1.0),
        batch_size=batch_size,
        epochs=1,
        mesh=engine.run_mesh(1),
    )
    data = engine.Data(common={"x": examples})
    moved, *_ = fit(jnp.zeros((1, 1)), data, jnp.zeros((1, 1)), jax.random.split(jax.random.key(0), 1))
    assert float(moved[0, 0]) == -float(examples.sum())


def test_batches_are_reshuffled_every_epoch_and_differ_between_runs() -> None:
    """The loss reads the first row of each batch: with one full batch an epoch its value is the first row drawn."""
    fit = engine.make_train(
        lambda params, batch, _condition: 0.0 * params + batch["x"][0],
        lambda _: optax.sgd(1.0),
        batch_size=N,
        epochs=6,
        mesh=engine.run_mesh(2),
    )
    data = engine.Data(common={"x": jnp.arange(float(N))})
    _, firsts, *_ = fit(jnp.zeros((4, 1)), data, jnp.zeros((4, 1)), jax.random.split(jax.random.key(0), 4))
    assert all(len(set(firsts[:, run, 0])) > 2 for run in range(4))
    assert len({tuple(firsts[:, run, 0]) for run in range(4)}) == 4


def test_divergence_is_an_error_that_names_the_phase_and_the_epoch() -> None:
    params, data, conditions, keys = problem()
    fit = engine.make_train(
        loss, lambda _: optax.sgd(1e30), batch_size=BATCH, epochs=5, mesh=engine.run_mesh(1), name="the teacher"
    )
    with pytest.raises(
        engine.TrainingDivergedError, match=r"the teacher diverged: .* epoch [12] of 4 of 4 runs; lower"
    ):
        fit(params, data, conditions, keys)


@pytest.mark.parametrize("where", ["losses", "parameters"])
def test_one_diverged_model_of_one_run_is_enough(where: str) -> None:
    """The other model of the run stays finite, and all that is not `w`; so do the other runs, which are not counted."""

    def fall(params: dict, batch: dict, wrong: jax.Array) -> jax.Array:
        factor = jnp.where(wrong, jnp.inf if where == "losses" else 2e37, 1.0)
        return factor * jnp.sum(params["w"]) * batch["x"][0] + params["b"]

    fit = engine.make_train(
        fall, lambda _: optax.sgd(100.0), batch_size=1, epochs=1, mesh=engine.run_mesh(1), name="a student"
    )
    data, keys = engine.Data(common={"x": jnp.ones(1)}), jax.random.split(jax.random.key(0), 3)
    start, wrong = {"b": jnp.ones((3, 2)), "w": jnp.ones((3, 2, 4))}, np.zeros((3, 2), bool)
    assert np.isfinite(fit(start, data, jnp.asarray(wrong), keys).params["w"]).all()
    for model in range(2):
        wrong[:] = False
        wrong[1, model] = True
        with pytest.raises(
            engine.TrainingDivergedError, match=r"a student diverged: .* of 1 of 3 runs; lower"
        ) as error:
            fit(start, data, jnp.asarray(wrong), keys)
        assert ("loss" if where == "losses" else "parameters") in str(error.value)


def test_every_epoch_is_told_with_its_parameters() -> None:
    params, data, conditions, keys = problem()
    fit = engine.make_train(loss, lambda _: optax.adam(0.01), batch_size=BATCH, epochs=3, mesh=engine.run_mesh(1))
    seen = []
    last, *_ = fit(params, data, conditions, keys, lambda i, now: seen.append((i, jax.tree.map(np.array, now))))
    assert [i for i, _ in seen] == [0, 1, 2]
    jax.tree.map(np.testing.assert_array_equal, seen[-1][1], last)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(seen[0][1]), jax.tree.leaves(last), strict=True))


def test_numbers_of_a_condition_reach_the_update_rule() -> None:
    """Each model has its own step size, as data: its path is that of a training with this size for all."""
    params, data, _, keys = problem()
    rates = jnp.asarray([[0.01, 0.3]] * RUNS)
    settings = {"batch_size": BATCH, "epochs": 2, "mesh": engine.run_mesh(1)}
    plain = lambda params, batch, _condition: loss(params, batch, jnp.asarray(1.0))  # noqa: E731
    together = engine.make_train(plain, optax.sgd, **settings)(params, data, rates, keys).params
    for model, rate in enumerate((0.01, 0.3)):
        alone = engine.make_train(plain, lambda _, rate=rate: optax.sgd(rate), **settings)(params, data, rates, keys)
        ours, theirs = (engine.take_model(tree, model) for tree in (together, alone.params))
        assert_trees_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_a_probe_notes_every_step_in_order() -> None:
    """Updates noted step by step add up to the whole way; the first note is of the initial parameters."""
    params, data, conditions, keys = problem()
    fit = engine.make_train(
        loss,
        lambda _: optax.adam(0.01),
        batch_size=BATCH,
        epochs=2,
        mesh=engine.run_mesh(1),
        probe=lambda step: {"at": step.params["w"], "by": step.update["w"]},
    )
    last, _, probed, _ = fit(params, data, conditions, keys)
    assert probed["at"].shape[:3] == (RUNS, 2 * -(-N // BATCH), last["w"].shape[1])
    np.testing.assert_array_equal(probed["at"][:, 0], params["w"])
    np.testing.assert_allclose(probed["at"][:, 0] + probed["by"].sum(axis=1), last["w"], rtol=1e-5, atol=1e-6)


def test_unequal_numbers_of_examples_are_refused() -> None:
    data = engine.Data(common={"x": jnp.zeros((5, 2))}, per_run={"y": jnp.zeros((4, 2))})
    with pytest.raises(ValueError, match=r"same number of examples, got \[4, 5\]"):
        engine.count_examples(data)


def test_runs_that_do_not_divide_over_the_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="3 runs do not divide over 2 devices"):
        engine.shard_runs(jnp.zeros((3, 1)), engine.run_mesh(2))


def test_a_last_step_that_goes_wrong_is_seen() -> None:
    params, data, conditions, keys = problem()
    mesh = engine.run_mesh(2)
    fit = engine.make_train(loss, lambda _: optax.sgd(1e38), batch_size=N, epochs=1, mesh=mesh, name="the teacher")
    wrong = {name: leaf.at[1].mul(1e6) for name, leaf in params.items()}
    with pytest.raises(engine.TrainingDivergedError, match="the teacher diverged: parameters were not finite"):
        fit(wrong, data._replace(common=engine.replicate(data.common, mesh)), conditions, keys)


class Keys(NamedTuple):
    one: jax.Array
    two: jax.Array


@pytest.mark.parametrize("runs", [2, [], [[0, 1]], [0.0, 1.0], "ab"])
def test_runs_are_numbers_and_not_how_many(runs: Any) -> None:
    with pytest.raises(ValueError, match=r"give the numbers of the runs, such as range\(2\) for two"):
        engine.run_keys(Keys, 0, runs)


@pytest.mark.parametrize(("seed", "run"), [(2**32, 0), (-1, 0), (0, -1), (0, 2**32)])
def test_a_seed_or_run_that_would_be_another_ones_is_refused(seed: int, run: int) -> None:
    with pytest.raises(ValueError, match=r"must be in 0\.\.4294967295"):
        engine.run_keys(Keys, seed, np.array([run]))


def test_the_largest_seed_has_keys_of_its_own() -> None:
    keys = [np.asarray(jax.random.key_data(engine.run_keys(Keys, s, range(1)).one)).tolist() for s in (0, 2**32 - 1)]
    assert keys[0] != keys[1]


def test_a_training_goes_on_from_a_state() -> None:
    """Two epochs in one call, or one and one: with the whole data as the batch, order is nothing."""
    params, data, conditions, keys = problem()
    mesh = engine.run_mesh(2)

    def fit(epochs: int) -> engine.Train:
        return engine.make_train(loss, lambda _: optax.adam(0.1), batch_size=N, epochs=epochs, mesh=mesh)

    half = fit(1)(params, data, conditions, keys)
    rest = fit(1)(half.params, data, conditions, keys, state=half.state)
    whole = fit(2)(params, data, conditions, keys)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), rest.params, whole.params)
    np.testing.assert_allclose(rest.losses[0], whole.losses[1], rtol=1e-5)
    afresh = fit(1)(half.params, data, conditions, keys)
    assert not np.allclose(afresh.params["w"], whole.params["w"], atol=1e-4)
    fit(1)(half.params, data, conditions, keys, state=half.state)  # the state is still there


def test_what_is_frozen_reaches_the_loss_and_stays() -> None:
    params, data, conditions, keys = problem()
    mesh = engine.run_mesh(2)
    base = {"w": jnp.full((3, 5), 0.3)}

    def beside(own: dict, batch: dict, condition: jax.Array, frozen: dict) -> jax.Array:
        return loss({**own, "w": frozen["w"]}, batch, condition)

    def within(own: dict, batch: dict, condition: jax.Array) -> jax.Array:
        return loss({**own, "w": base["w"]}, batch, condition)

    made = [
        engine.make_train(one, lambda _: optax.sgd(0.1), batch_size=BATCH, epochs=2, mesh=mesh)
        for one in (beside, within)
    ]
    own = {"v": params["v"]}
    found = made[0](own, data, conditions, keys, frozen=base).params
    np.testing.assert_allclose(found["v"], made[1](own, data, conditions, keys).params["v"], rtol=1e-6)
    np.testing.assert_array_equal(base["w"], np.full((3, 5), 0.3, np.float32))
    assert not np.allclose(found["v"], params["v"])
