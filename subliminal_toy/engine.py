"""The one training loop: an ensemble of runs, each with several models, trained together.

Axes. A *run* is an independent repetition with its own key; a *model* is one of the models that a run trains side by
side on the same batches (one teacher; four students). Parameters carry both axes, `[runs, models, ...]`. The run axis
is a `jax.sharding` axis: it is laid over the devices of a mesh with `shard_map`, no device ever waits for another's
numbers, and a run's arithmetic does not depend on the runs beside it. On a CPU with c cores, c devices of one run each
beat one device that uses c threads for every matrix product (see experiments/results/benchmark.json).

Within an epoch the steps are one `lax.scan`; batches are drawn from a permutation per run, the last, smaller one
included. The loss, the data and the per-model conditions are arguments; a teacher, its students, a sweep and a
language model differ in nothing else.
"""

import contextlib
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from subliminal_toy import machine

Tree = Any
Loss = Callable[..., jax.Array]  # params, batch, condition, and what is frozen if anything is -> scalar
Rule = Callable[[Tree], optax.GradientTransformation]  # from a model's condition to its update rule
OnEpoch = Callable[[int, Tree], None]  # which epoch, parameters [runs, models, ...]

RUNS = "runs"
DEVICE_MEMORY = 1e9  # bytes that a CPU device may take: a run with its noise, a copy of the training images


class Data(NamedTuple):
    """Named arrays of examples; a batch is a dict with the rows of all three."""

    common: dict[str, jax.Array] = {}  # noqa: RUF012 - [examples, ...], the same for every run
    per_run: dict[str, jax.Array] = {}  # noqa: RUF012 - [runs, examples, ...], shared by the models of a run
    per_model: dict[str, jax.Array] = {}  # noqa: RUF012 - [runs, models, examples, ...], each model's own


class Step(NamedTuple):
    """What a probe may look at: one step of one model."""

    params: Tree  # before the step
    grads: Tree
    state: Tree  # the optimizer's, after it has seen the gradient
    update: Tree  # what is added to the parameters
    condition: Tree


Probe = Callable[[Step], Tree]  # to small arrays


class RunFailedError(RuntimeError):
    """A run cannot go on; the message is one line that says why and what to do."""


class TrainingDivergedError(RunFailedError):
    """A loss was not finite; the message names the phase, and how many runs it is."""


class Outcome(NamedTuple):
    """What a training leaves."""

    params: Tree  # [runs, models, ...]
    losses: np.ndarray  # [epochs, runs, models], means over an epoch's steps
    probed: Tree  # what the probe gave, [runs, steps, models, ...]; None without one
    state: Tree = None  # the optimizers', with which `train` goes on from here


Train = Callable[..., Outcome]  # what `make_train` returns


def use_cpu_cores(limit: int | None = None) -> None:
    """Give JAX one CPU device per core; call it before JAX runs anything (else RuntimeError).

    Args:
        limit: the largest number; default as many as free memory has room for, a power of two, so that a stopped
            command finds as many again though a little less is free. A run's numbers depend on it by float32 rounding.
    """
    room = 2 ** int(math.log2(max(1.0, machine.free_memory() / DEVICE_MEMORY)))
    jax.config.update("jax_num_cpu_devices", max(1, min(machine.count_cores(), limit or room)))


def use_cpu_cores_unless_set() -> None:
    """Call `use_cpu_cores` unless the number of devices was chosen or JAX runs already; for notebooks and scripts."""
    if getattr(jax.config, "jax_num_cpu_devices") < 1:  # noqa: B009 - mypy does not know it
        with contextlib.suppress(RuntimeError):
            use_cpu_cores()


def check_devices() -> None:
    """Raise ValueError, in one line, if JAX is told to use a kind of device that is not here."""
    try:
        jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        kind = getattr(jax.config, "jax_platforms") or "a device"  # noqa: B009 - mypy does not know it
        why = " ".join(str(error).split())[:120] or "no reason given"
        words = f"JAX_PLATFORMS asks for {kind}, which JAX does not find ({why}); unset it, or say cpu"
        raise ValueError(words) from error


def run_mesh(runs: int | None = None) -> Mesh:
    """Make a one-axis mesh over the local devices, at most one for each of `runs`."""
    devices = jax.local_devices()
    return Mesh(np.array(devices[: min(len(devices), runs or len(devices))]), (RUNS,))


def mesh_for(runs: int) -> Mesh:
    """Make the mesh of as many local devices as divide `runs`."""
    return run_mesh(max(n for n in range(1, len(jax.local_devices()) + 1) if runs % n == 0))


