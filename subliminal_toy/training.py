"""Turn a `Training` into an Optax update rule and a call of the one training loop."""

from collections.abc import Callable, Mapping

import jax
import optax
from jax.sharding import Mesh

from subliminal_toy import engine
from subliminal_toy.settings import Training

Number = float | jax.Array
NUMBERS = ("learning_rate", "weight_decay", "clip")  # may be data, so that models that differ in them train together

_DIRECTIONS: dict[str, Callable[[Training], optax.GradientTransformation]] = {
    "adam": lambda training: optax.scale_by_adam(b2=training.adam_b2),  # beta_1 .9, eps 1e-8
    "sgd": lambda _: optax.identity(),
    "momentum": lambda _: optax.trace(decay=0.9),
    "rmsprop": lambda _: optax.scale_by_rms(decay=0.9),
    "signsgd": lambda _: optax.scale_by_sign(),
}


def make_phase(
    loss: engine.Loss,
    training: Training,
    examples: int,
    *,
    mesh: Mesh,
    name: str,
    restrict: engine.Rule | None = None,
    probe: engine.Probe | None = None,
) -> engine.Train:
    """Call `engine.make_train` with the update rule, batch size and epochs of `training` for `examples` examples.

    A condition that is a dict may have "numbers": values of NUMBERS that replace those of `training` for its model.
    `restrict` is the last link of the rule; it transforms the updates.
    """

    def rule(condition: engine.Tree) -> optax.GradientTransformation:
        optimizer = make_optimizer(
            training, examples, condition.get("numbers") if isinstance(condition, dict) else None
        )
        return optax.chain(optimizer, restrict(condition)) if restrict else optimizer

    return engine.make_train(
        loss, rule, batch_size=training.batch_size, epochs=training.epochs, mesh=mesh, name=name, probe=probe
    )


def make_optimizer(
    training: Training, examples: int, numbers: Mapping[str, Number] | None = None
) -> optax.GradientTransformation:
    """Make the Optax transformation of `training` for a data set of `examples` examples.

    With gradient g (after clipping), parameters w, learning rate lr, decay d and the rule's direction D:
    coupled decay steps by -lr D(g + d w), decoupled decay (AdamW) by -lr (D(g) + d w).

    `numbers` replaces some of NUMBERS; a decay or clip of 0 in `training` omits that link.
    """
    value = {name: getattr(training, name) for name in NUMBERS} | dict(numbers or {})
    clip = optax.clip_by_global_norm(value["clip"]) if training.clip else optax.identity()
    decay = optax.add_decayed_weights(value["weight_decay"]) if training.weight_decay else optax.identity()
    direction = _DIRECTIONS[training.optimizer](training)
    order = (decay, direction) if training.decay == "coupled" else (direction, decay)
    return optax.chain(
        clip, *order, optax.scale_by_learning_rate(step_sizes(training, examples, value["learning_rate"]))
    )


def step_sizes(training: Training, examples: int, rate: Number | None = None) -> Number | optax.Schedule:
    """Return the learning rate (`rate`, or that of `training`), or the schedule step -> learning rate if it varies.

    In s steps with w of warm-up, step i has lr min(1, (i + 1) / w) while i < w, then with t = (i - w) / (s - w):
    constant lr; cosine lr (1 + cos(pi t)) / 2; late_linear lr min(1, 2 - 2 t).
    """
    rate, warmup = training.learning_rate if rate is None else rate, training.warmup
    steps = max(training.epochs * -(-examples // training.batch_size) - warmup, 1)
    after: dict[str, Callable[[], optax.Schedule]] = {
        "constant": lambda: optax.constant_schedule(rate),
        "cosine": lambda: optax.cosine_decay_schedule(rate, steps),
        "late_linear": lambda: optax.linear_schedule(rate, 0.0, steps / 2, steps / 2),
    }
    if training.schedule == "constant" and not warmup:
        return rate
    schedule = after[training.schedule]()
    if not warmup:
        return schedule
    return optax.join_schedules([optax.linear_schedule(rate / warmup, rate, max(warmup - 1, 1)), schedule], [warmup])