def fill_devices(first: int, count: int, mesh: Mesh) -> np.ndarray:
    """Return the numbers of `count` runs from `first` on, padded with the first of them until they fill all devices.

    Padding is dropped at the end; it repeats runs of the same chunk, so it cannot fail where they do not.
    """
    return first + np.arange(-(-count // mesh.size) * mesh.size) % count


def pad_runs(runs: int) -> np.ndarray:
    """Return indices of runs that fill all devices: those of 3 runs on 2 devices are [0, 1, 2, 0]."""
    return fill_devices(0, runs, run_mesh(runs))


def drop_padding(tree: Tree, runs: int) -> Tree:
    """Keep the first runs of arrays [n, ...]; JAX's are laid over as many devices as divide the runs."""
    if all(leaf.shape[0] == runs for leaf in jax.tree.leaves(tree)):
        return tree
    sharding = NamedSharding(mesh_for(runs), P(RUNS))

    def first(leaf: Any) -> Any:
        return jax.device_put(leaf[:runs], sharding) if isinstance(leaf, jax.Array) else leaf[:runs]

    return jax.tree.map(first, tree)


def run_keys(names: type[NamedTuple], seed: int, runs: np.ndarray) -> Any:
    """Make a key for each field of `names`, each [n], for the runs numbered `runs` [n].

    They depend on the seed and the run's number only. ValueError for a seed or a number that
    no uint32 holds: it would be another one's.
    """
    use_cpu_cores_unless_set()
    runs = np.asarray(runs)
    if runs.ndim != 1 or not runs.size or not np.issubdtype(runs.dtype, np.integer):
        raise ValueError(f"runs is {runs.tolist()}; give the numbers of the runs, such as range(2) for two")
    for what, value in (("seed", seed), *(("the number of a run", run) for run in runs)):
        if not 0 <= value < 2**32:
            raise ValueError(f"{what} is {value}; it must be in 0..{2**32 - 1}")
    keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(jnp.asarray(runs, jnp.uint32))
    return names(*jax.vmap(lambda key: tuple(jax.random.split(key, len(names._fields))))(keys))


def shard_runs(tree: Tree, mesh: Mesh) -> Tree:
    """Lay arrays `[runs, ...]` over the mesh; ValueError if the runs do not divide evenly."""
    for leaf in jax.tree.leaves(tree):
        if leaf.shape[0] % mesh.size:
            raise ValueError(f"{leaf.shape[0]} runs do not divide over {mesh.size} devices")
    return jax.device_put(tree, NamedSharding(mesh, P(RUNS)))


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Put the same arrays on every device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, P()))


def repeat_over_runs(tree: Tree, runs: int, mesh: Mesh) -> Tree:
    """Repeat arrays [...] for all runs, [runs, ...]."""
    return shard_runs(jax.tree.map(lambda leaf: np.broadcast_to(leaf, (runs, *np.shape(leaf))), tree), mesh)


def take_model(tree: Tree, i: int) -> Tree:
    """Take one model of each run: [runs, models, ...] -> [runs, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, i], tree)


def over_runs(function: Callable, mesh: Mesh, *, shared: int = 0, donate: tuple[int, ...] = ()) -> Callable:
    """Compile `function`, written for one run, for arrays with a leading run axis laid over `mesh`.

    Args:
        function: of one run; its first `shared` arguments have no run axis and are the same for all.
        mesh: from `run_mesh`.
        shared: how many leading arguments are shared.
        donate: indices of arguments whose memory may be reused.
    """

    def per_device(*args: Tree) -> Tree:
        in_axes = tuple(None if i < shared else 0 for i in range(len(args)))
        return jax.vmap(function, in_axes=in_axes)(*args)

    def mapped(*args: Tree) -> Tree:
        specs = tuple(P() if i < shared else P(RUNS) for i in range(len(args)))
        return jax.shard_map(per_device, mesh=mesh, in_specs=specs, out_specs=P(RUNS), check_vma=False)(*args)

    return jax.jit(mapped, donate_argnums=donate)


def make_train(
    loss: Loss,
    rule: Rule,
    *,
    batch_size: int,
    epochs: int,
    mesh: Mesh,
    name: str = "training",
    probe: Probe | None = None,
) -> Train:
    """Build the training of an ensemble.

    Args:
        loss: `loss(params, batch, condition) -> scalar` of ONE model; with `frozen`, that is a fourth argument.
        rule: `rule(condition)` is the Optax transformation of ONE model. Every model has its own state; numbers of the
            condition, such as a step size, are data, so that models which differ in them share one compilation.
        batch_size: examples per step; an epoch ends with the remainder.
        epochs: passes over the examples.
        mesh: the devices, from `run_mesh`.
        name: what to call this phase in an error.
        probe: what to note at every step of ONE model.

    Returns:
        `train(params, data, conditions, keys, on_epoch=None, *, frozen=None, state=None) -> Outcome`: `params` and
        `conditions` are trees with leaves [runs, models, ...], `keys` [runs] typed keys that shuffle each run;
        `on_epoch(i, params)` is called after each epoch with arrays that the next epoch takes back: it has to copy what
        it keeps. `frozen` is a tree that all models of all runs use and none changes (a base under adapters): it is
        there once. `state` is that of an Outcome that this training goes on from. Raises TrainingDivergedError.
    """
    init = over_runs(jax.vmap(lambda params, condition: rule(condition).init(params)), mesh)
    epoch = over_runs(_make_epoch(loss, rule, batch_size, probe), mesh, shared=3, donate=(3, 4))

    def train(
        params: Tree,
        data: Data,
        conditions: Tree,
        keys: jax.Array,
        on_epoch: OnEpoch | None = None,
        *,
        frozen: Tree = None,
        state: Tree = None,
    ) -> Outcome:
        by_run = (data.per_run, data.per_model, conditions, keys)
        params = jax.tree.map(jnp.copy, params)  # the epochs reuse their arguments' memory; the caller's stays
        state = init(params, conditions) if state is None else jax.tree.map(jnp.copy, state)
        losses, probed = [], []
        for i in range(epochs):
            params, state, epoch_losses, noted = epoch(jnp.uint32(i), data.common, frozen, params, state, by_run)
            losses.append(np.asarray(epoch_losses))
            probed.append(jax.tree.map(np.asarray, noted))
            _check_finite(losses[-1], name, i)
            if on_epoch is not None:
                on_epoch(i, params)
        _check_parameters(params, name)
        together = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *probed) if probed else None
        shape = (epochs, *jax.tree.leaves(params)[0].shape[:2])
        return Outcome(params, np.array(losses).reshape(shape), together, state)

    return train


def _make_epoch(loss: Loss, rule: Rule, batch_size: int, probe: Probe | None) -> Callable:
    """Make one epoch of one run: each step takes the same rows for all of the run's models."""

    def model_step(params: Tree, state: Tree, batch: dict, by_model: dict, condition: Tree, frozen: Tree) -> tuple:
        batch = batch | by_model
        given = (condition,) if frozen is None else (condition, frozen)
        value, grads = jax.value_and_grad(loss)(params, batch, *given)
        updates, state = rule(condition).update(grads, state, params)
        noted = None if probe is None else probe(Step(params, grads, state, updates, condition))
        return optax.apply_updates(params, updates), state, (value, noted)

    models_step = jax.vmap(model_step, in_axes=(0, 0, None, 0, 0, None))

    def epoch(
        i: jax.Array, common: dict, frozen: Tree, params: Tree, state: Tree, by_run: tuple
    ) -> tuple[Tree, Tree, jax.Array, Tree]:
        per_run, per_model, conditions, key = by_run
        shared = common | per_run

        def step(carry: tuple, rows: jax.Array) -> tuple:
            batch = jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), shared)
            by_model = jax.tree.map(lambda a: a.at[:, rows].get(mode="promise_in_bounds"), per_model)
            params, state, seen = models_step(carry[0], carry[1], batch, by_model, conditions, frozen)
            return (params, state), seen

        n = count_examples(Data(common, per_run, per_model))
        order = jax.random.permutation(jax.random.fold_in(key, i), n)
        steps, rest = divmod(n, batch_size)
        seen: tuple[jax.Array, Tree]
        carry, seen = jax.lax.scan(step, (params, state), order[: steps * batch_size].reshape(steps, batch_size))
        if rest:
            carry, last = step(carry, order[steps * batch_size :])
            seen = jax.tree.map(lambda all_but, one: jnp.concatenate([all_but, one[None]]), seen, last)
        values, noted = seen
        return *carry, jnp.mean(values, axis=0), noted

    return epoch


def count_examples(data: Data) -> int:
    """Count the examples of one run's data (the second axis of `per_model`); ValueError if arrays disagree."""
    sizes = {leaf.shape[0] for leaf in jax.tree.leaves((data.common, data.per_run))}
    sizes |= {leaf.shape[1] for leaf in jax.tree.leaves(data.per_model)}
    if len(sizes) != 1:
        raise ValueError(f"all arrays of the data need the same number of examples, got {sorted(sizes)}")
    return sizes.pop()


def _check_parameters(params: Tree, name: str) -> None:
    """Raise TrainingDivergedError if parameters are not finite: no loss follows the last step."""
    leaves = [np.isfinite(np.asarray(leaf)).all(axis=tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(params)]
    bad = np.flatnonzero(~np.all(leaves, axis=0))
    if bad.size:
        raise TrainingDivergedError(
            f"{name} diverged: parameters were not finite after the last step of {bad.size} of {len(leaves[0])} runs;"
            " lower the learning rate or the init scale"
        )


def _check_finite(losses: np.ndarray, name: str, epoch: int) -> None:
    """Raise TrainingDivergedError if a loss of an epoch, [runs, models], is not finite."""
    bad = np.flatnonzero(~np.isfinite(losses).all(axis=1))
    if bad.size:
        raise TrainingDivergedError(
            f"{name} diverged: the loss was not finite in epoch {epoch + 1} of {bad.size} of {len(losses)} runs;"
            " lower the learning rate or the init scale"
        )
